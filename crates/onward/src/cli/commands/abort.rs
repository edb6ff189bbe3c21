//! `onward abort`: stops the operation in flight, when it is not decided.

use onward_core::document::Ended;
use onward_core::engine::{Ask, Refusal};
use serde_json::json;

use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::outcome;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;

/// Aborts. What served before serves.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    if context.look()?.is_none_or(|stored| stored.document.operation.is_none()) {
        return Err(Refusal::NothingInFlight.into());
    }
    let interrupts = interrupt::watch();
    match carry::submit(context, Ask::Abort, Terms::default(), screen, &interrupts)? {
        Came::Ended(document, number) => {
            let finished = document.finished(number);
            if let Some(Ended::Aborted { .. }) = finished.map(|finished| &finished.outcome) {
                let url = carry::url(context);
                let serves = outcome::serves(&document, url.as_deref());
                screen.success(&format!("Operation {number} is aborted; {serves}"));
                screen.finished(true, json!({"operation": number, "outcome": "aborted"}));
                return Ok(Exit::Done);
            }
            Err(Problem::AbortTooLate(number).into())
        }
        Came::Unchanged | Came::NothingHere => Err(Refusal::NothingInFlight.into()),
    }
}
