//! Reading the state for people: also when its file is damaged.

use onward_core::ports::{StateStore, StoreError, Stored};

use super::complaint::Complaint;
use super::context::Context;
use super::known;
use super::lost;
use super::screen::Screen;

/// The state, as far as it can be known.
#[derive(Debug)]
pub struct Reading {
    /// The document that is in force.
    pub stored: Stored,
    /// What is wrong with the file, when the document is an earlier generation than the file.
    pub damage: Option<String>,
}

/// The document that is in force; `None` before the first. Of a damaged file it is the last good
/// generation, with a warning.
///
/// # Errors
/// When it cannot be read, and when it is lost.
pub fn read(context: &Context, screen: &Screen) -> Result<Option<Reading>, Complaint> {
    let store = context.store();
    let error = match store.read() {
        Ok(Some(stored)) => {
            known::keep(context, &stored.document);
            return Ok(Some(Reading { stored, damage: None }));
        }
        Ok(None) => return lost::must_not_be(context).map(|()| None),
        Err(error) => error,
    };
    let StoreError::Damaged { last_good, .. } = &error else { return Err(error.into()) };
    let Some(difference) = store.difference()? else {
        // Somebody settled it meanwhile.
        return Ok(store.read()?.map(|stored| Reading { stored, damage: None }));
    };
    screen.warn(&format!(
        "the state file is not what onward wrote: {}\n  Generation {last_good} stays in force and \
         is what follows. `onward state diff` shows the difference,\n  `onward state undo` puts \
         generation {last_good} back, `onward state accept` takes a valid file as it is.",
        difference.reason
    ));
    Ok(Some(Reading { stored: difference.good, damage: Some(difference.reason) }))
}
