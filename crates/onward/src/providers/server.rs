//! A server of an environment, wherever it is: what a command asks of it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use onward_core::model::ServerName;
use onward_core::ports::Link;
use onward_server::build::{Build, Skew};
use onward_server::client::{Client, ClientError, OpenKey};
use onward_server::protocol::Hello;

use super::local::{AgentError, Contact, LocalServer, Renewal, Replaced};
use super::ssh::{AgentSilence, SshError, SshLink, SshServer};
use onward_store::bundle::Store;

/// The time that a new agent and a new proxy have together.
const RENEWED_WITHIN: Duration = Duration::from_secs(20);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One server. A value: nothing happens before it is asked something.
#[derive(Debug, Clone)]
pub enum Server {
    /// A tree of this machine.
    Local(LocalServer),
    /// A machine behind SSH.
    Ssh(SshServer),
}

impl Server {
    /// Its name in the document.
    pub fn name(&self) -> &ServerName {
        match self {
            Self::Local(server) => server.name(),
            Self::Ssh(server) => server.name(),
        }
    }

    /// It, when it is on this machine.
    pub fn local(&self) -> Option<&LocalServer> {
        match self {
            Self::Local(server) => Some(server),
            Self::Ssh(_) => None,
        }
    }

    /// It, when it is behind SSH.
    pub fn ssh(&self) -> Option<&SshServer> {
        match self {
            Self::Local(_) => None,
            Self::Ssh(server) => Some(server),
        }
    }

    /// Who is found when the agent is looked for.
    pub fn contact(&self) -> Contact {
        let server = match self {
            Self::Local(server) => return server.contact(),
            Self::Ssh(server) => server,
        };
        match server.agent() {
            Ok((agent, hello)) => Contact::Answers(agent, Box::new(hello)),
            Err(AgentSilence::Ssh(error)) => Contact::Unreachable(error),
            Err(AgentSilence::Agent(ClientError::Version(hello))) => {
                Contact::Foreign(ClientError::Version(hello.clone()), hello)
            }
            Err(AgentSilence::Agent(error)) if error.is_silence() => Contact::Silent { pid: None },
            Err(AgentSilence::Agent(_)) => Contact::Absent,
        }
    }

    /// The agent, when it runs and answers.
    pub fn running_agent(&self) -> Option<Client> {
        match self.contact() {
            Contact::Answers(agent, _) => Some(agent),
            _ => None,
        }
    }

    /// The agent. On this machine it is started when it does not run; on another one systemd sees
    /// to that.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn agent(&self) -> Result<Client, AgentError> {
        match self {
            Self::Local(server) => server.agent(),
            Self::Ssh(server) => server.agent().map(|(agent, _)| agent).map_err(silence),
        }
    }

    /// Who its agent is; see [`Self::agent`].
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn hello(&self) -> Result<Hello, AgentError> {
        match self {
            Self::Local(server) => {
                server.agent()?.hello().map_err(|_| AgentError::Silent { pid: None })
            }
            Self::Ssh(server) => server.agent().map(|(_, hello)| hello).map_err(silence),
        }
    }

    /// The way for orders to the agent, which is one of several or the only one, and brings the key
    /// of the environment, and files from `bundles`, where they are missing.
    pub fn link(
        &self,
        several: bool,
        open_key: OpenKey,
        bundles: Option<Store>,
    ) -> Arc<dyn Link + Send + Sync> {
        match self {
            Self::Local(server) => Arc::new(server.link(several).with_keys(open_key)),
            Self::Ssh(server) => {
                let link = SshLink::new(server.clone(), open_key, bundles);
                Arc::new(if several { link.of_several() } else { link })
            }
        }
    }

    /// The build of this command.
    ///
    /// # Errors
    /// When its executable cannot be read.
    pub fn build(&self) -> Result<Build, AgentError> {
        match self {
            Self::Local(server) => server.build(),
            Self::Ssh(server) => server.build().map_err(AgentError::Start),
        }
    }

    /// The build that runs there, or ran a moment ago; `None` when that is not known.
    pub fn running_build(&self) -> Option<Build> {
        match self {
            Self::Local(server) => server.running_build(),
            Self::Ssh(server) => server.known_agent().ok().map(|(_, hello)| hello.build),
        }
    }

    /// Puts agent and proxy of this build in the place of those that run; see
    /// [`LocalServer::renew`].
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn renew(&self, downgrade: bool) -> Result<Renewal, AgentError> {
        let server = match self {
            Self::Local(server) => return server.renew(downgrade),
            Self::Ssh(server) => server,
        };
        let own = server.build().map_err(AgentError::Start)?;
        let (_, hello) = server.agent().map_err(silence)?;
        let running = hello.build;
        match own.skew(&running) {
            Skew::Same => return Ok(Renewal::Same),
            Skew::Older if !downgrade => return Ok(Renewal::Newer(running)),
            Skew::Older | Skew::Newer | Skew::Rebuilt => {}
        }
        server.replace_onward().map_err(AgentError::Ssh)?;
        let problem = settled(server, &own)?;
        Ok(Renewal::Replaced(Replaced { from: running, to: own, problem }))
    }
}

/// Waits until the proxy is of the build too; otherwise why it is not.
fn settled(server: &SshServer, own: &Build) -> Result<Option<String>, AgentError> {
    let began = Instant::now();
    while began.elapsed() < RENEWED_WITHIN {
        let (_, hello) = server.agent().map_err(silence)?;
        if let Some(proxy) = hello.proxy.filter(|proxy| !proxy.replacing) {
            if proxy.build.as_ref() == Some(own) {
                return Ok(None);
            }
            if proxy.problem.is_some() {
                return Ok(proxy.problem);
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(Some(format!("it was not replaced within {} s", RENEWED_WITHIN.as_secs())))
}

fn silence(silence: AgentSilence) -> AgentError {
    match silence {
        AgentSilence::Ssh(error) => AgentError::Ssh(error),
        AgentSilence::Agent(ClientError::Version(hello)) => {
            AgentError::Version(ClientError::Version(hello).to_string())
        }
        AgentSilence::Agent(error) if error.is_silence() => AgentError::Silent { pid: None },
        AgentSilence::Agent(error) => AgentError::Ssh(SshError::NoAgent(error.to_string())),
    }
}
