//! The pages that are made from the tables are those of the tables. `make reference` rewrites them.

use std::path::{Path, PathBuf};

fn pages() -> [(PathBuf, String); 3] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        (root.join("courier.example.toml"), courier::config::reference::example_file()),
        (root.join("docs/reference/options.md"), courier::config::reference::options_page()),
        (root.join("docs/reference/metrics.md"), courier::driver::admin::metrics_page()),
    ]
}

#[test]
fn pages_are_in_step_with_the_tables() {
    for (path, text) in pages() {
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{} is not what the tables say: run make reference", path.display());
    }
}

#[test]
#[ignore = "writes the pages: cargo test --test reference -- --ignored"]
fn rewrite_pages() {
    for (path, text) in pages() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
}
