//! Tells the binary which commit it is: `COURIER_REVISION` at compile time.
//!
//! The first that answers: this checkout's own `.git` (never that of a directory above it, which would be somebody
//! else's), the environment variable `COURIER_REVISION` (for builds from a tarball), `unknown`. Git's files are read
//! directly, so that a build needs no git. Only files that exist are watched: cargo takes a missing one for changed.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=COURIER_REVISION");
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let revision = checkout_revision(&root)
        .or_else(|| std::env::var("COURIER_REVISION").ok())
        .filter(|revision| is_plain(revision))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=COURIER_REVISION={revision}");
}

/// The first 12 digits of the commit that HEAD stands on.
fn checkout_revision(root: &Path) -> Option<String> {
    let git = git_directory(&root.join(".git"))?;
    // A worktree keeps its HEAD in its own directory and the branches in the common one.
    let common = match std::fs::read_to_string(git.join("commondir")) {
        Ok(path) => git.join(path.trim()),
        Err(_) => git.clone(),
    };
    let head = read_watched(&git.join("HEAD"))?;
    let commit = match head.strip_prefix("ref: ") {
        None => head,
        Some(reference) => branch_commit(&common, reference)?,
    };
    commit.get(..12).map(str::to_owned)
}

/// `.git` is a directory, or in a worktree a file that says where the directory is.
fn git_directory(entry: &Path) -> Option<PathBuf> {
    if entry.is_dir() {
        return Some(entry.to_owned());
    }
    let pointer = read_watched(entry)?;
    let path = Path::new(pointer.strip_prefix("gitdir: ")?);
    Some(entry.parent()?.join(path))
}

/// A branch is a file of its own or, after `git gc`, a line of `packed-refs`.
fn branch_commit(common: &Path, reference: &str) -> Option<String> {
    let loose = common.join(reference);
    if let Some(commit) = read_watched(&loose) {
        return Some(commit);
    }
    // The next commit creates the file: watch the directory that it appears in.
    if let Some(directory) = loose.ancestors().skip(1).find(|directory| directory.is_dir()) {
        println!("cargo::rerun-if-changed={}", directory.display());
    }
    let packed = read_watched(&common.join("packed-refs"))?;
    let line = packed.lines().find(|line| line.split_once(' ').is_some_and(|(_, name)| name == reference))?;
    line.split_once(' ').map(|(commit, _)| commit.to_owned())
}

fn read_watched(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text.trim().to_owned())
}

/// What may stand in a label, a log line and an HTTP header without quoting.
fn is_plain(revision: &str) -> bool {
    !revision.is_empty()
        && revision.len() <= 64
        && revision.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
}
