//! What happens to servers, done on purpose: for tests, and for people who want to see what their
//! environment does then.
//!
//! What this kind of server cannot show:
//! - a power cut loses what runs, but nothing that was written: files are kept by this machine's
//!   kernel, which goes on. Loss of what was not synced needs another file system;
//! - the clock is this machine's. Linux has no name space for the time of day, so one server alone
//!   cannot have another. Tests move the time that single programs see, by libfaketime
//!   (`tests/fleet/src/skew.rs`), which does not reach programs that are linked statically;
//! - the kernel is this machine's: a server cannot have another one, nor crash it alone.

use onward_core::model::ServerName;
use serde::{Deserialize, Serialize};

use super::{Lab, LabError, Machine};

/// One end of a path through the network of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// A server.
    Server(ServerName),
    /// This machine, and through it the Internet.
    Host,
    /// All servers and this machine.
    Everyone,
}

/// Packets in one direction that are lost without a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Where they come from.
    pub from: End,
    /// Where they do not arrive.
    pub to: End,
}

impl Lab {
    /// Ends a server at once, as when its power is cut. Nothing in it is told. One that is not
    /// running is fine. `up` boots it again, with the same disk, address and keys.
    ///
    /// # Errors
    /// There is no such server, or its processes do not end.
    pub fn power_cut(&self, name: &ServerName) -> Result<(), LabError> {
        self.with(name, |server| {
            server.kill()?;
            Ok(())
        })
    }

    /// Tells a server to shut down and boot again, and waits until its sshd answers.
    ///
    /// # Errors
    /// It is not running, or does not come back.
    pub fn reboot(&self, name: &ServerName) -> Result<Machine, LabError> {
        self.with(name, |server| {
            server.reboot()?;
            server.await_sshd()?;
            Machine::of(server)
        })
    }

    /// Stops all processes of a server where they are: it is there and does not answer.
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&self, name: &ServerName) -> Result<(), LabError> {
        self.freeze(name, true)
    }

    /// Lets the processes of a paused server go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self, name: &ServerName) -> Result<(), LabError> {
        self.freeze(name, false)
    }

    fn freeze(&self, name: &ServerName, frozen: bool) -> Result<(), LabError> {
        self.with(name, |server| {
            if !server.is_running() {
                return Err(LabError::NotRunning(name.clone()));
            }
            server.group.freeze(frozen)
        })
    }

    /// Loses packets in one direction until [`Self::heal`], also after a boot.
    ///
    /// # Errors
    /// There is no such server, or the rules cannot be changed.
    pub fn cut(&self, cut: Cut) -> Result<(), LabError> {
        self.change(|record| {
            for end in [&cut.from, &cut.to] {
                if let End::Server(name) = end
                    && !record.servers.contains_key(name)
                {
                    return Err(LabError::NoServer(name.clone()));
                }
            }
            record.cuts.push(cut);
            Ok(())
        })
    }

    /// Loses all packets from and to a server.
    ///
    /// # Errors
    /// As [`Self::cut`].
    pub fn cut_off(&self, name: &ServerName) -> Result<(), LabError> {
        let server = End::Server(name.clone());
        self.cut(Cut { from: server.clone(), to: End::Everyone })?;
        self.cut(Cut { from: End::Everyone, to: server })
    }

    /// Ends all cuts.
    ///
    /// # Errors
    /// When the rules cannot be changed.
    pub fn heal(&self) -> Result<(), LabError> {
        self.change(|record| {
            record.cuts.clear();
            Ok(())
        })
    }
}
