//! What the agent is asked, between two turns of its loop.
//!
//! Here is what needs the loop's own state. Logs, documents, bundles and the machine are answered
//! where requests are read, so that nothing that takes long holds the loop up.

use std::time::Duration;

use onward_core::secrets::PublicKey;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::app::{App, Waiter};
use super::event::{AppKey, Reply};
use super::roll::{Agent, Next};
use crate::protocol::{self, Answer, Hello, Request, RunRequest, WAIT_MS_MAX};

fn answered_elsewhere() -> Answer {
    Answer::Refused { text: "this is answered where it is read".to_owned() }
}

fn never_deployed(key: &AppKey) -> Reply {
    let text = format!("{}/{} was never deployed here", key.0, key.1);
    Reply::Answer(Answer::Refused { text })
}

impl Agent {
    /// Answers a request, or leaves that to whoever does it later.
    pub(super) fn asked(&mut self, request: Request, reply: oneshot::Sender<Reply>) -> Next {
        let answer = match request {
            Request::Hello => self.hello(),
            Request::Renew => self.renew(),
            Request::Deliver { order, known_revision, wait_ms } => {
                let key = (order.app.clone(), order.environment.clone());
                match self.admit(*order) {
                    Err(text) => Answer::Refused { text },
                    Ok(()) => {
                        // What follows from the order at once belongs to the answer.
                        self.roll_forward();
                        self.answer(&key, known_revision, wait_ms, reply);
                        return Next::Continue;
                    }
                }
            }
            Request::Report { app, environment, known_revision, wait_ms } => {
                let key = (app, environment);
                if self.apps.contains_key(&key) {
                    self.answer(&key, known_revision, wait_ms, reply);
                    return Next::Continue;
                }
                let _ = reply.send(never_deployed(&key));
                return Next::Continue;
            }
            Request::Run(request) => {
                self.launch(*request, reply);
                return Next::Continue;
            }
            Request::HoldsKey { app, environment, key } => {
                self.holds_key(&(app, environment), &key)
            }
            Request::TakeKey { app, environment, identity } => {
                self.take_key(&(app, environment), identity)
            }
            Request::Quit => {
                let _ = reply.send(Reply::Answer(Answer::Ending));
                return Next::Quit;
            }
            Request::Shutdown => match self.left() {
                None => {
                    let _ = reply.send(Reply::Answer(Answer::Ending));
                    return Next::ShutDown;
                }
                Some(text) => Answer::Refused { text },
            },
            // Logs, documents, bundles, the machine.
            _ => answered_elsewhere(),
        };
        // Whoever asked may be gone.
        let _ = reply.send(Reply::Answer(answer));
        Next::Continue
    }

    fn launch(&mut self, request: RunRequest, reply: oneshot::Sender<Reply>) {
        let key = (request.app.clone(), request.environment.clone());
        let answer = match self.apps.get_mut(&key) {
            Some(app) => app.admit_run(request, &self.context),
            None => never_deployed(&key),
        };
        // Whoever asked may be gone; its command is, too.
        if let Err(Reply::Launch(launch)) = reply.send(answer)
            && let Some(app) = self.apps.get_mut(&key)
        {
            app.one_offs.remove(&launch.number);
        }
    }

    fn holds_key(&mut self, app: &AppKey, key: &PublicKey) -> Answer {
        self.open(app.clone());
        Answer::Key { held: self.apps.get(app).is_some_and(|app| app.vault.holds(key)) }
    }

    fn take_key(&mut self, key: &AppKey, identity: onward_secret::Identity) -> Answer {
        self.open(key.clone());
        match self.apps.get_mut(key).map(|app| app.take_key(identity, &self.context)) {
            Some(Err(text)) => Answer::Refused { text },
            _ => Answer::Key { held: true },
        }
    }

    fn hello(&self) -> Answer {
        Answer::Hello(Box::new(Hello {
            version: protocol::VERSION,
            oldest: Some(protocol::OLDEST),
            onward: self.own.build.version.clone(),
            build: self.own.build.clone(),
            pid: std::process::id(),
            root: self.context.tree.root().to_owned(),
            address: format!("http://127.0.0.1:{}", self.own.port),
            https_port: self.own.https_port,
            proxy_problem: self.proxy_problem.clone(),
            proxy: self.proxy.clone(),
            clock: Some(jiff::Timestamp::now()),
            unnamed: self.unnamed.holder("").map(str::to_owned),
        }))
    }

    /// Has the proxy replaced when it is of another build.
    fn renew(&mut self) -> Answer {
        if let Some(proxy) =
            self.proxy.as_mut().filter(|own| own.build.as_ref() != Some(&self.own.build))
        {
            (proxy.replacing, proxy.problem) = (true, None);
            self.own.renew.notify_one();
        }
        self.hello()
    }

    /// What is still there and stands in the way of shutting down.
    fn left(&self) -> Option<String> {
        let there: Vec<String> =
            self.apps.values().filter(|app| app.is_there()).map(App::route_name).collect();
        (!there.is_empty())
            .then(|| format!("still there: {}; take it away first", there.join(", ")))
    }

    fn answer(
        &mut self,
        key: &AppKey,
        known: Option<u64>,
        wait_ms: u64,
        reply: oneshot::Sender<Reply>,
    ) {
        let Some(app) = self.apps.get_mut(key) else { return };
        if known != Some(app.revision) || wait_ms == 0 {
            app.answer(reply);
            return;
        }
        let until = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        app.waiters.push(Waiter { until, reply });
    }
}
