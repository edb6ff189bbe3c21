//! `onward maintenance on|off`: a page in front of the app.

use std::io::Read;
use std::path::Path;

use onward_core::engine::Ask;
use onward_core::model::{Maintenance, PAGE_BYTES_MAX};
use serde_json::json;

use crate::cli::args::MaintenanceVerb;
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::screen::Screen;

/// Puts the page up, or takes it away. The app runs on, and requests in flight finish.
pub fn run(context: &Context, verb: &MaintenanceVerb, screen: &Screen) -> Result<Exit, Complaint> {
    let wanted = match verb {
        MaintenanceVerb::On { page, retry_after } => Some(Maintenance {
            page: page.as_deref().map(read).transpose()?,
            retry_after_s: retry_after.as_secs().max(1),
        }),
        MaintenanceVerb::Off => None,
    };
    screen.note(&context.title());
    let interrupts = interrupt::watch();
    let is_on = wanted.is_some();
    match carry::submit(context, Ask::Maintenance(wanted), Terms::default(), screen, &interrupts)? {
        Came::Ended(document, number) => carry::conclude(context, &document, number, screen),
        Came::Unchanged => {
            let word = if is_on { "on" } else { "off" };
            screen.success(&format!("Nothing changed: maintenance is {word} already"));
            screen.finished(true, json!({"outcome": "unchanged"}));
            Ok(Exit::Done)
        }
        Came::NothingHere => Err(onward_core::engine::Refusal::NothingReleased.into()),
    }
}

/// Says that visitors don't see what was just done, when that is so.
pub fn remind(context: &Context, screen: &Screen) {
    let stored = context.look().ok().flatten();
    if stored.is_some_and(|stored| stored.document.demand.maintenance.is_some()) {
        screen.warn("maintenance is on: visitors see its page until `onward maintenance off`");
    }
}

fn read(path: &Path) -> Result<String, Complaint> {
    let failed = |source| complaint::system(path, source);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(PAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let refused = |what: &str| {
        let page = path.display();
        Complaint::new(Exit::Usage, format!("{page} cannot be the maintenance page: {what}"))
            .hint("give one HTML file that loads nothing else from the app, of at most 64 KiB")
    };
    if bytes.len() > PAGE_BYTES_MAX {
        return Err(refused("it is longer than 64 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8 text"))
}
