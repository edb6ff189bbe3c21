//! `onward secret rm`: the next release does without.

use std::ffi::OsString;

use serde_json::json;

use super::{get, names};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::cli::secrets;
use crate::runner::Write;

/// Takes secrets away. Values that a release was made with stay until the release is forgotten, so
/// that it can still be gone back to.
pub(super) fn run(
    context: &Context,
    given: &[OsString],
    screen: &Screen,
) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let mut names = Vec::new();
    for (at, text) in given.iter().enumerate() {
        names.push(names::one(text, at + 1)?);
    }
    let ((), written) = secrets::change(context, |document| {
        for name in &names {
            let known = document.secrets.as_mut();
            let removed = known.and_then(|known| known.current.remove(name));
            removed.ok_or_else(|| get::unknown(context, name.clone()))?;
        }
        Ok(((), Write::Yes))
    })?;
    for name in &names {
        screen.success(&format!("{name} is taken away"));
        if context.resolved.secrets.contains(name) {
            screen.warn(&format!(
                "onward.toml names {name}: the next deploy is refused until it is set again or no \
                 longer named"
            ));
        }
    }
    let releases = written.iter().flat_map(|document| document.releases.values());
    let using: Vec<_> = releases
        .filter(|release| names.iter().any(|name| release.config.secrets.contains_key(name)))
        .map(|release| release.number)
        .collect();
    if !using.is_empty() {
        let list = using.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        screen.note(&format!("  kept for what was released with it: release {list}"));
    }
    let generation = written.map(|document| document.generation);
    screen.finished(
        true,
        json!({"removed": names, "kept_for_releases": using, "generation": generation}),
    );
    Ok(Exit::Done)
}
