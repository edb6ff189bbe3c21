//! `onward agent spread`: a manager brings the files of a release on to other servers, when its line to
//! them is better than that of whoever deploys.
//!
//! It is started over SSH by the command, reads what to do from one line of standard input and tells
//! how it goes in lines of standard output. It ends with its input, so none outlives who asked. It
//! records nothing: what arrived stays where it is, and what is lacking is sent by the next command.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use onward_core::document::Reach;
use onward_core::model::{AppName, Digest, EnvironmentName, ServerName};
use onward_server::bringing::{self, NotBrought};
use onward_store::bundle::Store;
use serde::{Deserialize, Serialize};

use super::ways;
use crate::providers::ssh::{AgentSilence, SshServer};

/// How often it is told how far a server is.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// What is to be spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The bundle, which this server has.
    pub bundle: Digest,
    /// One that the others probably have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// To whom: where balancers reach each, and how its agent is reached.
    pub to: BTreeMap<ServerName, (String, Reach)>,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// So many bytes were sent, of so many that were lacking.
    Sent {
        /// To whom.
        server: ServerName,
        /// Bytes that were sent.
        bytes: u64,
        /// Bytes that it lacked, before they are compressed.
        total: u64,
    },
    /// A server has everything.
    Brought {
        /// Which.
        server: ServerName,
        /// Bytes that were sent.
        bytes: u64,
    },
    /// A server could not be brought everything.
    Failed {
        /// Which.
        server: ServerName,
        /// Why.
        why: String,
    },
}

/// Reads what is wanted and does it. Ends the process when its input ends.
///
/// # Errors
/// When the input is none, or the bundles of this server cannot be read.
pub fn run(root: &Path, runtime: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let wanted: Wanted = serde_json::from_str(&line)?;
    thread::spawn(|| {
        // Whoever asked says nothing more, and is gone when that ends.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1);
    });
    let store = Store::open(root.join("bundles"))?;
    let pins = ways::pins(runtime, &wanted.app, &wanted.environment);
    thread::scope(|scope| {
        for (name, (address, reach)) in &wanted.to {
            let server = ways::way(root, name, address, reach, &pins);
            let (store, wanted) = (&store, &wanted);
            scope.spawn(move || tell(&one(&server, store, wanted)));
        }
    });
    Ok(())
}

fn one(server: &SshServer, store: &Store, wanted: &Wanted) -> Told {
    let name = server.name().clone();
    let last = Mutex::new(Instant::now());
    let on_sent = |bytes, total| {
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= TOLD_EVERY {
            *last = Instant::now();
            tell(&Told::Sent { server: name.clone(), bytes, total });
        }
        ControlFlow::Continue(())
    };
    let brought = server
        .agent()
        .map_err(|error| NotBrought::from(AgentSilence::into_client_error(error)))
        .and_then(|(mut agent, _)| {
            bringing::bring(&mut agent, store, wanted.bundle, wanted.base, Some(&on_sent))
        });
    match brought {
        Ok(brought) => Told::Brought { server: name, bytes: brought.bytes },
        Err(error) => Told::Failed { server: name, why: error.to_string() },
    }
}

/// Whoever asked reads it. When nobody does any more, the end of the input says so as well.
fn tell(told: &Told) {
    let mut line = serde_json::to_string(told).expect("it can be written as JSON");
    line.push('\n');
    let mut output = io::stdout().lock();
    let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}
