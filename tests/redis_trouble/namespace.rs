//! A test in namespaces of its own: its routes, addresses and mounts are nobody else's, and are gone with it.
//!
//! The test's binary is started once more, inside, for this one test. Where the machine does not let us make namespaces the
//! test is skipped, says so on the real stderr, and `make test` counts it.

use std::io::Write;
use std::process::Command;

use crate::support::process::Process;

/// Runs the body inside, as the test that calls this.
#[track_caller]
pub fn inside(body: impl FnOnce()) {
    let thread = std::thread::current();
    let test = thread.name().expect("a test runs on a thread of its name").to_owned();
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        run("ip link set lo up");
        return body();
    }
    // An ordinary user is made root of a namespace of users first.
    let ways = [&["--net", "--mount"][..], &["--net", "--mount", "--map-root-user"]];
    let can = |way: &&[&str]| Process::run(Command::new("unshare").args(*way).arg("true")).0 == 0;
    let Some(way) = ways.into_iter().find(can) else {
        // Past the capture of what a test prints: a test that did not run must not look as if it had.
        let line = format!("skipped: {test}: no namespaces can be made here (unshare --net --mount)\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let mut command = Command::new("unshare");
    command.args(way).arg(std::env::current_exe().unwrap()).env(INSIDE, &test);
    command.args(["--exact", &test, "--include-ignored", "--nocapture"]);
    let (code, output, errors) = Process::run(&mut command);
    assert!(code == 0 && output.contains("1 passed"), "inside the namespaces:\n{output}{errors}");
    // The figures among it.
    eprint!("{errors}");
}

/// A command that must succeed, its words between spaces.
#[track_caller]
pub fn run(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let (code, _, errors) = Process::run(Command::new(words[0]).args(&words[1..]));
    assert_eq!(code, 0, "{command}: {errors}");
}

/// Holds the name of the test that is to run inside.
const INSIDE: &str = "COURIER_TEST_INSIDE";
