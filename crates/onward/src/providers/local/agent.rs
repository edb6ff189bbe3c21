//! The agent of a server of this machine: found, started, spoken to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::document::Document;
use onward_core::order::Order;
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, Link};
use onward_core::report::Report;
use onward_server::build;
use onward_server::client::{AgentLink, Client, ClientError, HELLO_WITHIN, OpenKey};
use onward_server::layout::Tree;
use onward_server::protocol::Hello;

use super::{LocalServer, runtime_dir, silence};
use crate::cli::operator;
use crate::providers::ssh::SshError;

/// The time that an agent has to answer after its start.
const START_WITHIN: Duration = Duration::from_secs(10);
/// The time that an agent has to say who it is when this command found it silent before.
const AGAIN_WITHIN: Duration = Duration::from_millis(100);
/// How often a starting agent is tried.
pub(super) const TRY_EVERY: Duration = Duration::from_millis(2);
/// The pause before another agent is started, while one that is ending still has the tree.
const START_PAUSE: Duration = Duration::from_millis(20);
/// Staging uses megabytes for a moment; an agent at rest gives them back. The C library reads these
/// at the start of a process; apps and the proxy do not inherit them.
const FRUGAL: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072")];
/// How long one of several servers waits for news, in milliseconds: the next order waits as long.
const NEWS_OF_SEVERAL_MS: u64 = 50;
/// How many lines of an agent that ended are shown.
const LINES_SHOWN: usize = 10;

/// Why there is no agent; the rest of a sentence about it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It cannot be started.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// It ended at once.
    #[error("ended as soon as it was started")]
    Ended {
        /// The last lines that it printed.
        lines: Vec<String>,
    },
    /// It is of a version that this onward cannot speak to; a whole sentence about it.
    #[error("cannot be spoken to: {0}")]
    Version(String),
    /// It cannot be replaced by one of this onward.
    #[error("is not replaced: {0}")]
    Upgrade(String),
    /// The server cannot be reached; the rest of a sentence about it.
    #[error("cannot be spoken to: the server {0}")]
    Ssh(SshError),
    /// It runs and does not answer.
    #[error("does not answer")]
    Silent {
        /// Its process, when that is known.
        pid: Option<i32>,
    },
}

impl AgentError {
    /// Whether trying again later may help, because it is the way to the agent that is at fault.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Ssh(error) => error.may_pass(),
            Self::Start(_) | Self::Ended { .. } | Self::Version(_) | Self::Upgrade(_) => false,
        }
    }
}

/// What is found at the socket of an agent.
#[derive(Debug)]
pub enum Contact {
    /// An agent that answers.
    Answers(Client, Box<Hello>),
    /// One of a version that cannot be spoken to.
    Foreign(ClientError, Box<Hello>),
    /// One that listens and says nothing.
    Silent {
        /// Its process, when that is known.
        pid: Option<i32>,
    },
    /// One that broke off: it is about to end.
    Ending,
    /// Nobody.
    Absent,
    /// Its server cannot be reached.
    Unreachable(SshError),
}

impl LocalServer {
    /// Where the agent listens.
    pub fn agent_socket(&self) -> PathBuf {
        self.runtime().join("agent.sock")
    }

    /// Who is at the socket of the agent. A command waits once for one that says nothing; when it
    /// asks again, one that still says nothing costs it a moment.
    pub fn contact(&self) -> Contact {
        let socket = self.agent_socket();
        let within = if silence::is_known(&socket) { AGAIN_WITHIN } else { HELLO_WITHIN };
        let said = Client::connect(&socket).and_then(|mut agent| {
            let hello = agent.hello_within(within)?;
            Ok((agent, hello))
        });
        let is_silent = said.as_ref().is_err_and(ClientError::is_silence);
        silence::learn(&socket, is_silent);
        match said {
            Ok((agent, hello)) => Contact::Answers(agent, Box::new(hello)),
            Err(ClientError::Version(hello)) => {
                Contact::Foreign(ClientError::Version(hello.clone()), hello)
            }
            Err(_) if is_silent => Contact::Silent { pid: Client::listener(&socket) },
            Err(ClientError::NoAgent { .. }) => Contact::Absent,
            Err(_) => Contact::Ending,
        }
    }

    /// The agent, when it runs and answers.
    pub fn running_agent(&self) -> Option<Client> {
        match self.contact() {
            Contact::Answers(agent, _) => Some(agent),
            Contact::Foreign(..)
            | Contact::Silent { .. }
            | Contact::Ending
            | Contact::Absent
            | Contact::Unreachable(_) => None,
        }
    }

    /// The way for orders to the agent, which is one of several or the only one.
    pub fn link(&self, several: bool) -> LocalLink {
        let link = AgentLink::new(self.agent_socket());
        let link = if several { link.with_news_within(NEWS_OF_SEVERAL_MS) } else { link };
        LocalLink { server: self.clone(), link }
    }

    /// The agent, started when it does not run. A restarted one adopts what runs, and is of the
    /// build that ran here last: which build runs changes only when it is asked for.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn agent(&self) -> Result<Client, AgentError> {
        let settled = build::settled(&Tree::new(self.root()).bin());
        match settled {
            Some((_, program)) => self.agent_from(&program),
            None => {
                let own = self.build()?;
                let program = own.keep(&Tree::new(self.root()).bin()).map_err(AgentError::Start)?;
                self.agent_from(&program)
            }
        }
    }

    /// The agent, started from a program when it does not run.
    pub(super) fn agent_from(&self, program: &Path) -> Result<Client, AgentError> {
        let began = Instant::now();
        let mut child: Option<Child> = None;
        // Where in the log an agent that is started here begins to speak.
        let mut said = 0;
        while began.elapsed() < START_WITHIN {
            match self.contact() {
                Contact::Answers(agent, _) => return Ok(agent),
                Contact::Foreign(error, _) => return Err(AgentError::Version(error.to_string())),
                // One that was just started has much to read before it answers.
                Contact::Silent { pid } if child.is_none() => {
                    return Err(AgentError::Silent { pid });
                }
                // The next one is ours.
                Contact::Silent { .. } | Contact::Ending => {}
                Contact::Unreachable(error) => return Err(AgentError::Ssh(error)),
                Contact::Absent => self.start_unless_started(program, &mut child, &mut said)?,
            }
            thread::sleep(TRY_EVERY);
        }
        Err(AgentError::Silent { pid: Client::listener(&self.agent_socket()) })
    }

    /// Starts an agent, unless one that was started before is still about to answer. One that found
    /// another agent alive ended without an error: that one may be ending, so it is tried again.
    fn start_unless_started(
        &self,
        program: &Path,
        child: &mut Option<Child>,
        said: &mut u64,
    ) -> Result<(), AgentError> {
        if let Some(started) = child {
            match started.try_wait().map_err(AgentError::Start)? {
                None => return Ok(()),
                Some(status) if status.success() => thread::sleep(START_PAUSE),
                Some(_) => {
                    return Err(AgentError::Ended { lines: lines_after(&self.agent_log(), *said) });
                }
            }
        }
        *said = std::fs::metadata(self.agent_log()).map_or(0, |log| log.len());
        *child = match self.start(program) {
            Ok(started) => Some(started),
            // Agents of several servers are started at once. The program of this one was just
            // written, and for a moment another's child has it open as it was when it forked.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => None,
            Err(error) => return Err(AgentError::Start(error)),
        };
        Ok(())
    }

    fn start(&self, program: &Path) -> io::Result<Child> {
        std::fs::create_dir_all(self.root())?;
        let out = File::options().create(true).append(true).open(self.agent_log())?;
        let err = out.try_clone()?;
        runtime_dir::record(self.root(), self.runtime())?;
        let mut command = Command::new(program);
        command.args(["agent", "run", "--server", self.name().as_str()]);
        if let Some(environment) = self.follows() {
            command.args(["--environment", environment.as_str()]);
        }
        command
            .arg("--root")
            .arg(self.root())
            .arg("--runtime")
            .arg(self.runtime())
            .arg("--home")
            .arg(self.home())
            .envs(FRUGAL)
            .env_remove(operator::VARIABLE)
            .current_dir(self.root())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
    }
}

/// The way for orders to the agent. An agent that has died meanwhile is started
/// again, and adopts what runs: an operation does not have to wait for the next command.
#[derive(Debug)]
pub struct LocalLink {
    server: LocalServer,
    link: AgentLink,
}

impl Link for LocalLink {
    fn deliver(&self, order: &Order, seen: Option<&Report>) -> Outcome<Report, DeliveryRefused> {
        let outcome = self.link.deliver(order, seen);
        if matches!(outcome, Outcome::Done(_)) {
            return outcome;
        }
        match self.server.contact() {
            Contact::Answers(..) | Contact::Silent { .. } | Contact::Unreachable(_) => {
                return outcome;
            }
            Contact::Foreign(..) | Contact::Ending | Contact::Absent => {}
        }
        match self.server.agent() {
            Ok(_) => self.link.deliver(order, None),
            Err(error) => Outcome::Refused(DeliveryRefused(reason(&error))),
        }
    }

    fn keep_copy(&self, document: &Document) {
        self.link.keep_copy(document);
    }
}

impl LocalLink {
    /// The same, with a way to open the key of the environment for a server that lacks it.
    #[must_use]
    pub fn with_keys(self, open_key: OpenKey) -> Self {
        Self { link: self.link.with_keys(open_key), ..self }
    }
}

/// Why there is no agent, as a whole sentence about its server.
pub fn reason(error: &AgentError) -> String {
    match error {
        AgentError::Ended { lines } if !lines.is_empty() => {
            let last = lines.last().map_or("", String::as_str);
            format!("its agent ended: {}", last.strip_prefix("onward: ").unwrap_or(last))
        }
        AgentError::Ssh(error) => format!("it {error}"),
        error => format!("its agent {error}"),
    }
}

/// The last lines of the log behind `offset`.
fn lines_after(log: &Path, offset: u64) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]);
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES_SHOWN);
    lines[first..].iter().map(|line| (*line).to_owned()).collect()
}
