//! Agent and proxy of this machine replaced by those of the onward that is asked.

use std::thread;
use std::time::{Duration, Instant};

use onward_server::build::{self, Build, Skew};
use onward_server::client::Client;
use onward_server::layout::Tree;
use onward_server::protocol::Hello;

use super::LocalServer;
use super::agent::{AgentError, Contact, TRY_EVERY};

/// The time that a new agent and a new proxy have together, besides the agent's own start: the
/// proxy alone is given up after ten seconds.
const RENEWED_WITHIN: Duration = Duration::from_secs(20);

/// What became of the agent and the proxy.
#[derive(Debug)]
pub enum Renewal {
    /// Nothing of another build runs.
    Same,
    /// What runs is newer, and was left.
    Newer(Build),
    /// They were replaced.
    Replaced(Replaced),
}

/// Agent and proxy were replaced.
#[derive(Debug)]
pub struct Replaced {
    /// The build that ran.
    pub from: Build,
    /// The build that runs.
    pub to: Build,
    /// Why the proxy is still the old one, when it is.
    pub problem: Option<String>,
}

impl LocalServer {
    /// The build of this command.
    ///
    /// # Errors
    /// When its executable cannot be read, or the tree cannot be made.
    pub fn build(&self) -> Result<Build, AgentError> {
        let bin = Tree::new(self.root()).bin();
        std::fs::create_dir_all(&bin).map_err(AgentError::Start)?;
        Build::of_this(&bin).map_err(AgentError::Start)
    }

    /// The build that runs here, or ran last; `None` when that was never recorded.
    pub fn running_build(&self) -> Option<Build> {
        let hello = hello_of(&self.contact()).map(|hello| build_of(&hello));
        hello.or_else(|| Some(build::settled(&Tree::new(self.root()).bin())?.0))
    }

    /// Puts agent and proxy of this build in the place of those that run. Older ones are replaced,
    /// and those of another build of the same version; newer ones only with `downgrade`.
    ///
    /// The apps go on. Whoever dies meanwhile, the next command finishes it.
    ///
    /// # Errors
    /// [`AgentError`]; then what ran before may run without an agent until the next command.
    pub fn renew(&self, downgrade: bool) -> Result<Renewal, AgentError> {
        let own = self.build()?;
        let contact = self.contact();
        if let Contact::Silent { pid } = contact {
            return Err(AgentError::Silent { pid });
        }
        let hello = hello_of(&contact);
        let Some(running) = self.running_build() else { return Ok(Renewal::Same) };
        match own.skew(&running) {
            Skew::Same => return self.renew_proxy(own, hello),
            Skew::Older if !downgrade => return Ok(Renewal::Newer(running)),
            Skew::Older | Skew::Newer | Skew::Rebuilt => {}
        }
        if hello.is_none() && !Tree::new(self.root()).server_file().exists() {
            return Ok(Renewal::Same);
        }
        self.readable(&own, &running)?;
        let program = own.keep(&Tree::new(self.root()).bin()).map_err(AgentError::Start)?;
        if hello.is_some()
            && let Ok(agent) = Client::connect(&self.agent_socket())
        {
            // One that is ending already does not answer.
            let _ = agent.quit();
        }
        let mut agent = self.agent_from(&program)?;
        let problem = self.proxy_settled(&mut agent, &own)?;
        Ok(Renewal::Replaced(Replaced { from: running, to: own, problem }))
    }

    /// The agent is of this build; its proxy may not be, when that failed before.
    fn renew_proxy(&self, own: Build, hello: Option<Hello>) -> Result<Renewal, AgentError> {
        let proxy = hello.and_then(|hello| hello.proxy).and_then(|proxy| proxy.build);
        let Some(from) = proxy.filter(|build| *build != own) else { return Ok(Renewal::Same) };
        let mut agent = self.agent()?;
        agent.renew().map_err(|error| AgentError::Upgrade(error.to_string()))?;
        let problem = self.proxy_settled(&mut agent, &own)?;
        Ok(Renewal::Replaced(Replaced { from, to: own, problem }))
    }

    /// Waits until the proxy is of the build too; otherwise why it is not.
    fn proxy_settled(&self, agent: &mut Client, own: &Build) -> Result<Option<String>, AgentError> {
        let began = Instant::now();
        while began.elapsed() < RENEWED_WITHIN {
            // An agent that died meanwhile is started again; the next look tells.
            let Ok(hello) = agent.hello() else {
                *agent = self.agent()?;
                continue;
            };
            if let Some(proxy) = hello.proxy.filter(|proxy| !proxy.replacing) {
                if proxy.build.as_ref() == Some(own) {
                    return Ok(None);
                }
                if proxy.problem.is_some() {
                    return Ok(proxy.problem);
                }
            }
            thread::sleep(TRY_EVERY);
        }
        Ok(Some(format!("it was not replaced within {} s", RENEWED_WITHIN.as_secs())))
    }

    /// Refuses to put a build in the place of one whose files it would not understand.
    fn readable(&self, own: &Build, running: &Build) -> Result<(), AgentError> {
        let unread = onward_server::agent::unreadable(&Tree::new(self.root()));
        unread.map_or(Ok(()), |why| {
            Err(AgentError::Upgrade(format!(
                "onward {} wrote what onward {} does not understand: {why}",
                running.version, own.version
            )))
        })
    }
}

/// What an agent said of itself, also one that cannot be spoken to.
fn hello_of(contact: &Contact) -> Option<Hello> {
    match contact {
        Contact::Answers(_, hello) | Contact::Foreign(_, hello) => Some(Hello::clone(hello)),
        Contact::Silent { .. } | Contact::Ending | Contact::Absent | Contact::Unreachable(_) => {
            None
        }
    }
}

/// The build that an agent says; one that is too old to say says its version at least.
fn build_of(hello: &Hello) -> Build {
    if hello.build.version.is_empty() {
        Build { version: hello.onward.clone(), digest: String::new() }
    } else {
        hello.build.clone()
    }
}
