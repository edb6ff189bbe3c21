//! What is said over the agent's socket: one JSON object a line, each way.
//!
//! | request | answer |
//! |---|---|
//! | `hello` | `hello` |
//! | `deliver` an order | `report`, or `refused` |
//! | `report` | `report`, or `refused` |
//! | `keep_copy` | `kept`, or `refused` |
//! | `copy` | `copy` |
//! | `state` | `state` |
//! | `holds_bundle` | `bundle` |
//! | `take_bundle` and its manifest, `take_pack` and its bytes, `complete_bundle` | `lacks`, nothing, `lacks`; or `refused` |
//! | `holds_key`, `take_key` | `key`, or `refused` |
//! | `logs` | `line` for each line, then `end` |
//! | `access` | `access` for each line, then `end` |
//! | `proxy` | `proxy`, or `refused` |
//! | `checkup` | `checkup` |
//! | `run` | `attached`, then frames of [`crate::stream`] until the connection ends; `detached`; `not_started`, or `refused` |
//! | `machine` | `machine`, or `refused` |
//! | `set_up` | `set_up` for each event, the last one `finished`; or `refused` |
//! | `confirm_set_up` | `confirmed`, or `refused` |
//! | `manager_key` | `manager_key`, or `refused` |
//! | `admit` | `admitted`, or `refused` |
//! | `renew` | `hello`: the proxy is being replaced by one of the agent's build |
//! | `quit`, `shutdown` | `ending`, or `refused` |
//!
//! Requests on one connection are answered in their order. A connection that ends before its
//! answer leaves it unknown whether the request was carried out; orders may be delivered again.
//!
//! Two versions of onward speak to each other when each knows the other's words: unknown fields of
//! answers are ignored, an unknown request is refused by name, and so is an order that asks for what
//! the agent does not know, instead of being followed in part.

use std::path::PathBuf;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::machine::{AuthorizedKey, Event, Facts, Setup, Token};
use onward_core::model::{AppName, Digest, EnvironmentName, ProcessName, ReleaseNumber};
use onward_core::order::Order;
use onward_core::report::Report;
use onward_core::secrets::PublicKey;
use onward_proxy::Status;
use onward_secret::Identity;
use onward_store::state::remote::{Ask, Said};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build::Build;
use crate::looking::{AccessRequest, Checkup};
use crate::stream::Size;

/// The version of these words. It rises when what is there already changes its meaning.
pub const VERSION: u32 = 1;
/// The oldest version whose words are still understood.
pub const OLDEST: u32 = 1;
/// The longest line, in bytes: above any order or report, far below what hurts an agent.
pub const LINE_BYTES_MAX: u64 = 8 << 20;
/// The longest time that an answer waits for news, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30_000;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who are you?
    Hello,
    /// Make this true.
    Deliver {
        /// The order.
        order: Box<Order>,
        /// The revision of the report that the client has. The answer waits while there is no
        /// other.
        known_revision: Option<u64>,
        /// How long it waits, in milliseconds, up to [`WAIT_MS_MAX`].
        wait_ms: u64,
    },
    /// What are you?
    Report {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
        /// As for `deliver`.
        known_revision: Option<u64>,
        /// As for `deliver`.
        wait_ms: u64,
    },
    /// Keep this copy of the state document, unless there is one of a higher generation.
    KeepCopy {
        /// The document.
        document: Box<Document>,
    },
    /// Which copy of the state document is there?
    Copy {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
    },
    /// Read or write the documents of an environment whose manager this server is.
    State {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
        /// What is asked.
        ask: Box<Ask>,
    },
    /// Is this bundle there?
    HoldsBundle {
        /// The bundle.
        bundle: Digest,
        /// Another one, that both may have.
        base: Option<Digest>,
    },
    /// Take this bundle. Its manifest follows as so many bytes.
    TakeBundle {
        /// The bundle.
        bundle: Digest,
        /// The bundle whose manifest it is packed against.
        base: Option<Digest>,
        /// The length of the packed manifest.
        bytes: u32,
    },
    /// Contents of the bundle that is being taken, which follow as so many bytes. It is not
    /// answered: what is wrong with it is said when the bundle shall be complete.
    TakePack {
        /// Their length.
        bytes: u32,
    },
    /// Everything that was asked for is there.
    CompleteBundle,
    /// Is the private half of this key of an environment there?
    HoldsKey {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
        /// The public half.
        key: PublicKey,
    },
    /// Keep this key of an environment. It only ever travels here, never in an order.
    TakeKey {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
        /// The key.
        #[serde(with = "onward_secret::wire")]
        identity: Identity,
    },
    /// What did the processes print?
    Logs(LogsRequest),
    /// Which requests did the proxy answer?
    Access(AccessRequest),
    /// How is the proxy?
    Proxy,
    /// How is the server besides what it reports?
    Checkup {
        /// The app whose files are compared.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
    },
    /// Run this command in the release that serves.
    Run(Box<RunRequest>),
    /// What is the machine?
    Machine,
    /// Make the machine this. It goes on when the connection ends.
    SetUp {
        /// What it shall be.
        setup: Box<Setup>,
    },
    /// Keep what is on trial: whoever says this over a new connection was not locked out.
    ConfirmSetUp {
        /// As the event named it.
        token: Token,
    },
    /// With which key does this server come to the others, as the manager of an environment?
    ManagerKey,
    /// Let the managers of an environment in, with these keys and no others.
    Admit {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
        /// The public halves.
        keys: Vec<AuthorizedKey>,
    },
    /// Replace the proxy by one of the agent's own build, when it is of another.
    Renew,
    /// Stop the proxy and end. Refused while an app is there.
    Shutdown,
    /// End alone: apps and proxy go on.
    Quit,
}

/// Which lines are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Only this release; every release otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// Only this process; every process otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    /// Only this instance of the process; every instance otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// How many of the last lines of each process.
    pub lines: u32,
    /// Whether to go on with what is printed from now on, until the client closes.
    pub follow: bool,
}

/// A command that runs once in the release that serves: in its directory, with its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// What runs.
    pub what: What,
    /// Beside this process: with its `PORT`, when one of its instances has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<ProcessName>,
    /// Whether the client stays with it.
    pub stay: Stay,
}

/// What a [`RunRequest`] runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A command line for the shell.
    Line(String),
    /// A program with its arguments; at least the program.
    Program(Vec<String>),
    /// A task of the release, with arguments that are added to its command line.
    Task {
        /// Its name.
        name: ProcessName,
        /// The arguments.
        arguments: Vec<String>,
    },
}

/// Whether a client stays with what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stay {
    /// It is given input, output and signals, and ends with the connection.
    Attached {
        /// A terminal of its own; pipes otherwise.
        terminal: Option<Terminal>,
    },
    /// It goes on by itself and prints to the log `run.N`.
    Detached,
}

/// The terminal that a command gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// `TERM` of the client.
    pub kind: String,
    /// Its size.
    pub size: Size,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The agent.
    Hello(Box<Hello>),
    /// What the server is for one app and environment.
    Report {
        /// Differs from the last one when the report differs in more than counters and clocks.
        revision: u64,
        /// The report.
        report: Box<Report>,
    },
    /// The copy is kept, or one of a higher generation was there already.
    Kept,
    /// The copy of the state document, when there is one.
    Copy {
        /// The document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<Box<Document>>,
    },
    /// What is said about the documents.
    State(Box<Said>),
    /// Whether the bundle is there, and the base.
    Bundle {
        /// The bundle.
        held: bool,
        /// The base.
        base_held: bool,
    },
    /// What is lacking of the bundle that is being taken. Nothing lacks of one that is complete.
    Lacks {
        /// The digests of contents.
        contents: Vec<Digest>,
    },
    /// Whether the key is there, durably.
    Key {
        /// Whether it is.
        held: bool,
    },
    /// One line that a process printed.
    Line(LogLine),
    /// One line of the access log.
    Access {
        /// As the proxy wrote it.
        line: Value,
    },
    /// There are no more lines.
    End,
    /// The proxy.
    Proxy {
        /// How it is.
        status: Box<Status>,
    },
    /// The server.
    Checkup(Box<Checkup>),
    /// The command runs. Frames follow, in both directions.
    Attached {
        /// Its name, as `run.3`.
        name: String,
    },
    /// The command runs and goes on by itself.
    Detached {
        /// Its name, as `run.3`.
        name: String,
    },
    /// The command could not be started.
    NotStarted {
        /// Why, in words.
        text: String,
        /// What a shell would exit with: 127 when there is no such program, else 126.
        status: u8,
    },
    /// The machine.
    Machine {
        /// What it is.
        facts: Box<Facts>,
    },
    /// What goes on while the machine is set up.
    SetUp {
        /// What.
        event: Box<Event>,
    },
    /// What was on trial stays.
    Confirmed,
    /// The public half of this server's key.
    ManagerKey {
        /// It.
        key: AuthorizedKey,
    },
    /// The managers are let in.
    Admitted,
    /// The agent ends.
    Ending,
    /// The request was not carried out, and will not be later.
    Refused {
        /// Why, as sentences for people.
        text: String,
    },
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// [`OLDEST`] of the agent; none from an agent that understands its own version only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u32>,
    /// The version of onward that it runs.
    pub onward: String,
    /// The build of onward that it runs.
    #[serde(default)]
    pub build: Build,
    /// Its process id.
    pub pid: u32,
    /// The tree that it is the agent of.
    pub root: PathBuf,
    /// Where the proxy of the tree answers, for example `http://127.0.0.1:21000`.
    pub address: String,
    /// The port for those who come with TLS, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_port: Option<u16>,
    /// Why the proxy does not answer there, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_problem: Option<String>,
    /// The proxy's process, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyState>,
    /// What the server's clock says; none from an agent that is too old to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Timestamp>,
    /// The app and environment, `APP/ENV`, that answers here to names that nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<String>,
}

impl Hello {
    /// Whether this onward and the agent understand each other.
    pub fn is_understood(&self) -> bool {
        let oldest = self.oldest.unwrap_or(self.version);
        (oldest..=self.version).contains(&VERSION) || (OLDEST..=VERSION).contains(&self.version)
    }
}

/// The proxy's process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyState {
    /// Its process id.
    pub pid: u32,
    /// The build that it runs, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// Whether another one is being put in its place.
    #[serde(default)]
    pub replacing: bool,
    /// Why it could not be replaced, when that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One line that a process printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The release.
    pub release: ReleaseNumber,
    /// The process with its instance, as `web.1`; or `release-command`, or `check`.
    pub source: String,
    /// The line without its end. What is not UTF-8 is replaced.
    pub text: String,
    /// When it was printed, by the server's clock, as exactly as that is known; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}
