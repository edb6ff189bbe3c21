//! Speaking to an agent about its machine.

use std::io;
use std::time::Duration;

use onward_core::machine::{AuthorizedKey, Event, Facts, Setup, Token};
use onward_core::model::{AppName, EnvironmentName};

use super::{ANSWERS_WITHIN, Client, ClientError, nonsense};
use crate::protocol::{Answer, Request};

/// The longest silence while a machine is set up: packages that come slowly.
const SILENCE: Duration = Duration::from_secs(2100);

impl Client {
    /// What the machine is.
    ///
    /// # Errors
    /// [`ClientError::Refused`] by an agent that is not root, or where systemd is not.
    pub fn machine(&mut self) -> Result<Facts, ClientError> {
        match self.ask(&Request::Machine, 0)? {
            Answer::Machine { facts } => Ok(*facts),
            other => Err(nonsense(&other)),
        }
    }

    /// Makes the machine what `setup` says. `each` is told what goes on; whether the machine is so
    /// at the end is returned, and the events say what is not.
    ///
    /// When [`Event::Confirm`] comes, somebody has to call [`Client::confirm_set_up`] over another,
    /// new connection, or the changes are taken back.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: nothing was changed. [`ClientError::Lost`]: the server goes on; the
    /// same set-up again says what became of it.
    pub fn set_up(
        &mut self,
        setup: &Setup,
        mut each: impl FnMut(Event),
    ) -> Result<bool, ClientError> {
        self.within(Some(SILENCE))?;
        self.send(&Request::SetUp { setup: Box::new(setup.clone()) })?;
        loop {
            match self.receive()? {
                Answer::SetUp { event } => {
                    let end = match *event {
                        Event::Finished { ok, .. } => Some(ok),
                        _ => None,
                    };
                    each(*event);
                    if let Some(ok) = end {
                        self.within(Some(ANSWERS_WITHIN))?;
                        return Ok(ok);
                    }
                }
                other => return Err(nonsense(&other)),
            }
        }
    }

    /// Keeps what is on trial. It means something over a new connection only.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when nothing waits for it any more.
    pub fn confirm_set_up(&mut self, token: &Token) -> Result<(), ClientError> {
        match self.ask(&Request::ConfirmSetUp { token: token.clone() }, 0)? {
            Answer::Confirmed => Ok(()),
            other => Err(nonsense(&other)),
        }
    }

    /// The key with which the server comes to others, as the manager of an environment.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be made, and by an agent that is too old to know it.
    pub fn manager_key(&mut self) -> Result<AuthorizedKey, ClientError> {
        match self.ask(&Request::ManagerKey, 0)? {
            Answer::ManagerKey { key } => Ok(key),
            other => Err(nonsense(&other)),
        }
    }

    /// Lets the managers of an environment in, with these keys and no others.
    ///
    /// # Errors
    /// [`ClientError::Refused`] as for [`Client::manager_key`].
    pub fn admit(
        &mut self,
        app: &AppName,
        environment: &EnvironmentName,
        keys: Vec<AuthorizedKey>,
    ) -> Result<(), ClientError> {
        let (app, environment) = (app.clone(), environment.clone());
        match self.ask(&Request::Admit { app, environment, keys }, 0)? {
            Answer::Admitted => Ok(()),
            other => Err(nonsense(&other)),
        }
    }

    fn within(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.stream().set_read_timeout(limit)
    }
}
