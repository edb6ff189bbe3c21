//! The arguments of commands that run something in the release that serves.

use clap::Args;
use onward_core::model::ProcessName;

use super::args_where::Where;

/// What `exec` takes.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// The process beside which it runs; by default `web`, else the first
    #[arg(long, value_name = "NAME")]
    pub process: Option<ProcessName>,
    /// How it runs
    #[command(flatten)]
    pub how: How,
    /// The command and its arguments; one alone is a command line for the shell
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "CMD"
    )]
    pub command: Vec<String>,
}

/// What `run` takes.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Leave it running; `logs --process run.N` shows what it prints
    #[arg(short = 'd', long)]
    pub detach: bool,
    /// How it runs
    #[command(flatten)]
    pub how: How,
    /// The command and its arguments; one alone is a command line for the shell
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "CMD"
    )]
    pub command: Vec<String>,
}

/// What `task` takes.
#[derive(Debug, Clone, Args)]
pub struct TaskArgs {
    /// Leave it running; `logs --process run.N` shows what it prints
    #[arg(short = 'd', long, requires = "name")]
    pub detach: bool,
    /// How it runs
    #[command(flatten)]
    pub how: How,
    /// The task; without one, they are listed
    #[arg(value_name = "NAME")]
    pub name: Option<ProcessName>,
    /// What is added to its command line
    #[arg(last = true, value_name = "ARG")]
    pub arguments: Vec<String>,
}

/// How a command runs.
#[derive(Debug, Clone, Default, Args)]
pub struct How {
    /// Where; by default on a server that manages, else on the first
    #[command(flatten)]
    pub place: Where,
    /// No terminal for it, also when there is one here
    #[arg(short = 'T', long)]
    pub no_terminal: bool,
}
