//! The runtimes of a project, for the commands that build and run it.

use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::screen::Screen;
use crate::runtimes::{self, InUse, RuntimeError};
use onward_core::model::RuntimeSource;

/// Finds or fetches what the project pins, and tells it.
pub fn resolve(context: &Context, update: bool, screen: &Screen) -> Result<Vec<InUse>, Complaint> {
    let project = context.local.project();
    let all = runtimes::resolve(project, &context.resolved.runtimes, update)?;
    for one in &all {
        let (wanted, file) = &one.wanted;
        let version = &one.runtime.version;
        let place = match &one.runtime.from {
            RuntimeSource::Stored(_) => "from npm's registry".to_owned(),
            RuntimeSource::System(directories) => format!("in {}", directories.join(", ")),
        };
        screen.note(&format!("  {} {version} {place} ({file} wants {wanted})", one.language));
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
            RuntimeError::NoVersion(_) | RuntimeError::Lock(_) => Exit::Usage,
            RuntimeError::Outdated { .. } => Exit::Refused,
            RuntimeError::NotHere(_) | RuntimeError::NotFetched { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string()).nothing_changed().hint(error.help())
    }
}
