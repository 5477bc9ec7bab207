//! The pages that are made from the tables say what the tables say. `make reference` writes them.

use std::path::Path;

/// Set to write the pages instead of comparing them.
const WRITE: &str = "COURIER_WRITE_REFERENCE";

#[test]
fn reference_pages_are_in_step_with_the_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in [
        ("courier.example.toml", courier::config::reference::example_file()),
        ("docs/reference/limits.md", courier::config::limits_page::limits_page()),
        ("docs/reference/options.md", courier::config::reference::options_page()),
        ("docs/reference/metrics.md", courier::driver::admin::metrics_page()),
    ] {
        let path = root.join(path);
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{} is not what the tables say: run make reference", path.display());
    }
}

#[test]
fn the_metrics_that_limits_show_themselves_by_exist() {
    let metrics = courier::driver::admin::metrics_page();
    for word in
        courier::config::limits_page::limits_page().split('`').filter(|word| word.starts_with("courier_"))
    {
        let (name, reason) = word.split_once('{').unwrap_or((word, ""));
        assert!(metrics.contains(&format!("`{name}`")), "{word}");
        let reason = reason.trim_start_matches("reason=\"").trim_end_matches("\"}");
        assert!(reason.is_empty() || metrics.contains(&format!("`{reason}`")), "{word}");
    }
}
