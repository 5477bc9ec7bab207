//! Keys that lie in files: read at start, and again when a file changes, while streams go on.
//!
//! A thread of its own looks at the files once a second, so that a file system that hangs holds up nobody. What it finds
//! it puts on the board; a shard compares a version once a turn and takes the new ring when it is another one. A
//! file that cannot be read, or holds no key, leaves the keys as they are; that is said once, and once when it is over.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::access::keys::{KeyForm, KeyIndex, KeyRing, Keys};
use crate::base::limits::KEY_FILE_BYTES;
use crate::driver::files;

/// A file with keys, as it was when they were read.
#[derive(Debug, Clone)]
pub struct KeyFile {
    pub path: PathBuf,
    pub form: KeyForm,
    pub index: KeyIndex,
    stamp: Option<Stamp>,
}

/// What changes when a file does: another file at its path, or other contents of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The keys that hold now, for all shards.
#[derive(Debug)]
pub struct KeyBoard {
    version: AtomicU64,
    /// Locked when a version is new to a shard, never otherwise.
    ring: Mutex<Arc<KeyRing>>,
    /// Files that were read again, and times that one turned out to hold no key.
    pub reloads: AtomicU64,
    pub failures: AtomicU64,
}

/// What looks at the files.
#[derive(Debug)]
pub struct KeyWatch {
    board: Arc<KeyBoard>,
    files: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    file: KeyFile,
    /// True from a look that found no keys up to the next that does.
    is_broken: bool,
}

impl KeyFile {
    /// The file and what it holds. It has no place yet.
    pub fn open(path: &Path, form: KeyForm) -> Result<(Self, Vec<u8>), String> {
        // Before the reading: what changes meanwhile is read again.
        let stamp = stamp(path).ok();
        let text = files::read_bytes(path, KEY_FILE_BYTES)?;
        Ok((Self { path: path.to_owned(), form, index: KeyIndex::default(), stamp }, text))
    }

    /// The same with the place of its keys in the ring.
    pub fn placed(self, index: KeyIndex) -> Self {
        Self { index, ..self }
    }
}

impl KeyBoard {
    pub fn new(ring: KeyRing) -> Self {
        Self {
            version: AtomicU64::new(0),
            ring: Mutex::new(Arc::new(ring)),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The ring, if it is not the one of `version`, which becomes the present one.
    pub fn newer(&self, version: &mut u64) -> Option<Arc<KeyRing>> {
        let present = self.version.load(Ordering::Acquire);
        if present == *version {
            return None;
        }
        *version = present;
        Some(Arc::clone(&self.ring.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn put(&self, index: KeyIndex, keys: Keys) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = KeyRing::clone(&ring);
        changed.replace(index, keys);
        *ring = Arc::new(changed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl KeyWatch {
    pub fn new(board: Arc<KeyBoard>, files: Vec<KeyFile>) -> Self {
        let files = files.into_iter().map(|file| Watched { file, is_broken: false }).collect();
        Self { board, files }
    }

    /// Looks again and again, in a thread of its own; the process's end is its end.
    pub fn start(mut self) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let watch = move || {
            loop {
                std::thread::sleep(INTERVAL);
                self.look();
            }
        };
        std::thread::Builder::new().name("courier-keys".into()).spawn(watch).map(drop)
    }

    /// Reads what has changed since the last look.
    pub fn look(&mut self) {
        for watched in &mut self.files {
            watched.look(&self.board);
        }
    }
}

impl Watched {
    fn look(&mut self, board: &KeyBoard) {
        let path = self.file.path.display();
        // A file that is gone has no stamp, and is read in vain as often as it is looked at: there is nothing to read.
        let seen = stamp(&self.file.path).ok();
        if seen == self.file.stamp && seen.is_some() {
            return;
        }
        let read = files::read_bytes(&self.file.path, KEY_FILE_BYTES)
            .and_then(|text| self.file.form.read(&text).map_err(|bad| bad.remedy().to_owned()));
        self.file.stamp = seen;
        match read {
            Ok(keys) => {
                board.put(self.file.index, keys);
                board.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(file = %path, "the keys have changed");
                self.is_broken = false;
            }
            Err(remedy) if !self.is_broken => {
                board.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(file = %path, remedy, "the keys stay as they were");
                self.is_broken = true;
            }
            Err(_) => {}
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata: Metadata = std::fs::metadata(path)?;
    Ok(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// How soon a changed file is noticed.
const INTERVAL: Duration = Duration::from_secs(1);
