//! `[shared]`: what survives releases.

use super::diagnostic::{Code, Diagnostic, Span};
use super::parse::paths;
use super::read::{Section, Sink};
use super::words::ProjectPath;

/// A path and where it stands.
type Placed = (ProjectPath, Span);

/// Directories and files.
pub(super) fn read(
    root: &mut Section<'_>,
    sink: &mut Sink,
) -> (Vec<ProjectPath>, Vec<ProjectPath>) {
    let Some(mut section) = root.get("shared").and_then(|item| item.table(sink)) else {
        return (Vec::new(), Vec::new());
    };
    let dirs = section.get("dirs").and_then(|item| item.texts(sink)).unwrap_or_default();
    let files = section.get("files").and_then(|item| item.texts(sink)).unwrap_or_default();
    section.finish(sink);
    let (dirs, files) = (paths(&dirs, sink), paths(&files, sink));
    let all: Vec<&Placed> = dirs.iter().chain(&files).collect();
    for (i, later) in all.iter().enumerate() {
        for earlier in &all[..i] {
            apart(earlier, later, i >= dirs.len(), sink);
        }
    }
    let only = |placed: Vec<Placed>| placed.into_iter().map(|(path, _)| path).collect();
    (only(dirs), only(files))
}

/// Reports a path that lies in another one.
fn apart((earlier, first): &Placed, (later, span): &Placed, is_file: bool, sink: &mut Sink) {
    let (outer, inner) = if earlier.contains(later) { (earlier, later) } else { (later, earlier) };
    if !outer.contains(inner) {
        return;
    }
    let what =
        if is_file { "this is inside the other" } else { "one shared directory inside the other" };
    let message = format!("`{outer}` already contains `{inner}`");
    let found = Diagnostic::error(Code::Conflict, span.clone(), message, what);
    let help = format!("share `{outer}` alone: everything below it is kept");
    sink.push(found.also(first.clone(), "the other").help(help));
}
