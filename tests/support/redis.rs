//! A real redis-server of the test's own, on a Unix socket: no port that another might take.

use std::path::PathBuf;
use std::process::Command;

use super::process::Process;
use super::resp::Client;
use super::{Directory, until};

#[derive(Debug)]
pub struct Redis {
    pub process: Process,
    directory: Directory,
    options: Vec<String>,
}

impl Redis {
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With options as on its command line.
    #[track_caller]
    pub fn with(options: &[&str]) -> Self {
        Self::in_directory(Directory::new(), options)
    }

    /// In a directory that courier may have been told of before.
    #[track_caller]
    pub fn in_directory(directory: Directory, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = launch(&directory, &options);
        let redis = Self { process, directory, options };
        redis.until_it_answers();
        redis
    }

    /// What `--redis` takes.
    pub fn url(&self) -> String {
        url(&self.directory)
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::unix(&self.socket()).expect("redis-server listens")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// As after a crash: nothing of it is said to anybody.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again in the same place.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process = launch(&self.directory, &self.options);
        self.until_it_answers();
    }

    #[track_caller]
    fn until_it_answers(&self) {
        until("redis-server listens", || Client::unix(&self.socket()).is_some());
    }
}

/// Where a Redis in this directory will be.
pub fn url(directory: &Directory) -> String {
    format!("unix://{}", socket(directory).display())
}

fn socket(directory: &Directory) -> PathBuf {
    directory.path().join("redis.sock")
}

fn launch(directory: &Directory, options: &[String]) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
    Process::start(command.args(options).current_dir(directory.path()))
}
