//! `onward init`: a first project file.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::args::Global;
use crate::cli::complaint::Complaint;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::project::init::{self, Proposal};
use crate::runtimes::{self, pins::Language};

/// Looks at the directory, writes `onward.toml`, says what it assumed. Never overwrites one.
pub fn run(global: &Global, screen: &Screen) -> Result<Exit, Complaint> {
    let mut proposal = init::detect(&global.directory)?;
    say_runtimes(global, &mut proposal)?;
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
    let secrets: String =
        proposal.secrets.iter().map(|name| format!("`onward secret set {name}`, ")).collect();
    screen.next(&format!("Next: {secrets}`onward up`"));
    screen.finished(
        true,
        json!({
            "file": path,
            "kind": proposal.kind.to_string(),
            "found": proposal.found,
            "assumptions": proposal.assumptions,
            "cautions": proposal.cautions,
            "secrets": proposal.secrets,
        }),
    );
    Ok(Exit::Done)
}

/// Adds what the project pins, and what this machine has of it.
fn say_runtimes(global: &Global, proposal: &mut Proposal) -> Result<(), Complaint> {
    for (pin, version) in runtimes::look(&global.directory, &BTreeMap::new())? {
        let (language, wanted, file) = (pin.language, &pin.wanted, pin.file);
        proposal.found.push(format!("{file}: {language} {wanted}"));
        if let Some(version) = version {
            proposal.assumptions.push(format!("{language} {version} builds and runs it"));
        } else if let Some(near) = runtimes::near(&pin) {
            proposal.pin(language.as_str(), &near, file);
            proposal.assumptions.push(format!(
                "this machine does not have {language} {wanted}: `[runtime]` takes {near}, which \
                 it has"
            ));
        } else if language == Language::Node {
            proposal.assumptions.push(format!("node {wanted} is fetched from npm's registry"));
        } else {
            proposal.cautions.push(format!(
                "this machine does not have {language} {wanted}, so `onward up` will refuse: \
                 `onward check` says more"
            ));
        }
    }
    Ok(())
}
