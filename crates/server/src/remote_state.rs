//! The documents of an environment, asked of the agent of its manager.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::model::{AppName, EnvironmentName};
use onward_store::state::remote::{Ask, Carry, RemoteStore, Said, Silence};

use crate::client::{Client, ClientError, Dial};
use crate::protocol::{Answer, Request};

/// How long a manager that cannot be reached is tried again for what only reads: longer than its
/// agent takes to start again, and than a connection takes to come back.
const TRIED_FOR: Duration = Duration::from_secs(15);
/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// The documents of an environment, as the agent at the end of `way` keeps them; `place` names it to
/// people.
pub fn documents(
    way: Arc<dyn Dial>,
    app: &AppName,
    environment: &EnvironmentName,
    place: String,
) -> RemoteStore {
    let (app, environment) = (app.clone(), environment.clone());
    RemoteStore::new(Arc::new(Asker { way, app, environment, client: Mutex::default() }), place)
}

/// Asks the agent, over a connection that it keeps.
#[derive(Debug)]
struct Asker {
    way: Arc<dyn Dial>,
    app: AppName,
    environment: EnvironmentName,
    client: Mutex<Option<Client>>,
}

impl Asker {
    /// The second of a silence: whether asking again is of use.
    fn once(&self, ask: &Ask) -> Result<Said, (Silence, bool)> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = match kept.take() {
            Some(client) => client,
            None => Client::over(&self.way)
                .map_err(|error| (Silence::NotAsked(error.to_string()), !error.is_final()))?,
        };
        let request = Request::State {
            app: self.app.clone(),
            environment: self.environment.clone(),
            ask: Box::new(ask.clone()),
        };
        let silence = match client.ask(&request, 0) {
            Ok(Answer::State(said)) => {
                *kept = Some(client);
                return Ok(*said);
            }
            Ok(_) => Silence::Unknown("the manager answers something else".to_owned()),
            Err(error @ ClientError::Refused(_)) => Silence::NotAsked(error.to_string()),
            // Whether its agent hangs, or the line between is dead, nobody knows here.
            Err(error) if error.is_silence() => Silence::Unknown("it does not answer".to_owned()),
            Err(error) => Silence::Unknown(error.to_string()),
        };
        Err((silence, true))
    }
}

impl Carry for Asker {
    fn carry(&self, ask: &Ask) -> Result<Said, Silence> {
        let began = Instant::now();
        loop {
            match self.once(ask) {
                // What was not asked can be asked again, whatever it is; a connection that was kept
                // may have ended long ago.
                Ok(said) => return Ok(said),
                Err((silence, true))
                    if may_repeat(ask, &silence) && began.elapsed() < TRIED_FOR =>
                {
                    thread::sleep(PAUSE);
                }
                Err((silence, _)) => return Err(silence),
            }
        }
    }
}

/// Whether asking again cannot do anything twice.
fn may_repeat(ask: &Ask, silence: &Silence) -> bool {
    match ask {
        Ask::Write { .. }
        | Ask::Settle { .. }
        | Ask::SwapHead { .. }
        | Ask::KeepRecorded { .. }
        | Ask::KeepReport { .. }
        | Ask::PutReport { .. }
        | Ask::Settled(_) => matches!(silence, Silence::NotAsked(_)),
        Ask::Read { .. }
        | Ask::ReadGeneration(_)
        | Ask::Generations
        | Ask::Report(_)
        | Ask::Difference
        | Ask::Sign
        | Ask::Head
        | Ask::Recorded(_)
        | Ask::ReportNames
        | Ask::ReportBytes(_) => true,
    }
}
