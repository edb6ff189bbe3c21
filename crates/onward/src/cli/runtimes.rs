//! The runtimes of a project, for the commands that build and run it.

use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::interrupt::Interrupts;
use super::problem::Problem;
use super::screen::Screen;
use crate::runtimes::{self, InUse, NpmError, Onlooker, RuntimeError};
use onward_core::model::RuntimeSource;

/// The person at the screen.
struct Person<'a> {
    screen: &'a Screen,
    interrupts: &'a Interrupts,
}

impl Onlooker for Person<'_> {
    fn fetching(&self, what: &str) {
        self.screen.note(&format!("  fetching {what} from npm's registry"));
        self.screen.event(&json!({"event": "fetching", "what": what}));
    }

    fn wants_stop(&self) -> bool {
        self.interrupts.count() > 0
    }
}

/// Finds or fetches what the project pins, and tells it.
pub fn resolve(
    context: &Context,
    update: bool,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Vec<InUse>, Complaint> {
    let project = context.local.project();
    let person = Person { screen, interrupts };
    let all = runtimes::resolve(project, &context.resolved.runtimes, update, &person)?;
    for one in &all {
        let (wanted, file) = &one.wanted;
        let version = &one.runtime.version;
        let place = match &one.runtime.from {
            RuntimeSource::Stored(_) => "from npm's registry".to_owned(),
            RuntimeSource::System(directories) => format!("in {}", directories.join(", ")),
        };
        screen.note(&format!("  {} {version} {place} ({file} wants {wanted})", one.language));
        if one.language.is_needed_to_run() && context.ways().is_some() {
            screen.note(&format!(
                "  {} {version} is for what runs here; the servers run the {} that they have",
                one.language, one.language
            ));
        }
        screen.event(&json!({
            "event": "runtime",
            "language": one.language.as_str(),
            "version": version,
            "wanted": wanted,
            "file": file,
        }));
    }
    Ok(all)
}

impl From<RuntimeError> for Complaint {
    fn from(error: RuntimeError) -> Self {
        let exit = match &error {
            RuntimeError::NotFetched { source: NpmError::Stopped, .. } => {
                return Problem::Interrupted { during: Some("download of a runtime") }.into();
            }
            RuntimeError::NoVersion(_) | RuntimeError::Lock(_) => Exit::Usage,
            RuntimeError::Outdated { .. } => Exit::Refused,
            RuntimeError::NotHere(_) | RuntimeError::NotFetched { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string()).nothing_changed().hint(error.help())
    }
}
