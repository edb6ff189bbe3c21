//! The command line, as a definition. Help, errors and completions come from here.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use onward_core::model::{AppName, EnvironmentName, ProcessName, ServerName};

use super::args_certificate::CertificateVerb;
use super::args_eject::EjectArgs;
use super::args_move::MoveArgs;
use super::args_replace::ReplaceArgs;
use super::args_run::{ExecArgs, RunArgs, TaskArgs};
use super::args_scale::ScaleArgs;
use super::args_secret::SecretVerb;
use super::args_ssh::SshArgs;
use super::args_where::Where;
use super::exit::Exit;

/// Takes a web application from a Git commit to running, and never leaves anything half-done.
#[derive(Debug, Parser)]
#[command(name = "onward", version = onward_server::build::VERSION, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Start with `onward init`, then `onward up`.")]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The project's directory
    #[arg(short = 'C', value_name = "DIR", default_value = ".", global = true)]
    pub directory: PathBuf,
    /// The environment; by default the one with `default = true`, else `local`
    #[arg(short = 'e', value_name = "ENV", global = true)]
    pub environment: Option<EnvironmentName>,
    /// A directory that several projects share, with one agent and one proxy, instead of .onward
    #[arg(long, env = "ONWARD_HOME", value_name = "DIR", global = true, hide_env_values = true)]
    pub home: Option<PathBuf>,
    /// Print JSON and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Answer questions with yes
    #[arg(short = 'y', long, global = true)]
    pub yes: bool,
    /// Print results and errors only
    #[arg(short = 'q', long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more of what is going on
    #[arg(short = 'v', long, global = true)]
    pub verbose: bool,
    /// Never ask; refuse what needs an answer
    #[arg(long, global = true)]
    pub no_input: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Look at the project and write its onward.toml
    Init,
    /// Make the environment as the project file says; safe to repeat
    Up(UpArgs),
    /// Bring a new release to the running environment
    Deploy(DeployArgs),
    /// Go back to the previous release, or to the one given
    Rollback(RollbackArgs),
    /// Run another number of instances of processes
    Scale(ScaleArgs),
    /// Give a role of one server to another one, without losing a request
    Move(MoveArgs),
    /// Bring a new machine in for one that is dead or given up; a live one is emptied first
    Replace(ReplaceArgs),
    /// Show what runs now
    Status,
    /// Show what the processes printed
    Logs(LogsArgs),
    /// Open a shell on a server, or run a command there, by the way that onward takes itself
    Ssh(SshArgs),
    /// Run a command beside a running process, in its release
    Exec(ExecArgs),
    /// Run a one-off command in the release that serves
    Run(RunArgs),
    /// Run a command of the project, or list them
    Task(TaskArgs),
    /// Check the project file, without doing anything
    Check,
    /// Show what `up` would change
    Plan(PlanArgs),
    /// Stop the operation in flight, when it is not decided
    Abort,
    /// Tell the story of a release: what happened, when, and why it failed
    Why {
        /// The release; by default the one of the last operation
        #[arg(value_name = "RELEASE")]
        release: Option<u64>,
    },
    /// List the operations that ended, and the releases that can run
    History {
        /// How many operations
        #[arg(short = 'n', long, default_value_t = 20)]
        count: usize,
    },
    /// Print what changes, as it changes
    Events(Where),
    /// Read and change the truth
    #[command(subcommand)]
    State(StateVerb),
    /// Make, look at and export bundles
    #[command(subcommand)]
    Bundle(BundleVerb),
    /// Give the app values that nobody else sees
    #[command(subcommand)]
    Secret(SecretVerb),
    /// Show and renew what visitors with HTTPS are shown
    #[command(subcommand)]
    Certificate(CertificateVerb),
    /// Put a page in front of the app, or take it away
    #[command(subcommand)]
    Maintenance(MaintenanceVerb),
    /// Print what the proxy counts, as Prometheus reads it
    Metrics(MetricsArgs),
    /// Take the environment away; shared directories, state and bundles stay
    Down(DownArgs),
    /// Write what runs this environment without onward: systemd units, nginx, what to do
    Eject(EjectArgs),
    /// Run the project's own operations in the simulator, with everything that can go wrong
    Rehearse(RehearseArgs),
    /// Look for what would make a deploy fail, and say how to mend it; changes nothing
    Doctor,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory; made when it is not there
        directory: PathBuf,
    },
    /// Print the reference of the command line as Markdown
    #[command(hide = true)]
    Reference,
    /// The agent of this machine, which looks after what runs
    #[command(subcommand)]
    Agent(AgentVerb),
    /// The proxy of this machine
    #[command(subcommand, hide = true)]
    Proxy(ProxyVerb),
}

/// `onward metrics`
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Of this server instead of the one that people reach
    #[arg(long, value_name = "SERVER")]
    pub server: Option<ServerName>,
}

/// What `up` takes.
#[derive(Debug, Clone, Default, Args)]
pub struct UpArgs {
    /// Make the environment of `-e`, which is not in the project file, as this one is
    #[arg(long, value_name = "ENV")]
    pub like: Option<EnvironmentName>,
    /// Give up counts that were asked for with `scale`: those of the project file come back
    #[arg(long)]
    pub reset: bool,
    /// Forget a machine that has left the environment and cannot be reached: onward stays on it
    #[arg(long, value_name = "SERVER")]
    pub forget: Vec<ServerName>,
    /// What a release takes.
    #[command(flatten)]
    pub release: DeployArgs,
}

/// What `up` and `deploy` take.
#[derive(Debug, Clone, Default, Args)]
pub struct DeployArgs {
    /// Make a release although the same runs already
    #[arg(long)]
    pub force: bool,
    /// A name for the bundle, such as a version
    #[arg(long, value_name = "V")]
    pub label: Option<String>,
    /// Go on without a server that cannot be reached; it catches up by itself
    #[arg(long, value_name = "SERVER")]
    pub without: Vec<ServerName>,
    /// Choose the language runtimes anew that the project pins, and record them in onward.lock
    #[arg(long)]
    pub update_runtimes: bool,
    /// Refuse when the state is not at this generation any more, as `plan` printed it
    #[arg(long, value_name = "G")]
    pub generation: Option<u64>,
    /// What to release instead of the project's directory
    #[command(flatten)]
    pub from: From,
}

/// What to release instead of the project's directory.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub struct From {
    /// An archive: .tar, .tar.gz, .tar.bz2, .tar.zst or .zip
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// A commit, branch or tag of the project's repository, without what is not committed
    #[arg(long, value_name = "REF")]
    pub git: Option<String>,
    /// The bundle of an earlier release
    #[arg(long, value_name = "N")]
    pub release: Option<u64>,
}

/// What `logs` takes.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Go on with what is printed from now on
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// How many of the last lines of each process
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: u32,
    /// Only this release
    #[arg(long, value_name = "N")]
    pub release: Option<u64>,
    /// Only this process, or one instance of it as `web.2`; also a schedule or `run.3`
    #[arg(long, value_name = "NAME")]
    pub process: Option<Source>,
    /// The requests that the proxy answered, where the project file turns that on
    #[arg(long, conflicts_with = "process")]
    pub access: bool,
    /// Of which servers
    #[command(flatten)]
    pub place: Where,
}

/// A process, or one instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The process.
    pub process: ProcessName,
    /// Which of its instances.
    pub instance: Option<u32>,
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, instance) = match text.split_once('.') {
            Some((name, number)) => {
                let number = number.parse().map_err(|_| format!("`{number}` is no instance"))?;
                (name, Some(number))
            }
            None => (text, None),
        };
        let process: ProcessName = name.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { process, instance })
    }
}

/// What can be done about maintenance.
#[derive(Debug, Subcommand)]
pub enum MaintenanceVerb {
    /// Answer visitors with a page and 503; the app runs on, and requests in flight finish
    On {
        /// An HTML file instead of the built-in page
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
        /// When it is worth trying again
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::project::retry_after)]
        retry_after: std::time::Duration,
    },
    /// Let visitors through again
    Off,
}

/// What `plan` takes.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// End with 5 when there are changes
    #[arg(long)]
    pub exit_code: bool,
}

/// What can be done with the state.
#[derive(Debug, Subcommand)]
pub enum StateVerb {
    /// Print the document
    Show {
        /// An earlier generation
        generation: Option<u64>,
    },
    /// List the generations
    Log {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        count: usize,
    },
    /// Show how two generations differ; by default the last two, or a damaged file and the last good one
    Diff {
        /// The older one
        from: Option<u64>,
        /// The newer one
        to: Option<u64>,
    },
    /// Change the document in your editor; what it demands is then made true
    Edit,
    /// Demand again what was demanded before; put the last good generation in the place of a damaged file
    Undo {
        /// The generation whose demand comes back
        to: Option<u64>,
    },
    /// Take a state file that onward did not write
    Accept,
    /// Move the state to another store, with every generation; the old place then says where
    Move {
        /// A URL such as `s3://bucket/prefix`, or `default`: where it is without `store` in the file
        #[arg(value_name = "STORE")]
        to: String,
    },
    /// Bring back a state that is lost, from the copy on a server or from a saved document
    Restore {
        /// The server; by default the one whose copy is the newest
        #[arg(long, value_name = "SERVER", conflicts_with = "file")]
        from: Option<ServerName>,
        /// A document, as `state show` printed it
        file: Option<PathBuf>,
    },
}

/// What can be done with bundles.
#[derive(Debug, Subcommand)]
pub enum BundleVerb {
    /// Make a bundle without releasing it
    Build {
        /// A name for it
        #[arg(long, value_name = "V")]
        label: Option<String>,
        /// What to bundle instead of the project's directory
        #[command(flatten)]
        from: From,
    },
    /// List the bundles that are kept
    List,
    /// List the files of a bundle
    Show {
        /// Label or digest
        bundle: String,
    },
    /// Compare what is kept of a bundle, or of all, with its digests; what is damaged is moved aside
    Verify {
        /// Label or digest; all by default
        bundle: Option<String>,
    },
    /// Write a bundle as one archive; the name's ending says the format
    Export {
        /// Label or digest
        bundle: String,
        /// The archive: .tar, .tar.gz, .tar.bz2, .tar.zst or .zip
        file: PathBuf,
    },
}

/// What `rehearse` takes.
#[derive(Debug, Clone, Args)]
pub struct RehearseArgs {
    /// How many runs at least; every point with every fault is always among them
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub runs: usize,
    /// Tell one run line by line, as the summary named it
    #[arg(long, value_name = "STORY")]
    pub story: Option<onward_testkit::sim::rehearse::Story>,
}

/// What `rollback` takes.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// The release to go back to
    #[arg(value_name = "RELEASE")]
    pub to: Option<u64>,
}

/// What `down` takes.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// The environment's name, instead of being asked for it
    #[arg(long, value_name = "ENV")]
    pub confirm: Option<EnvironmentName>,
}

/// What can be done with the agent, and its own command line.
#[derive(Debug, Subcommand)]
pub enum AgentVerb {
    /// Put the agent and the proxy of this onward in the place of those that run; no request is lost
    Upgrade {
        /// Also when those that run are newer
        #[arg(long)]
        downgrade: bool,
    },
    /// Run the agent of one server tree
    #[command(hide = true)]
    Run {
        /// The server tree
        #[arg(long)]
        root: PathBuf,
        /// Where its sockets are
        #[arg(long)]
        runtime: PathBuf,
        /// The name of the server in documents
        #[arg(long, default_value = "local")]
        server: ServerName,
        /// The directory with the documents and bundles; the server tree by default
        #[arg(long)]
        home: Option<PathBuf>,
        /// Follow the documents of this environment only
        #[arg(long)]
        environment: Option<EnvironmentName>,
        /// systemd looks after agent and proxy, and holds the proxy's socket on this port
        #[arg(long, value_name = "PORT")]
        systemd: Option<u16>,
    },
    /// Make this machine a server: put agent and proxy into the care of systemd
    #[command(hide = true)]
    Install {
        /// The name of the server in documents
        #[arg(long)]
        server: ServerName,
        /// Where it lies
        #[command(flatten)]
        place: ServerPlace,
        /// The port of plain HTTP
        #[arg(long, default_value_t = 80)]
        http: u16,
        /// The port of TLS
        #[arg(long, default_value_t = 443)]
        https: u16,
    },
    /// Take agent, proxy and every app off this machine
    #[command(hide = true)]
    Remove {
        /// Where it lies
        #[command(flatten)]
        place: ServerPlace,
        /// Remove what apps have stored as well, and the states of environments
        #[arg(long)]
        data: bool,
        /// Only this app, of one environment; says whether somebody else is left
        #[arg(long, requires = "environment")]
        app: Option<AppName>,
        /// Its environment
        #[arg(long = "of", value_name = "ENV", requires = "app")]
        environment: Option<EnvironmentName>,
    },
    /// Carry conversations with the agent over standard input and output
    #[command(hide = true)]
    Stdio {
        /// Where its sockets are
        #[arg(long)]
        runtime: PathBuf,
    },
    /// Carry on what nobody carries on any more in a document of this manager
    #[command(hide = true)]
    Carry {
        /// Where it lies
        #[command(flatten)]
        place: ServerPlace,
        /// The app
        #[arg(long)]
        app: AppName,
        /// The environment
        #[arg(long = "of", value_name = "ENV")]
        environment: EnvironmentName,
    },
    /// Bring the files of a release on to other servers, as standard input says
    #[command(hide = true)]
    Spread {
        /// Where it lies
        #[command(flatten)]
        place: ServerPlace,
    },
    /// Write down the host key that a server shows to `ssh`
    #[command(hide = true)]
    ShownKey {
        /// Where
        file: PathBuf,
        /// Why `ssh` asks
        reason: String,
        /// The kind of the key
        kind: String,
        /// The key
        key: String,
    },
    /// Make this machine what a set-up says, read from standard input
    #[command(hide = true)]
    SetUp(super::args_set_up::SetUpArgs),
    /// Become a program that has standard input as its terminal
    InTerminal {
        /// The program
        program: std::ffi::OsString,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

impl AgentVerb {
    /// Whether it is what a process of onward runs, and no person.
    pub fn is_process(&self) -> bool {
        !matches!(self, Self::Upgrade { .. })
    }
}

/// Where a server's files are.
#[derive(Debug, Clone, Args)]
pub struct ServerPlace {
    /// The server tree
    #[arg(long, default_value = "/var/lib/onward")]
    pub root: PathBuf,
    /// Where the sockets are
    #[arg(long, default_value = "/run/onward")]
    pub runtime: PathBuf,
}

/// The proxy's own command line.
#[derive(Debug, Subcommand)]
pub enum ProxyVerb {
    /// Run the proxy on the socket that is its standard input, or that systemd gives it as `http`
    Run {
        /// The routing table
        #[arg(long)]
        table: PathBuf,
        /// The control socket
        #[arg(long)]
        control: PathBuf,
        /// The control socket of the proxy that it takes over from, once it is told to
        #[arg(long)]
        after: Option<PathBuf>,
        /// Take over from the proxy at the control socket, if there is one, once it is told to
        #[arg(long, conflicts_with = "after")]
        beside: bool,
    },
    /// Serve the files of a directory on PORT
    Files {
        /// The directory
        directory: PathBuf,
        /// Answer pages that are not there with index.html
        #[arg(long)]
        spa: bool,
        /// A directory whose files never change under their names
        #[arg(long, value_name = "DIR")]
        immutable: Vec<String>,
    },
}

/// Prints what clap has to say: help and version to standard output, errors to standard error.
pub fn explain(error: &clap::Error) -> Exit {
    // What clap does not understand behind `secret` may be a value in the wrong place, and it would
    // repeat it.
    let repeats = !matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
            | ErrorKind::MissingRequiredArgument
    );
    if repeats && std::env::args_os().any(|argument| argument == "secret") {
        anstream::eprintln!(
            "Error: an argument of `onward secret` is not understood (it is not shown: it may be a \
             value)\nHint: `onward secret --help` lists what there is; values are never arguments"
        );
        return Exit::Usage;
    }
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
