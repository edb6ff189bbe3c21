//! An environment whose servers are made on this machine by the provider `nspawn`.

use std::collections::BTreeMap;

use onward_core::model::{EnvironmentName, ServerName};
use serde_json::json;

use super::complaint::Complaint;
use super::exit::Exit;
use super::numbers;
use super::screen::Screen;
use super::ways::Ways;
use crate::project::{HostKey, Reach, Resolved, wishes};
use crate::providers::local::Local;
use crate::providers::nspawn::{Event, Lab, LabError, MachineState, ServerSpec};
use crate::providers::ssh::{Pins, SshServer};

/// What is said of a server that was stopped, or that nobody booted since this machine was.
const STOPPED: &str = "does not run";

/// Who logs in.
const USER: &str = "root";

/// The lab of an environment.
pub fn of(resolved: &Resolved, local: &Local) -> Lab {
    Lab::of(local.project(), &format!("{}/{}", resolved.app, resolved.environment))
}

/// Its servers, as far as they were made.
pub fn servers(lab: &Lab, pins: &Pins) -> Result<BTreeMap<ServerName, SshServer>, Complaint> {
    let made = lab.state()?.into_iter().filter_map(|machine| {
        let reach = reach(&machine.address.to_string(), &machine.host_key?);
        let key = Some(lab.key_file());
        Some((machine.name.clone(), SshServer::new(machine.name, reach, key, pins.clone())))
    });
    Ok(made.collect())
}

fn reach(address: &str, host_key: &str) -> Reach {
    Reach {
        address: address.to_owned(),
        user: Some(USER.to_owned()),
        port: None,
        host_key: HostKey::new(host_key),
    }
}

/// Refuses what cannot work: servers that were never made, and a manager that does not run.
///
/// # Errors
/// With what to type.
pub fn is_up(
    lab: &Lab,
    environment: &EnvironmentName,
    manager: &ServerName,
) -> Result<(), Complaint> {
    let servers = lab.state()?;
    if servers.is_empty() {
        let what = format!("{environment} has no servers yet");
        return Err(Complaint::new(Exit::Refused, what).hint("`onward up` makes them"));
    }
    match servers.iter().any(|own| own.name == *manager && !own.is_running) {
        false => Ok(()),
        true => Err(Complaint::new(Exit::Refused, format!("server {manager} {STOPPED}"))
            .nothing_changed()
            .hint("`onward up` boots it; what ran there runs again")),
    }
}

/// The servers that do not run, each with what is said of it.
pub fn stopped(lab: &Lab) -> impl Iterator<Item = (ServerName, String)> {
    let servers = lab.state().unwrap_or_default().into_iter();
    let stopped = servers.filter(|own| !own.is_running);
    stopped.map(|own| (own.name, format!("it {STOPPED}; `onward up` boots it")))
}

/// Removes a server with all it has, unless another one has its name by now: it is known by the host
/// key that it showed.
///
/// # Errors
/// Why it cannot.
pub fn discard(lab: &Lab, name: &ServerName, host_key: Option<&str>) -> Result<(), LabError> {
    let is_it = |own: &MachineState| own.name == *name && own.host_key.as_deref() == host_key;
    if lab.state()?.iter().any(is_it) { lab.remove(std::slice::from_ref(name)) } else { Ok(()) }
}

/// Makes and boots what the project file wishes and is not running.
///
/// # Errors
/// Why it cannot.
pub fn up(lab: &Lab, resolved: &Resolved, ways: &Ways, screen: &Screen) -> Result<(), Complaint> {
    let wished = wishes::servers(resolved).into_iter();
    let specs: Vec<_> = wished.map(|(name, _)| ServerSpec::of(name)).collect();
    for machine in lab.up(&specs, &|event| tell(&event, screen))? {
        let reach = reach(&machine.address.to_string(), &machine.host_key);
        let server = ways.server(&machine.name);
        if server.reach() != reach {
            server.is_at(reach, Some(lab.key_file()));
        }
    }
    Ok(())
}

fn tell(event: &Event, screen: &Screen) {
    let text = match event {
        Event::RootfsBegun => {
            "building the file system of servers, once for this machine: about a minute".to_owned()
        }
        Event::RootfsByAnother => "waiting for another command that builds it".to_owned(),
        Event::RootfsBuilt { took } => format!("built in {}", numbers::duration(*took)),
        Event::Waiting => "waiting for another command that works on these servers".to_owned(),
        Event::Forwarding { link } => {
            format!("this machine now passes packets on to {link}; the last `onward down` ends it")
        }
        Event::Booting { .. } => return,
        Event::Ready { server, took } => {
            screen.event(&json!({"event": "booted", "server": server}));
            format!("{server} has booted, {}", numbers::duration(*took))
        }
    };
    screen.note(&format!("  {text}"));
}

impl From<LabError> for Complaint {
    fn from(error: LabError) -> Self {
        let exit = match &error {
            LabError::NotLinux(_) | LabError::NotRoot | LabError::Missing { .. } => Exit::Refused,
            _ => Exit::Failed,
        };
        let complaint = Self::new(exit, error.to_string());
        match error {
            LabError::NotLinux(_) | LabError::NotRoot => complaint
                .nothing_changed()
                .hint("`provider = \"local\"` needs neither; the guide of labs tells more"),
            LabError::Missing { .. } | LabError::TooMany => complaint.nothing_changed(),
            LabError::Hangs { program, .. } => complaint
                .fact("What was made so far is kept")
                .hint(format!(
                    "`ps -eo pid,stat,wchan,args | grep {program}` and `dmesg | tail` tell what it waits for: a \
                     lock, a disk or a mirror that does not answer"
                ))
                .hint("the next `onward up` carries it on, `onward down` removes it"),
            _ => complaint
                .hint("what was made so far is kept: the next `onward up` carries it on, `onward down` removes it"),
        }
    }
}
