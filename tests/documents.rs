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
