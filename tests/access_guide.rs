//! docs/guide/access.md does what it says: every block is run, in the order of the page, by whoever reads it.
//!
//! `toml` becomes courier.toml, `sh` is run by bash, `python` and `js` by their interpreters (others if they are here), and
//! a `text` block is what the one before it printed; `..` stands for whatever differs from run to run. A block that
//! only starts courier starts it for those behind, at ports of its own.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::Directory;
use support::courier::Courier;

#[test]
fn every_block_of_the_guide_does_what_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/access.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let mut reader = Reader::new();
    for block in blocks(&page) {
        reader.take(&block);
    }
    assert!(reader.ran >= 10, "only {} blocks were run", reader.ran);
}

/// Somebody who goes through the page.
struct Reader {
    folder: Directory,
    courier: Option<Courier>,
    printed: String,
    ran: usize,
}

struct Block {
    language: String,
    text: String,
    line: usize,
}

impl Reader {
    fn new() -> Self {
        Self { folder: Directory::new(), courier: None, printed: String::new(), ran: 0 }
    }

    fn take(&mut self, block: &Block) {
        match block.language.as_str() {
            "toml" => {
                std::fs::write(self.folder.path().join("courier.toml"), &block.text)
                    .expect("courier.toml is written");
            }
            "sh" if block.text.trim() == "courier --config courier.toml" => self.serve(),
            "sh" => self.run(block, "bash", &["-eu", "-c"]),
            "python" => self.run(block, "python3", &["-c"]),
            "js" => self.run(block, "node", &["-e"]),
            "ruby" => self.run(block, "ruby", &["-e"]),
            "php" => self.run(block, "php", &["-r"]),
            "text" => assert!(
                matches(&block.text, &self.printed),
                "line {}: the page says\n{}\nand this was printed:\n{}",
                block.line,
                block.text,
                self.printed
            ),
            other => panic!("line {}: nobody knows how to run {other}", block.line),
        }
    }

    fn serve(&mut self) {
        let config = self.folder.path().join("courier.toml");
        // The file names its keys as the reader does, from the folder of the page.
        let text = std::fs::read_to_string(&config).expect("courier.toml was written");
        let absolute =
            text.replace("\"jwt.secret\"", &format!("{:?}", self.folder.path().join("jwt.secret")));
        let served = self.folder.path().join("served.toml");
        std::fs::write(&served, absolute).expect("served.toml is written");
        let served = served.display().to_string();
        self.courier = Some(Courier::start(&["--config", &served, "--broker", "127.0.0.1:0"]));
    }

    fn run(&mut self, block: &Block, program: &str, flags: &[&str]) {
        let courier = Path::new(env!("CARGO_BIN_EXE_courier")).parent().expect("it lies in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let web =
            self.courier.as_ref().map_or_else(|| "localhost:8080".into(), |courier| courier.web.to_string());
        let text = block.text.replace("localhost:8080", &web);
        let text = text.trim_start_matches("<?php");
        let mut command = Command::new(program);
        command.args(flags).arg(text).current_dir(self.folder.path());
        command.env("PATH", format!("{}:{path}", courier.display()));
        let Output { status, stdout, stderr } = match command.output() {
            Ok(output) => output,
            // PHP and Ruby need not be here.
            Err(_) if matches!(program, "php" | "ruby") => return,
            Err(error) => panic!("{program}: {error}"),
        };
        self.printed = String::from_utf8(stdout).expect("it prints text").replace('\r', "");
        let errors = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "line {}: {status}\n{}{errors}", block.line, self.printed);
        self.ran += 1;
        if program != "bash" && self.printed.contains("signature=") {
            self.check_query();
        }
    }

    /// What a sample signed is what courier takes.
    fn check_query(&self) {
        let query = self.printed.trim().to_owned();
        let mut command = support::courier::command();
        command.args(["--config", "courier.toml", "--check-config", "--as", &query]);
        command.args(["--channel", "vip.a", "--channel", "vip.ü"]).current_dir(self.folder.path());
        let output = command.output().expect("courier runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("user 7"), "{query}: {told}");
    }
}

/// The fenced blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, row) in page.lines().enumerate() {
        match (open.take(), row.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { language: language.to_owned(), text: String::new(), line: index + 1 });
            }
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text += row;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block has its end");
    blocks
}

/// Whether a text is the expected one, line by line, with `..` for whatever stands there.
fn matches(expected: &str, text: &str) -> bool {
    let row = |(expected, text): (&str, &str)| match expected.split_once("..") {
        None => expected == text,
        Some((begin, _)) => {
            let mut rest = text.strip_prefix(begin);
            for part in expected.split("..").skip(1) {
                rest = rest.and_then(|rest| {
                    let at = if part.is_empty() { rest.len() } else { rest.find(part)? };
                    Some(&rest[at + part.len()..])
                });
            }
            rest == Some("")
        }
    };
    expected.lines().count() == text.lines().count() && expected.lines().zip(text.lines()).all(row)
}
