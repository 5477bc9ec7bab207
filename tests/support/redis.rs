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
    /// Its command line, beginning with whatever places it elsewhere.
    command: Vec<String>,
    /// What its clients log in with.
    password: Option<String>,
}

/// How a client reaches it and logs in.
#[derive(Debug, Clone)]
pub struct Access {
    socket: PathBuf,
    password: Option<String>,
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
        Self::behind(&[], directory, options)
    }

    /// Started by a command that becomes it, as `unshare --net` does.
    #[track_caller]
    pub fn behind(wrapper: &[&str], directory: Directory, options: &[&str]) -> Self {
        let words = [wrapper, &["redis-server"], USUAL, options].concat();
        let command: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let process = launch(&directory, &command);
        let redis = Self { process, directory, command, password: None };
        redis.until_it_answers();
        redis
    }

    /// What its clients log in with from here on.
    pub fn set_password(&mut self, password: &str) {
        self.password = Some(password.to_owned());
    }

    /// What `--redis` takes.
    pub fn url(&self) -> String {
        url(&self.directory)
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        self.access().client().expect("redis-server listens and takes the password")
    }

    pub fn access(&self) -> Access {
        Access { socket: self.socket(), password: self.password.clone() }
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
        self.restart_with(&[]);
    }

    /// Starts it again in the same place, with more options.
    #[track_caller]
    pub fn restart_with(&mut self, options: &[&str]) {
        self.command.extend(options.iter().map(|&option| option.to_owned()));
        self.process = launch(&self.directory, &self.command);
        self.until_it_answers();
    }

    /// Nobody finds it until `show`; those who are connected stay.
    pub fn hide(&self) {
        std::fs::rename(self.socket(), self.socket().with_extension("hidden")).unwrap();
    }

    pub fn show(&self) {
        std::fs::rename(self.socket().with_extension("hidden"), self.socket()).unwrap();
    }

    #[track_caller]
    fn until_it_answers(&self) {
        until("redis-server listens", || Client::unix(&self.socket()).is_some());
    }
}

impl Access {
    /// None if it cannot be reached at present.
    pub fn client(&self) -> Option<Client> {
        let mut client = Client::unix(&self.socket)?;
        if let Some(password) = &self.password {
            let reply = client.attempt(&[b"AUTH", password.as_bytes()]).ok()?;
            assert_eq!(reply.as_text(), Some(&b"OK"[..]), "{reply:?}");
        }
        Some(client)
    }
}

/// Where a Redis in this directory will be.
pub fn url(directory: &Directory) -> String {
    format!("unix://{}", socket(directory).display())
}

fn socket(directory: &Directory) -> PathBuf {
    directory.path().join("redis.sock")
}

fn launch(directory: &Directory, command: &[String]) -> Process {
    Process::start(Command::new(&command[0]).args(&command[1..]).current_dir(directory.path()))
}

const USUAL: &[&str] = &["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"];
