//! `MULTI` to `EXEC`: commands that are queued and then carried out one after the other, with nothing in between.

use crate::wire::resp::request::OwnedArguments;

#[derive(Debug, Default)]
pub(super) enum Transaction {
    #[default]
    None,
    /// After `MULTI`.
    Queuing {
        commands: Vec<OwnedArguments>,
        /// One of the commands was refused: `EXEC` will do nothing.
        is_broken: bool,
    },
}
