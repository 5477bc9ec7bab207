//! What is going on, on standard error: a bar on a terminal, a line a round elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    steps_per_round: u64,
    started: std::cell::Cell<u64>,
}

impl Progress {
    pub fn new(rounds: u64, steps_per_round: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(rounds * steps_per_round), target);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed}  {prefix}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, is_terminal, steps_per_round, started: std::cell::Cell::new(0) }
    }

    /// A round of a contender begins; the bar stands where it should, whatever became of the one before.
    pub fn start(&self, label: &str) {
        self.bar.set_position(self.started.get() * self.steps_per_round);
        self.started.set(self.started.get() + 1);
        self.bar.set_prefix(label.to_owned());
        self.bar.set_message("");
    }

    pub fn say(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// A line that stays.
    pub fn tell(&self, line: &str) {
        if self.is_terminal {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
