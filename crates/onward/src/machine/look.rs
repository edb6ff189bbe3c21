//! Looking at all machines: what differs, and what has to be asked.

use std::collections::BTreeMap;
use std::thread;

use onward_core::machine::{
    Facts, OwnedByAnother, Owner, Plan, Question, Setup, Stay, UserName, plan,
};
use onward_core::model::ServerName;
use onward_server::client::ClientError;

use super::converge::{self, Converged, Telling, Work};
use super::lines::{self, Entry};
use super::wishes::{Known, setups};
use crate::project::{Machine, Resolved};
use crate::providers::ssh::{AgentSilence, SshServer};

/// Why a machine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Its agent cannot be spoken to.
    #[error("server {server} {source}")]
    Silent {
        /// The server.
        server: ServerName,
        /// The reason.
        source: AgentSilence,
    },
    /// Its agent says no.
    #[error("the machine of server {server} cannot be set up: {source}")]
    Refused {
        /// The server.
        server: ServerName,
        /// The reason.
        source: ClientError,
    },
    /// Another environment sets it up, and this one asks for something else.
    #[error("{owned}: server {server} takes the settings of its machine from there alone")]
    Owned {
        /// The server.
        server: ServerName,
        /// Whose it is.
        owned: OwnedByAnother,
    },
}

/// One machine that was looked at.
#[derive(Debug)]
pub struct Look {
    /// The server.
    pub server: SshServer,
    /// What its machine is.
    pub facts: Facts,
    /// What it shall be.
    pub setup: Setup,
    /// What differs.
    pub plan: Plan,
    /// Who sets it up, when that is another environment: this one has its ports there.
    pub host: Option<Owner>,
}

impl Look {
    fn entries(&self) -> Vec<Entry> {
        let entry = |sign, sentence| Entry { sign, sentence, details: Vec::new() };
        let host =
            self.host.iter().map(|host| entry('·', OwnedByAnother(host.clone()).to_string()));
        let changes = self.plan.changes.iter().map(|change| {
            let guard = if change.is_guarded() { " (to be confirmed)" } else { "" };
            let details = change.details.clone();
            Entry { sign: '~', sentence: format!("{}{guard}", change.sentence), details }
        });
        let notes = self.plan.notes.iter().map(|note| entry('·', note.clone()));
        let questions = self
            .plan
            .questions
            .iter()
            .map(|Question { text, instead, .. }| entry('?', format!("{text}; {instead}")));
        host.chain(changes).chain(notes).chain(questions).collect()
    }
}

impl Look {
    /// Whether there is something to do, or to remember on the server.
    fn is_behind(&self) -> bool {
        let is_known = || {
            if let Some(stay) = Stay::of(&self.setup, &self.facts) {
                return stay.is_known(&self.facts);
            }
            let record = self.facts.record.as_ref();
            record.is_some_and(|record| {
                let answered = record.setup.answered.clone();
                let confirm_within_s = record.setup.confirm_within_s;
                record.setup == Setup { answered, confirm_within_s, ..self.setup.clone() }
            })
        };
        !self.plan.changes.is_empty() || !is_known()
    }
}

/// All machines of an environment that were looked at.
#[derive(Debug)]
pub struct Looks {
    all: Vec<Look>,
}

impl Looks {
    /// Asks all servers at once what their machines are. `login` says who onward signs in as, and
    /// with which keys of its own.
    ///
    /// # Errors
    /// The first server that cannot be asked; one whose machine belongs to another environment,
    /// when this one's file has settings for it.
    pub fn of(
        resolved: &Resolved,
        servers: &[SshServer],
        login: impl Fn(&SshServer) -> (UserName, Vec<onward_core::machine::AuthorizedKey>),
    ) -> Result<Self, MachineError> {
        let mut known = BTreeMap::new();
        for (server, facts) in servers.iter().zip(facts(servers)) {
            let (user, login_keys) = login(server);
            let reach = server.reach();
            let about = Known {
                address: reach.address,
                port: reach.port,
                login: user,
                login_keys,
                facts: Some(facts?),
            };
            known.insert(server.name().clone(), about);
        }
        let mut setups = setups(resolved, &known);
        let mut all = Vec::new();
        for server in servers {
            let about = known.remove(server.name()).and_then(|about| about.facts);
            let (Some(facts), Some(setup)) = (about, setups.remove(server.name())) else {
                continue;
            };
            let look = match (plan(&setup, &facts), Stay::of(&setup, &facts)) {
                (Ok(plan), _) => Look { server: server.clone(), facts, setup, plan, host: None },
                (Err(OwnedByAnother(owner)), Some(stay))
                    if resolved.machine == Machine::default() =>
                {
                    let (server, plan) = (server.clone(), stay.plan);
                    Look { server, facts, setup, plan, host: Some(owner) }
                }
                (Err(owned), _) => {
                    return Err(MachineError::Owned { server: server.name().clone(), owned });
                }
            };
            all.push(look);
        }
        Ok(Self { all })
    }

    /// Each machine.
    pub fn all(&self) -> &[Look] {
        &self.all
    }

    /// What would change, as `plan` prints it. Lines that begin with `·` change nothing.
    pub fn lines(&self) -> Vec<String> {
        lines::lines(self.all.iter().map(|look| (look.server.name(), look.entries())).collect())
    }

    /// What has to be answered before anything is changed, with the server that each is about.
    pub fn questions(&self) -> Vec<(&ServerName, &Question)> {
        let mut all = Vec::new();
        for look in &self.all {
            let questions = look.plan.questions.iter();
            all.extend(questions.map(|question| (look.server.name(), question)));
        }
        all
    }

    /// Answers every question with yes.
    pub fn agree(&mut self) {
        for look in &mut self.all {
            let ids = look.plan.questions.drain(..).map(|question| question.id);
            look.setup.answered.extend(ids);
        }
    }

    /// Leaves out the machines that were never set up.
    pub fn only_set_up(&mut self) {
        self.all.retain(|look| look.facts.record.is_some());
    }

    /// Leaves only the machines that others set up, with what becomes of them when this environment
    /// is gone.
    pub fn only_left(&mut self) {
        self.all.retain(|look| look.host.is_some());
        for look in &mut self.all {
            look.setup.openings.clear();
            look.setup.ssh.peers.clear();
            look.plan =
                Stay::of(&look.setup, &look.facts).map(|stay| stay.plan).unwrap_or_default();
        }
    }

    /// Another time for coming back to confirm what could lock out, in seconds.
    pub fn confirm_within(&mut self, within_s: u32) {
        self.all.iter_mut().for_each(|look| look.setup.confirm_within_s = within_s);
    }

    /// Whether nothing has to be done.
    pub fn is_converged(&self) -> bool {
        self.all.iter().all(|look| !look.is_behind())
    }

    /// Makes all machines at once what they shall be. What goes on is told with the server's name. When
    /// `stops` says so nobody is waited for any more, and what was begun goes on there.
    pub fn converge(
        &self,
        tell: &Telling<'_>,
        stops: &dyn Fn() -> bool,
    ) -> BTreeMap<ServerName, Converged> {
        let behind = self.all.iter().filter(|look| look.is_behind());
        let works = behind.map(|look| {
            let (server, setup) = (look.server.clone(), look.setup.clone());
            let work: Work = Box::new(move |tell| converge::converge(&server, &setup, tell));
            (look.server.name().clone(), work)
        });
        converge::all(works.collect(), tell, stops)
    }
}

/// What each machine is.
fn facts(servers: &[SshServer]) -> Vec<Result<Facts, MachineError>> {
    let ask = |server: &SshServer| {
        let name = || server.name().clone();
        let (mut client, _) =
            server.agent().map_err(|source| MachineError::Silent { server: name(), source })?;
        client.machine().map_err(|source| MachineError::Refused { server: name(), source })
    };
    thread::scope(|scope| {
        let each: Vec<_> = servers.iter().map(|server| scope.spawn(move || ask(server))).collect();
        let joined = each.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|done| done.expect("speaking to an agent does not panic")).collect()
    })
}
