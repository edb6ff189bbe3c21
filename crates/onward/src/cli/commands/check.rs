//! `onward check`: is the project file right?

use serde_json::json;

use crate::cli::args::Global;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::https;
use crate::cli::screen::Screen;
use crate::cli::templates;

/// Reads the project file and the wishes for the environment, without doing anything.
pub fn run(global: &Global, screen: &Screen) -> Result<Exit, Complaint> {
    let context = Context::load(global)?;
    if let Some(warnings) = &context.warnings
        && !screen.is_json()
    {
        screen.warn(&warnings.render(screen.colour()));
    }
    let names: Vec<_> =
        context.resolved.processes.iter().map(|process| process.name.as_str()).collect();
    templates::of_project(&context, screen)?;
    https::check(&context, screen)?;
    screen.success(&format!(
        "onward.toml is valid: {} with {} in {}",
        context.app(),
        names.join(", "),
        context.environment()
    ));
    let own = &context.resolved.runtimes;
    let runtimes = crate::runtimes::look(context.local.project(), own)?;
    for (pin, version) in &runtimes {
        let (language, wanted, file) = (pin.language, &pin.wanted, pin.file);
        screen.line(&match version {
            Some(version) => format!("  {language} {version} ({file} wants {wanted})"),
            None => format!("  {language} {wanted}, as {file} wants, is not on this machine"),
        });
    }
    let runtimes: Vec<_> = runtimes
        .iter()
        .map(|(pin, version)| {
            json!({
                "language": pin.language.as_str(),
                "wanted": pin.wanted,
                "file": pin.file,
                "version": version.map(|version| version.to_string()),
            })
        })
        .collect();
    screen.document(&json!({
        "runtimes": runtimes,
        "ok": true,
        "app": context.app(),
        "environment": context.environment(),
        "processes": names,
        "findings": context.warnings.as_ref().map(crate::project::Findings::to_json),
    }));
    Ok(Exit::Done)
}
