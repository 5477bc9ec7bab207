//! What this binary is: the version of the manifest and the commit it was built from.

/// As in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, or `unknown` for a build outside a checkout without `COURIER_REVISION`; `build.rs` finds it.
pub const REVISION: &str = env!("COURIER_REVISION");
