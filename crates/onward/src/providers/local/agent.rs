//! The agent of this machine: found, started, spoken to.

use std::fs::File;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use onward_server::client::{AgentLink, Client, ClientError};

use super::Local;

/// The time that an agent has to answer after its start.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often a starting agent is tried.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// How many lines of an agent that ended are shown.
const LINES_SHOWN: usize = 10;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It cannot be started.
    #[error("the agent of this machine cannot be started: {0}")]
    Start(io::Error),
    /// It ended at once.
    #[error("the agent of this machine ended as soon as it was started")]
    Ended {
        /// The last lines that it printed.
        lines: Vec<String>,
    },
    /// It runs and does not answer.
    #[error("the agent of this machine does not answer")]
    Silent,
}

impl Local {
    fn socket(&self) -> std::path::PathBuf {
        self.runtime.join("agent.sock")
    }

    /// The agent, when it runs.
    pub fn running_agent(&self) -> Option<Client> {
        Client::connect(&self.socket()).ok()
    }

    /// The way for orders to the agent.
    pub fn link(&self) -> AgentLink {
        AgentLink::new(self.socket())
    }

    /// The agent, started when it does not run. A restarted one adopts what runs.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn agent(&self) -> Result<Client, AgentError> {
        if let Some(mut agent) = self.running_agent() {
            match agent.hello() {
                // An agent of another version makes room; the next one adopts what runs.
                Err(ClientError::Version(_)) => {
                    let _ = agent.quit();
                }
                Ok(_) => return Ok(agent),
                Err(_) => return Err(AgentError::Silent),
            }
        }
        let log = self.root.join("agent.log");
        let out =
            File::options().create(true).append(true).open(&log).map_err(AgentError::Start)?;
        let err = out.try_clone().map_err(AgentError::Start)?;
        let mut child = Command::new(std::env::current_exe().map_err(AgentError::Start)?)
            .args(["agent", "run", "--root"])
            .arg(&self.root)
            .arg("--runtime")
            .arg(&self.runtime)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(AgentError::Start)?;
        let began = Instant::now();
        while began.elapsed() < START_WITHIN {
            if let Some(agent) = self.running_agent() {
                return Ok(agent);
            }
            // Another command may have started one at the same moment: the lock lets one live.
            if child.try_wait().map_err(AgentError::Start)?.is_some_and(|status| !status.success())
            {
                return Err(AgentError::Ended { lines: last_lines(&log) });
            }
            thread::sleep(TRY_EVERY);
        }
        Err(AgentError::Silent)
    }
}

fn last_lines(log: &std::path::Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES_SHOWN);
    lines[first..].iter().map(|line| (*line).to_owned()).collect()
}
