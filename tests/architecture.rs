//! The rules of the house that a compiler does not know, read from the sources themselves.
//!
//! Modules stand on floors, listed in the documentation of `src/lib.rs`, and import only from floors below; only the
//! driver, the command line tools and the server touch the world outside; `unsafe` is written in named files alone.
//! A finding names the file and the line. The checks work on text without comments and literals, not on a syntax
//! tree: what they look for has one spelling in this code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that may open sockets and files, start threads and read clocks.
const OUTSIDE: &[&str] = &["driver", "tools", "server", "main"];

/// What only those modules may name. Addresses (`std::net::SocketAddr`) are plain values and may stand anywhere.
const WORLD: &[&str] = &[
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "UnixListener",
    "UnixStream",
    "UnixDatagram",
    "std::fs",
    "std::os::fd",
    "std::os::unix::net",
    "std::thread",
    "std::process",
    "std::env",
    "Instant",
    "SystemTime",
    "stdin",
    "stdout",
    "stderr",
    "glommio",
    "io_uring",
    "libc",
];

/// A file that may name one of those, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("config/file.rs", "std::fs"), // reads the configuration file, once, before anything runs
];

/// Files that may hold `unsafe`: a path, or a folder with a slash at its end.
const UNSAFE: &[&str] = &["driver/sys.rs", "driver/sys/", "driver/uring/ring.rs"];

/// The same for tests and benches, relative to the package: an allocator that counts cannot be written without.
const UNSAFE_IN_TESTS: &[&str] = &["tests/allocations.rs", "tests/channel_memory.rs"];

#[test]
fn imports_only_go_down() {
    assert_none(findings(rising_imports));
}

#[test]
fn only_the_outermost_modules_touch_the_world_outside() {
    assert_none(findings(|file, _| world_outside(file)));
}

#[test]
fn unsafe_is_written_in_the_named_files_alone() {
    assert_none(findings(|file, _| misplaced_unsafe(file)));
}

#[test]
fn tests_and_benches_do_without_unsafe_but_for_the_named_ones() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["tests", "benches"].map(|folder| sources_below(package, &package.join(folder)));
    let found: BTreeMap<String, bool> = files
        .into_iter()
        .flatten()
        .map(|file| (file.path.clone(), has_unsafe(&file).next().is_some()))
        .collect();
    for (path, has_unsafe) in &found {
        assert_eq!(*has_unsafe, UNSAFE_IN_TESTS.contains(&path.as_str()), "{path}");
    }
    assert!(UNSAFE_IN_TESTS.iter().all(|path| found.contains_key(*path)));
}

#[test]
fn every_module_of_the_crate_stands_on_a_floor() {
    let floors = Floors::of_the_crate();
    let mut standing: Vec<String> = sources()
        .iter()
        .map(|file| file.module().to_owned())
        .filter(|module| module != "lib" && module != "main")
        .collect();
    standing.sort();
    standing.dedup();
    let mut listed: Vec<String> = floors.0.keys().cloned().collect();
    listed.sort();
    assert_eq!(standing, listed, "the list in src/lib.rs against the modules under src/");
}

mod planted {
    //! The checks are worth what they find: each is shown lines that break its rule, and lines that do not.

    use super::*;

    fn floors() -> Floors {
        Floors::parse(
            "//! 0 [`base`] · 1 [`wire`] · 2 [`hub`], [`access`] ·\n//! 4 [`reader`], [`shard`] · 5 [`driver`]\n",
        )
    }

    fn rising(path: &str, text: &str) -> Vec<String> {
        rising_imports(&Source::new(path, text), &floors())
    }

    #[test]
    fn the_floor_list_is_read_across_lines() {
        let floors = floors();
        let height = |name: &str| floors.0.get(name).copied();
        assert_eq!(
            [height("base"), height("access"), height("shard"), height("driver")].map(Option::unwrap),
            [0, 2, 4, 5]
        );
        assert_eq!(height("nothing"), None);
    }

    #[test]
    fn an_import_from_below_or_from_the_module_itself_is_fine() {
        assert!(
            rising("shard/turn.rs", "use crate::base::slab::Key;\nuse crate::shard::input::Input;\n")
                .is_empty()
        );
        assert!(rising("shard/turn.rs", "use crate::{hub::Hub, base::{log, time}, wire};\n").is_empty());
        assert!(
            rising("driver/uring/mod.rs", "let reader = crate::reader::Reader::new(options);\n").is_empty()
        );
        assert!(rising("hub/mod.rs", "use super::base::log;\n").is_empty());
    }

    #[test]
    fn an_import_from_above_is_found_in_every_spelling() {
        for line in [
            "use crate::driver::sys;",
            "pub(crate) use crate::driver::sys;",
            "use crate::{base::log, driver::sys};",
            "use crate::{base::{log, time}, driver};",
            "let fd = crate::driver::sys::eventfd();",
            "use super::super::driver::sys;",
            "use crate :: driver :: sys;",
        ] {
            assert_eq!(rising("hub/channel.rs", &format!("\n{line}\n")).len(), 1, "{line}");
        }
        assert_eq!(rising("hub/mod.rs", "use super::driver::sys;"), ["src/hub/mod.rs:1: hub imports driver"]);
        let spread = "use crate::{\n    base::log,\n    driver::sys,\n};\n";
        assert_eq!(rising("hub/mod.rs", spread), ["src/hub/mod.rs:3: hub imports driver"]);
    }

    #[test]
    fn modules_of_one_floor_do_not_know_each_other() {
        assert_eq!(rising("reader/mod.rs", "use crate::shard::input;").len(), 1);
        assert_eq!(rising("shard/mod.rs", "use crate::reader::input;").len(), 1);
        assert_eq!(rising("hub/mod.rs", "use crate::access::Rules;").len(), 1);
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        for line in [
            "// use crate::driver::sys;",
            "/// Unlike [`crate::driver`], and unsafe to use libc.",
            "/* crate::driver /* nested */ unsafe */",
            "let text = \"crate::driver \\\" unsafe std::fs\";",
            "let text = r#\"crate::driver \" unsafe std::fs\"#;",
            "let text = b\"unsafe crate::driver\";",
        ] {
            let file = Source::new("hub/mod.rs", line);
            assert!(rising_imports(&file, &floors()).is_empty(), "{line}");
            assert!(misplaced_unsafe(&file).is_empty(), "{line}");
            assert!(world_outside(&file).is_empty(), "{line}");
        }
    }

    #[test]
    fn quotes_and_lifetimes_do_not_hide_code() {
        for line in
            ["let quote = '\"'; unsafe {}", "fn keep<'a>(text: &'a str) { unsafe {} }", "b'\\''; unsafe {}"]
        {
            assert_eq!(misplaced_unsafe(&Source::new("hub/mod.rs", line)).len(), 1, "{line}");
        }
    }

    #[test]
    fn the_world_outside_is_found_in_a_machine_and_not_in_a_driver() {
        for line in [
            "use std::net::TcpStream;",
            "let text = std::fs::read(path);",
            "let now = std::time::Instant::now();",
            "use std::time::{Duration, SystemTime};",
            "std::thread::spawn(work);",
            "use glommio::Task;",
            "unsafe { libc::close(3) };",
        ] {
            assert_eq!(world_outside(&Source::new("reader/mod.rs", line)).len(), 1, "{line}");
            assert!(world_outside(&Source::new("driver/uring/mod.rs", line)).is_empty(), "{line}");
        }
        let reading = Source::new("config/file.rs", "let file = std::fs::File::open(path)?;");
        assert!(world_outside(&reading).is_empty());
        let timing = Source::new("config/file.rs", "let now = Instant::now();");
        assert_eq!(world_outside(&timing).len(), 1);
        for line in ["use std::net::SocketAddr;", "struct Instantaneous;", "fn glommio_like() {}"] {
            assert!(world_outside(&Source::new("config/mod.rs", line)).is_empty(), "{line}");
        }
    }

    #[test]
    fn unsafe_and_its_permission_are_found_outside_the_named_files() {
        let line = "#[allow(unsafe_code)]\nunsafe impl Send for Ring {}";
        assert_eq!(misplaced_unsafe(&Source::new("driver/uring/mod.rs", line)).len(), 2);
        assert!(misplaced_unsafe(&Source::new("driver/uring/ring.rs", line)).is_empty());
        assert!(misplaced_unsafe(&Source::new("driver/sys/eventfd.rs", line)).is_empty());
        assert!(misplaced_unsafe(&Source::new("hub/mod.rs", "let unsafely = not_unsafe;")).is_empty());
    }
}

/// How high each module stands.
struct Floors(BTreeMap<String, u32>);

impl Floors {
    fn of_the_crate() -> Self {
        let text = fs::read_to_string(source_root().join("lib.rs")).expect("src/lib.rs is there");
        Self::parse(&text)
    }

    /// Reads ``0 [`base`] · 1 [`wire`] · 2 [`hub`], [`access`]`` out of the crate's documentation.
    fn parse(text: &str) -> Self {
        let documentation: String =
            text.lines().filter_map(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join(" ");
        let start = documentation.find("0 [`base`]").expect("the list of floors begins with base");
        let mut floors = BTreeMap::new();
        for entry in documentation[start..].split('·') {
            let (height, modules) =
                entry.trim().split_once(' ').expect("a floor is a number and its modules");
            let height = height.parse().expect("a floor is a number");
            for module in modules.split(',') {
                let name = module.trim().trim_matches(['[', ']', '`']);
                assert!(floors.insert(name.to_owned(), height).is_none(), "{name} stands on one floor");
            }
        }
        Self(floors)
    }
}

/// A file under `src/`, as the checks read it.
struct Source {
    /// Relative to `src/`.
    path: String,
    /// Without comments and the contents of literals; lines are where they were.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: code_of(text) }
    }

    /// The module of the first level that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().expect("a path has a first part");
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super` lead from the file's module to the crate's root.
    fn depth(&self) -> usize {
        self.path.trim_end_matches("/mod.rs").split('/').count()
    }

    fn finding(&self, offset: usize, what: &str) -> String {
        let line = 1 + self.code[..offset].matches('\n').count();
        format!("src/{}:{line}: {what}", self.path)
    }
}

fn rising_imports(file: &Source, floors: &Floors) -> Vec<String> {
    let Some(own) = floors.0.get(file.module()) else {
        return Vec::new(); // lib.rs and main.rs stand above all floors
    };
    roots_named(file)
        .into_iter()
        .filter(|(_, module)| *module != file.module())
        .filter(|(_, module)| floors.0.get(*module).is_some_and(|height| height >= own))
        .map(|(offset, module)| file.finding(offset, &format!("{} imports {module}", file.module())))
        .collect()
}

fn world_outside(file: &Source) -> Vec<String> {
    // Tests of their own file may keep their samples in temporary files.
    if OUTSIDE.contains(&file.module()) || file.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let is_excepted = |name: &str| EXCEPTIONS.contains(&(&file.path, name));
    // One finding a line is enough: `std::fs` and `File` of one import are one thing to move.
    let mut found: Vec<String> = Vec::new();
    for (offset, line) in lines(&file.code) {
        if let Some(name) = WORLD.iter().find(|name| has_word(line, name) && !is_excepted(name)) {
            found.push(file.finding(offset, &format!("{} names {name}", file.module())));
        }
    }
    found
}

fn misplaced_unsafe(file: &Source) -> Vec<String> {
    let is_here =
        |named: &str| if named.ends_with('/') { file.path.starts_with(named) } else { file.path == named };
    if UNSAFE.iter().any(|named| is_here(named)) {
        return Vec::new();
    }
    has_unsafe(file).map(|offset| file.finding(offset, "unsafe outside the files that may hold it")).collect()
}

/// Where the file says `unsafe`, or permits it.
fn has_unsafe(file: &Source) -> impl Iterator<Item = usize> {
    let is_meant = |line: &str| has_word(line, "unsafe") || has_word(line, "unsafe_code");
    lines(&file.code).filter(move |(_, line)| is_meant(line)).map(|(offset, _)| offset)
}

/// Every module of the first level that the code names by a path from the crate's root, and where.
fn roots_named(file: &Source) -> Vec<(usize, &str)> {
    let code = &file.code;
    let mut roots = Vec::new();
    for (offset, _) in code.match_indices("crate") {
        if is_word_at(code, offset, "crate")
            && let Some(path) = after_colons(code, offset + "crate".len())
        {
            roots.extend(first_names(code, path));
        }
    }
    for (offset, _) in code.match_indices("super") {
        if !is_word_at(code, offset, "super") || code[..offset].trim_end().ends_with("::") {
            continue;
        }
        let mut climbed = 0;
        let mut path = offset;
        while is_word_at(code, path, "super") {
            let Some(next) = after_colons(code, path + "super".len()) else { break };
            climbed += 1;
            path = next;
        }
        if climbed >= file.depth() {
            roots.extend(first_names(code, path));
        }
    }
    roots
}

/// The name at `offset`, or the first names inside the braces there.
fn first_names(code: &str, offset: usize) -> Vec<(usize, &str)> {
    if !code[offset..].starts_with('{') {
        return Vec::from_iter(name_at(code, offset));
    }
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut is_start = false;
    for (index, character) in code[offset..].char_indices() {
        match character {
            '{' => {
                depth += 1;
                is_start = depth == 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' => is_start = depth == 1,
            _ if is_start && !character.is_whitespace() => {
                names.extend(name_at(code, offset + index));
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at(code: &str, offset: usize) -> Option<(usize, &str)> {
    let length = code[offset..].find(|character| !is_word_part(character)).unwrap_or(code.len() - offset);
    (length > 0).then(|| (offset, &code[offset..offset + length]))
}

/// Where the path goes on behind `::`, if it does.
fn after_colons(code: &str, offset: usize) -> Option<usize> {
    let rest = code[offset..].trim_start().strip_prefix("::")?.trim_start();
    Some(code.len() - rest.len())
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(offset, _)| is_word_at(line, offset, word))
}

fn is_word_at(code: &str, offset: usize, word: &str) -> bool {
    code[offset..].starts_with(word)
        && !code[..offset].ends_with(is_word_part)
        && !code[offset + word.len()..].starts_with(is_word_part)
}

fn is_word_part(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn lines(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.split_inclusive('\n').scan(0, |end, line| {
        let start = *end;
        *end += line.len();
        Some((start, line))
    })
}

/// The text with comments, strings and character literals blanked out.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hidden = hidden_length(rest, code.chars().next_back());
        if hidden == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..hidden].chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
            rest = &rest[hidden..];
        }
    }
    code
}

/// How many bytes at the start of `rest` are no code; 0 if it starts with code.
fn hidden_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    // A raw string begins at a word of its own: r"..", r#".."#, br"..".
    if rest.starts_with('r') && before.is_none_or(|character| character == 'b' || !is_word_part(character)) {
        let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return rest[body..].find(&end).map_or(rest.len(), |length| body + length + end.len());
        }
    }
    // 'a' and '\n' are literals; 'a without the second quote is a lifetime.
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut characters = inside.chars();
        let first = characters.next();
        if first == Some('\\') || characters.next() == Some('\'') {
            return quoted_length(rest, '\'');
        }
    }
    0
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut offset = 0;
    while offset < rest.len() {
        if rest[offset..].starts_with("/*") {
            depth += 1;
            offset += 2;
        } else if rest[offset..].starts_with("*/") {
            depth -= 1;
            offset += 2;
            if depth == 0 {
                break;
            }
        } else {
            offset += rest[offset..].chars().next().map_or(1, char::len_utf8);
        }
    }
    offset
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (offset, character) in rest.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if character == quote {
            return offset + 1;
        }
    }
    rest.len()
}

fn findings(check: impl Fn(&Source, &Floors) -> Vec<String>) -> Vec<String> {
    let floors = Floors::of_the_crate();
    sources().iter().flat_map(|file| check(file, &floors)).collect()
}

fn assert_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Every Rust file under `src/`, in a fixed order.
fn sources() -> Vec<Source> {
    let root = source_root();
    let sources = sources_below(&root, &root);
    assert!(sources.len() > 20, "src/ has been found");
    sources
}

/// Every Rust file in the folder or below, named by its path from `root`.
fn sources_below(root: &Path, folder: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources can be listed") {
            let path = entry.expect("a folder of sources can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| Source::new(&relative(path, root), &read(path))).collect()
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .expect("it was found there")
        .to_str()
        .expect("sources have plain names")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source is readable UTF-8")
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
