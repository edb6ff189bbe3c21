//! Machines that have left the environment: onward is taken off them.

use onward_core::document::Gone;
use onward_core::ports::StateStore;

use super::context::Context;
use super::screen::Screen;
use super::secrets::{self, Write};

/// Takes onward off every machine that has left, and forgets those from which it is taken. What cannot
/// be done now is said, and tried again by the next `up`.
pub fn all(context: &Context, screen: &Screen) {
    let Some(ways) = context.ways() else { return };
    let Ok(Some(stored)) = context.store().read() else { return };
    let mut free: Vec<Gone> = Vec::new();
    for gone in &stored.document.gone {
        match ways.lab() {
            Some(lab) => {
                let is_it = |own: &crate::providers::nspawn::MachineState| {
                    let key = gone.server.reach.as_ref().map(|reach| reach.host_key.as_str());
                    own.name == gone.name && own.host_key.as_deref() == key
                };
                let made = lab.state().unwrap_or_default();
                if made.iter().any(is_it)
                    && let Err(error) = lab.remove(std::slice::from_ref(&gone.name))
                {
                    screen.warn(&format!("{} is not removed: {error}", gone.name));
                    continue;
                }
                free.push(gone.clone());
            }
            None => {}
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
