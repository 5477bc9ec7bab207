//! The end of a process, seen from outside: a test runs itself again as the process that ends.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::*;

/// Set in the process that ends.
const IS_INNER: &str = "COURIER_TEST_INNER_PROCESS";

fn is_inner() -> bool {
    std::env::var_os(IS_INNER).is_some()
}

/// Runs the test of this name again, as a process of its own that writes its errors here: its exit code.
fn run_again(test: &str, errors: impl Into<Stdio>) -> Option<i32> {
    let mut inner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("server::tests::{test}")])
        .env(IS_INNER, "1")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = inner.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            inner.kill().unwrap();
            inner.wait().unwrap();
            panic!("the process does not end");
        }
        // The pause between two questions.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A place for errors that takes no byte more, and the end of it at which nobody reads.
fn full() -> (OwnedFd, UnixStream) {
    let (mut errors, unread) = UnixStream::pair().unwrap();
    errors.set_nonblocking(true).unwrap();
    let filled = loop {
        if let Err(error) = errors.write(b"x") {
            break error;
        }
    };
    assert_eq!(filled.kind(), ErrorKind::WouldBlock);
    errors.set_nonblocking(false).unwrap();
    (errors.into(), unread)
}

/// A shard's thread that finds one of its invariants broken, while the main thread waits for reports.
fn panic_in_a_thread() {
    end_on_panic();
    let shard = std::thread::Builder::new().name("courier-shard-3".into());
    shard.spawn(|| panic!("the slot is in use")).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_thread_that_panics_ends_the_process_with_code_70_and_its_message() {
    if is_inner() {
        panic_in_a_thread();
    }
    let (mut said, errors) = io::pipe().unwrap();
    let test = "a_thread_that_panics_ends_the_process_with_code_70_and_its_message";
    assert_eq!(run_again(test, errors), Some(70));
    let mut message = String::new();
    said.read_to_string(&mut message).unwrap();
    assert!(message.contains("thread 'courier-shard-3'"), "{message}");
    assert!(message.contains("src/server/tests.rs:"), "{message}");
    assert!(message.contains("the slot is in use"), "{message}");
}

#[test]
fn a_thread_that_panics_ends_the_process_though_nobody_reads_its_message() {
    if is_inner() {
        panic_in_a_thread();
    }
    let (errors, _unread) = full();
    let test = "a_thread_that_panics_ends_the_process_though_nobody_reads_its_message";
    assert_eq!(run_again(test, errors), Some(70));
}

#[test]
fn a_last_line_that_nobody_reads_does_not_hold_up_the_end() {
    if is_inner() {
        last_line("the thread courier-shard-3 has ended", EXIT_FAULT);
        unreachable!("the line cannot have been written");
    }
    let (errors, _unread) = full();
    assert_eq!(run_again("a_last_line_that_nobody_reads_does_not_hold_up_the_end", errors), Some(70));
}
