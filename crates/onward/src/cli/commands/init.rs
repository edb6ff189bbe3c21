//! `onward init`: a first project file.

use serde_json::json;

use crate::cli::args::Global;
use crate::cli::complaint::Complaint;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::project::init;

/// Looks at the directory, writes `onward.toml`, says what it assumed. Never overwrites one.
pub fn run(global: &Global, screen: &Screen) -> Result<Exit, Complaint> {
    let proposal = init::detect(&global.directory)?;
    let path = init::write(&global.directory, &proposal)?;
    let path = path.strip_prefix(".").unwrap_or(&path).display().to_string();
    screen.success(&format!("Wrote {path}"));
    for (word, sentences) in [
        ("found", &proposal.found),
        ("assumed", &proposal.assumptions),
        ("look at this", &proposal.cautions),
    ] {
        for sentence in sentences {
            screen.line(&format!("  {word}: {sentence}"));
        }
    }
    screen.line("Next: `onward up`");
    screen.finished(
        true,
        json!({
            "file": path,
            "kind": proposal.kind.to_string(),
            "found": proposal.found,
            "assumptions": proposal.assumptions,
            "cautions": proposal.cautions,
        }),
    );
    Ok(Exit::Done)
}
