//! What the documents point to exists: every relative link, every picture, every `make` target.

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
    let fanout = run("fanout.json");
    for (row, contender) in [
        ("courier", "courier"),
        ("bare loop of io_uring sends", "io_uring loop"),
        ("bare loop of `send(2)`", "send(2) loop"),
    ] {
        let summary = summary(&fanout, contender);
        let cost = &summary["cpu_nanos_per_delivery"];
        let micros = |key: &str| cost[key].as_f64().expect("a number") / 1_000.0;
        let (median, least, greatest) = (micros("median"), micros("least"), micros("greatest"));
        let line = format!("| {row} | {median:.2} us ({least:.2} to {greatest:.2}) |");
        assert!(readme.contains(&line), "the committed run says: {line}");
        assert_eq!(summary["delivered"], summary["expected"]);
        assert_eq!(summary["delivered"], 1_080_000);
    }
    let idle = run("idle.json");
    let courier = summary(&idle, "courier");
    let mebibytes = courier["user_bytes_in_all"]["median"].as_f64().expect("a number") / 1_048_576.0;
    let milliseconds = courier["rest_cpu_seconds"]["median"].as_f64().expect("a number") * 1_000.0;
    for figure in [format!("{mebibytes:.0} MiB of memory"), format!("{milliseconds:.1} ms of CPU")] {
        assert!(readme.contains(&figure), "the committed run says: {figure}");
    }
}

fn summary<'a>(run: &'a serde_json::Value, contender: &str) -> &'a serde_json::Value {
    let summaries = run["summaries"].as_array().expect("a run has summaries");
    summaries.iter().find(|summary| summary["contender"] == contender).expect("the contender took part")
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

fn lines_outside_blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut is_block = false;
    text.lines().filter(move |line| {
        is_block ^= line.starts_with("```");
        !is_block
    })
}

fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    let mut folders = vec![root().join("docs"), root().join("loadtest")];
    let top = fs::read_dir(root()).expect("the root can be listed");
    documents.extend(
        top.map(|entry| entry.expect("the root can be listed").path()).filter(|path| is_document(path)),
    );
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be listed") {
            let path = entry.expect("a folder can be listed").path();
            match path.is_dir() {
                true => folders.push(path),
                false => documents.extend(Some(path).filter(|path| is_document(path))),
            }
        }
    }
    assert!(documents.len() > 8, "the documents have been found");
    documents
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a document is readable UTF-8")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
