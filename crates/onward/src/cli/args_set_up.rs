//! The command line of `onward agent set-up`, as the agent and a timer run it.

use clap::Args;
use onward_core::machine::Token;

/// What `agent set-up` takes. Without anything it makes the changes.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct SetUpArgs {
    /// Print what the machine is
    #[arg(long)]
    pub facts: bool,
    /// Print what would change
    #[arg(long)]
    pub plan: bool,
    /// Keep what waits to be confirmed
    #[arg(long, value_name = "TOKEN")]
    pub confirm: Option<Token>,
    /// Take back what waits to be confirmed; with a token, only what waits for that one
    #[arg(long, value_name = "TOKEN")]
    pub undo: Option<Option<Token>>,
}
