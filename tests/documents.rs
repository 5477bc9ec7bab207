//! What the documents point to exists: every relative link, every picture, every `make` target, every test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_relative_link_of_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = document.parent().expect("a document lies in a folder");
        for target in links(&read(&document)) {
            let path = target.split('#').next().expect("a split has a first part");
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_numbers_of_the_readme_are_those_of_the_committed_runs() {
    let readme = read(&root().join("README.md")).replace('\n', " ");
    let run = |name: &str| -> serde_json::Value {
        serde_json::from_str(&read(&root().join("loadtest/results").join(name))).expect("a run is JSON")
    };
    for figure in [
        row("CPU of a delivery, one message to 18,000", &run("fanout.json"), |summary| {
            spread(&summary["cpu_nanos_per_delivery"], 1e-3, 2, " us")
        }),
        row("connections accepted, answered, subscribed per CPU-second", &run("connect.json"), |summary| {
            spread(&summary["connections_per_cpu_second"], 1e-3, 1, " k")
        }),
        firehose(&run("firehose.json")),
        latency(&run("latency.json")),
        spread(&summary(&run("spread.json"), "courier")["cpu_nanos_per_delivery"], 1e-3, 1, " us"),
    ]
    .into_iter()
    .chain(idle(&run("idle.json")))
    {
        assert!(readme.contains(&figure), "the committed run says: {figure}");
    }
    for name in ["fanout", "connect", "firehose", "latency", "spread"] {
        for summary in run(&format!("{name}.json"))["summaries"].as_array().expect("a run has summaries") {
            assert_eq!(summary["delivered"], summary["expected"], "{name}: {}", summary["contender"]);
        }
    }
}

/// A row of the table: courier, the io_uring loop, nchan.
fn row(what: &str, run: &serde_json::Value, cell: impl Fn(&serde_json::Value) -> String) -> String {
    let cells = ["courier", "io_uring loop", "nchan"].map(|contender| cell(summary(run, contender)));
    format!("| {what} | {} |", cells.join(" | "))
}

/// `median (least to greatest)`.
fn spread(figure: &serde_json::Value, factor: f64, digits: usize, unit: &str) -> String {
    let [median, least, greatest] =
        ["median", "least", "greatest"].map(|key| figure[key].as_f64().expect("a number") * factor);
    format!("{median:.digits$}{unit} ({least:.digits$} to {greatest:.digits$})")
}

fn firehose(run: &serde_json::Value) -> String {
    let courier = summary(run, "courier");
    let millions = spread(&courier["deliveries_per_cpu_second"], 1e-6, 1, " million");
    let p99 = courier["latency"]["p99_ms"].as_f64().expect("a number");
    format!("{millions} deliveries per CPU-second, 99 of 100 within {p99:.1} ms")
}

fn latency(run: &serde_json::Value) -> String {
    let cell = |contender| {
        ["p50_ms", "p99_ms", "p999_ms"]
            .map(|key| format!("{:.2}", summary(run, contender)["latency"][key].as_f64().expect("a number")))
            .join(", ")
    };
    format!("{} ms; nchan {} ms", cell("courier-redis"), cell("nchan-redis"))
}

fn idle(run: &serde_json::Value) -> [String; 4] {
    let courier = summary(run, "courier");
    let median = |key: &str| courier[key]["median"].as_f64().expect("a number");
    assert_eq!(median("rest_runs"), 0.0, "none of its threads ran");
    [
        format!("{:.0} bytes of memory", median("user_bytes_per_connection")),
        format!("({:.0} when", median("user_bytes_per_connection_after_messages")),
        format!("{:.1} MiB before", median("user_bytes_without_connections") / 1_048_576.0),
        format!("{:.1} ms of CPU", median("rest_cpu_seconds") * 1_000.0),
    ]
}

fn summary<'a>(run: &'a serde_json::Value, contender: &str) -> &'a serde_json::Value {
    let summaries = run["summaries"].as_array().expect("a run has summaries");
    summaries.iter().find(|summary| summary["contender"] == contender).expect("the contender took part")
}

#[test]
fn every_test_that_the_fault_tables_name_is_one_and_every_fault_has_its_row() {
    let text = read(&root().join("docs/reliability.md"));
    let named = named_tests(&text);
    let mut tests = BTreeSet::new();
    for (folder, prefix) in [("src", ""), ("tests", ""), ("loadtest/src", "loadtest::")] {
        for file in files(&root().join(folder), "rs") {
            let path = file.strip_prefix(root().join(folder)).expect("it lies in the folder");
            tests.extend(tests_of(&read(&file)).map(|name| format!("{prefix}{}::{name}", module(path))));
        }
    }
    let absent: Vec<_> = named.difference(&tests).collect();
    assert!(absent.is_empty(), "there is no such test: {absent:#?}");
    let redis =
        ["connections", "network", "process", "rights"].map(|module| format!("redis_trouble::{module}::"));
    let own = ["crowd", "memory", "standstill", "stop"].map(|module| format!("own_faults::{module}::"));
    for prefix in redis.into_iter().chain(own) {
        let mut faults = tests.iter().filter(|test| test.starts_with(&prefix)).peekable();
        assert!(faults.peek().is_some(), "{prefix}");
        let without_row: Vec<_> = faults.filter(|test| !named.contains(*test)).collect();
        assert!(without_row.is_empty(), "no row of docs/reliability.md names {without_row:#?}");
    }
}

#[test]
fn every_make_target_that_a_document_names_is_one() {
    let makefile = read(&root().join("Makefile"));
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.strip_prefix(".PHONY: "))
        .flat_map(str::split_whitespace)
        .collect();
    for document in documents() {
        for target in made(&read(&document)) {
            assert!(targets.contains(&*target), "{}: make {target}", document.display());
        }
    }
}

#[test]
fn every_hot_function_has_a_bench_and_every_bench_is_on_the_page() {
    let page = read(&root().join("docs/benchmarks.md"));
    let manifest = read(&root().join("Cargo.toml"));
    let benches = manifest.split("[[bench]]").skip(1).filter_map(|entry| entry.split('"').nth(1));
    let hot = files(&root().join("src"), "rs")
        .into_iter()
        .filter(|path| read(path).lines().any(|line| line.trim_start().starts_with("// Hot:")))
        .map(|path| path.strip_prefix(root().join("src")).expect("it lies there").display().to_string());
    let named: Vec<String> = hot.chain(benches.map(str::to_owned)).collect();
    assert!(named.len() > 20, "the sources and the benches have been found");
    for name in named {
        let is_script = name == "instructions" && page.contains("`make instructions`");
        assert!(is_script || page.contains(&format!("`{name}`")), "docs/benchmarks.md does not name {name}");
    }
}

#[test]
fn tests_are_found_where_they_stand() {
    let text = "| A fault | `redis.url` | `a::b::it_goes_on` and `c::d` |\nNot `e::f`.\n";
    assert_eq!(named_tests(text), ["a::b::it_goes_on", "c::d"].map(str::to_owned).into());
    let source =
        "#[test]\nfn one() {}\n    #[test]\n    #[ignore = \"slow\"]\n    fn two() {}\nfn three() {}\n";
    assert!(tests_of(source).eq(["one", "two"]));
    for (path, expected) in [("a/mod.rs", "a"), ("a/main.rs", "a"), ("a/b.rs", "a::b"), ("a.rs", "a")] {
        assert_eq!(module(Path::new(path)), expected);
    }
}

#[test]
fn links_and_targets_are_found_where_they_stand() {
    let text = "See [this](a.md) and\n![that](b/c.svg), `make check`, not `code[0](x)`.\n```sh\nmake sim SEEDS=5\n[no](d)\n```\n";
    assert_eq!(links(text), ["a.md", "b/c.svg"]);
    assert_eq!(made(text), ["check", "sim"]);
    assert_eq!(made("to make sense of `makefile` and `make`"), Vec::<String>::new());
}

/// The targets of `[text](target)`, outside code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in lines_outside_blocks(text) {
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (offset, _) in prose.match_indices("](") {
            let rest = &prose[offset + 2..];
            links.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    links
}

/// The targets of `make target`, in code.
fn made(text: &str) -> Vec<String> {
    let mut made = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        }
        let spans: Vec<&str> =
            if is_block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for span in spans {
            let target = span.strip_prefix("make ").and_then(|rest| rest.split_whitespace().next());
            made.extend(target.map(str::to_owned));
        }
    }
    made
}

/// What the tables of a page name in code that is a path, as `redis_trouble::process::killed`.
fn named_tests(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let spans = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    spans.filter(|span| span.contains("::")).map(str::to_owned).collect()
}

/// The names of the test functions of a source.
fn tests_of(source: &str) -> impl Iterator<Item = &str> {
    let mut lines = source.lines().map(str::trim_start);
    std::iter::from_fn(move || {
        lines.find(|line| *line == "#[test]")?;
        let function = lines.find(|line| !line.starts_with("#["))?;
        function.strip_prefix("fn ")?.split('(').next()
    })
}

/// What a file is as a module.
fn module(path: &Path) -> String {
    let path = path.with_extension("");
    let names = path.iter().map(|name| name.to_str().expect("sources have plain names"));
    names.filter(|name| !["mod", "main"].contains(name)).collect::<Vec<_>>().join("::")
}

fn lines_outside_blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut is_block = false;
    text.lines().filter(move |line| {
        is_block ^= line.starts_with("```");
        !is_block
    })
}

fn documents() -> Vec<PathBuf> {
    let top = fs::read_dir(root()).expect("the root can be listed");
    let top = top.map(|entry| entry.expect("the root can be listed").path());
    let mut documents: Vec<_> = top.filter(|path| has_extension(path, "md")).collect();
    for folder in ["docs", "loadtest"] {
        documents.extend(files(&root().join(folder), "md"));
    }
    // Not all below it: the environments of its tests are there, and have documents of their own.
    documents.extend(["django/README.md", "examples/chat/README.md"].map(|path| root().join(path)));
    assert!(documents.len() > 8, "the documents have been found");
    documents
}

/// The files with this extension in a folder and all below it.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be listed") {
            let path = entry.expect("a folder can be listed").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.extend(Some(path).filter(|path| has_extension(path, extension))),
            }
        }
    }
    found
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a document is readable UTF-8")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
