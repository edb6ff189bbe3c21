//! Speaking to an agent about its machine.

use std::io;
use std::time::Duration;

use onward_core::machine::{Event, Facts, Setup, Token};

use crate::client::{ANSWERS_WITHIN, Client, ClientError, nonsense};
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

    fn within(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.stream().set_read_timeout(limit)
    }
}
