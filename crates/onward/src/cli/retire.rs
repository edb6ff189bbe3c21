//! Machines that have left the environment: onward is taken off them.

use onward_core::document::Gone;
use onward_core::ports::StateStore;

use super::context::Context;
use super::screen::Screen;
use super::secrets::{self, Write};
use crate::providers::nspawn::{Lab, MachineState};

/// Takes onward off every machine that has left, and forgets those from which it is taken. What cannot
/// be done now is said, and tried again by the next `up`.
pub fn all(context: &Context, screen: &Screen) {
    let Some(ways) = context.ways() else { return };
    let Ok(Some(stored)) = context.store().read() else { return };
    let mut free: Vec<Gone> = Vec::new();
    for gone in &stored.document.gone {
        let taken = match ways.lab() {
            Some(lab) => of_lab(lab, gone),
            None => continue,
        };
        match taken {
            Ok(()) => free.push(gone.clone()),
            Err(why) => screen.warn(&why),
        }
    }
    if !free.is_empty() {
        let forgotten = secrets::change(context, |document| {
            document.gone.retain(|own| !free.contains(own));
            Ok(((), Write::Yes))
        });
        // The next command finds nothing there, and forgets it.
        drop(forgotten);
    }
}

/// A server of a lab is removed with all it has, unless another one has its name by now.
fn of_lab(lab: &Lab, gone: &Gone) -> Result<(), String> {
    let key = gone.server.reach.as_ref().map(|reach| reach.host_key.as_str());
    let made = lab.state().map_err(|error| error.to_string())?;
    let is_it = |own: &MachineState| own.name == gone.name && own.host_key.as_deref() == key;
    if !made.iter().any(is_it) {
        return Ok(());
    }
    let removed = lab.remove(std::slice::from_ref(&gone.name));
    removed.map_err(|error| format!("{} is not removed: {error}", gone.name))
}
