//! `[runtime]`: versions of languages that win over what the project's other files pin.

use std::collections::BTreeMap;

use super::diagnostic::{Code, Diagnostic};
use super::parse::shown;
use super::read::{Section, Sink};
use crate::runtimes::range::{Grammar, Range};

/// The languages that can be named.
const LANGUAGES: [&str; 4] = ["node", "python", "ruby", "go"];

/// What is wanted of each language that is named.
pub(super) fn read(root: &mut Section<'_>, sink: &mut Sink) -> BTreeMap<String, String> {
    let Some(mut section) = root.get("runtime").and_then(|item| item.table(sink)) else {
        return BTreeMap::new();
    };
    let mut wanted = BTreeMap::new();
    for language in LANGUAGES {
        let Some(text) = section.get(language).and_then(|item| item.text(sink)) else { continue };
        if Range::parse(text.text, Grammar::Npm).is_some() {
            wanted.insert(language.to_owned(), text.text.to_owned());
            continue;
        }
        let message = format!("`{}` cannot be \"{}\"", text.path, shown(text.text));
        let found =
            Diagnostic::error(Code::InvalidNumber, text.span.clone(), message, "no version");
        let help = "write the beginning of a version (`22`, `3.12`), a whole one, or a range such \
                    as `>=20 <23`";
        sink.push(found.help(help));
    }
    section.finish(sink);
    wanted
}
