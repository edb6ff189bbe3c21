//! `[environment.NAME] store`: where the state is kept.

use onward_store::state::StoreUrl;

use super::diagnostic::{Code, Diagnostic, Span};
use super::read::{Item, Sink, Text};

/// The quotes around a text in one line.
const QUOTES: usize = 2;

/// The store that the file names.
pub(super) fn store(item: Option<Item<'_>>, sink: &mut Sink) -> Option<StoreUrl> {
    let text = item?.text(sink)?;
    let wrong = match text.text.parse::<StoreUrl>() {
        Ok(url) => return Some(url),
        Err(wrong) => wrong,
    };
    let (code, label) = match wrong.secret {
        true => (Code::SecretInUrl, "a secret, not shown here"),
        false => (Code::InvalidStore, "here"),
    };
    let message = format!("`{}` names no store: {}", text.path, wrong.what);
    let found = Diagnostic::error(code, place(&text, wrong.at), message, label);
    sink.push(found.help(wrong.help));
    None
}

/// Where the bytes `at` of a text are in the file. A text that is written with escapes is meant as
/// a whole.
fn place(text: &Text<'_>, at: Span) -> Span {
    let is_plain = text.span.len() == text.text.len() + QUOTES;
    if !is_plain || at.is_empty() {
        return text.span.clone();
    }
    let start = text.span.start + 1;
    start + at.start..start + at.end
}
