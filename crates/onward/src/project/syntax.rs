//! Syntax errors of the TOML reader as findings.

use toml::de::Error;

use super::diagnostic::{Code, Diagnostic, Span, place};

/// The findings for what the TOML reader reported.
pub(super) fn diagnostics(text: &str, errors: &[Error]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for error in errors {
        let span = inside(text, error.span().unwrap_or(0..0));
        let line = place(text, span.start).0;
        // The reader trips over the same mistake several times; the first says it best.
        if found.iter().any(|known| place(text, known.start()).0 == line) {
            continue;
        }
        found.push(diagnostic(text, span, error.message()));
    }
    found
}

fn diagnostic(text: &str, span: Span, message: &str) -> Diagnostic {
    if message == "duplicate key" {
        let key = text[span.clone()].trim_matches(['"', '\'']);
        let message = format!("`{}` is given twice", super::parse::shown(key));
        let found = Diagnostic::error(Code::DuplicateKey, span, message, "given again here");
        return found.help("keep one of the two; a table's header may stand only once");
    }
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let found = Diagnostic::error(
        Code::Syntax,
        span,
        format!("this is not TOML: {what}"),
        if expected.is_empty() { what.to_owned() } else { format!("expected {expected}") },
    );
    found.help("text values stand in quotes, tables in brackets: see https://toml.io")
}

/// Removes findings that a syntax error may have caused: on its own line, and about absence.
pub(super) fn drop_echoes(text: &str, broken: &[Diagnostic], found: &mut Vec<Diagnostic>) {
    let lines: Vec<usize> = broken
        .iter()
        .filter(|broken| broken.code == Code::Syntax)
        .map(|broken| place(text, broken.start()).0)
        .collect();
    if lines.is_empty() {
        return;
    }
    found
        .retain(|found| !found.code.is_absence() && !lines.contains(&place(text, found.start()).0));
}

/// The span, moved inside the text and to borders of characters.
fn inside(text: &str, span: Span) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.max(start));
    start..end
}
