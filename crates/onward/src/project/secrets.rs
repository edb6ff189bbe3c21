//! `[secrets]` and `[environment.NAME.secrets]`: which secrets the app needs. Never their values.

use std::collections::BTreeSet;

use onward_core::secrets::{SECRETS_MAX, SecretName};

use super::diagnostic::{Code, Diagnostic};
use super::parse::value_name;
use super::read::{Section, Sink, Text};

/// The names of a table `secrets`, for comparing them with the values.
pub(super) fn names<'t>(parent: &mut Section<'t>, sink: &mut Sink) -> Vec<Text<'t>> {
    let Some(item) = parent.get("secrets") else { return Vec::new() };
    if !item.is_table() {
        item.wrong::<()>(sink, "a table", "write `names = [\"SESSION_KEY\"]` below `[secrets]`");
        return Vec::new();
    }
    let Some(mut section) = item.table(sink) else { return Vec::new() };
    let names = section.get("names").and_then(|item| item.texts(sink)).unwrap_or_default();
    values_do_not_belong_here(&section, sink);
    section.finish(sink);
    if let Some(name) = names.get(SECRETS_MAX) {
        let message = format!("`{}` holds more than {SECRETS_MAX} names", name.path);
        let found =
            Diagnostic::error(Code::InvalidValue, name.span.clone(), message, "one too many");
        sink.push(found.help("put several values that belong together into one secret"));
    }
    names
}

/// A person who writes `KEY = "value"` here is about to commit a secret.
fn values_do_not_belong_here(section: &Section<'_>, sink: &mut Sink) {
    for item in section.entries() {
        if item.key == "names" || !item.key.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            continue;
        }
        let found = Diagnostic::error(
            Code::SecretIsValue,
            item.key_span.clone(),
            format!("`{}` would have its value in this file", item.key),
            "a secret with its value",
        );
        let help = format!(
            "name it, `names = [\"{0}\"]`, and give its value to `onward secret set {0}`; a value \
             that was committed must be changed",
            item.key
        );
        sink.push(found.help(help));
    }
}

/// The names as a set; reports one that cannot be, or is there twice.
pub(super) fn set(names: &[Text<'_>], sink: &mut Sink) -> BTreeSet<SecretName> {
    let mut set = BTreeSet::new();
    for name in names {
        let Some(legal) = value_name(name, sink) else { continue };
        // Longer than a secret's name may be, although a value could be called so.
        let Ok(secret) = legal.as_str().parse::<SecretName>() else {
            let message = format!("`{}` cannot be the name of a secret", name.path);
            let found =
                Diagnostic::error(Code::InvalidValue, name.span.clone(), message, "too long");
            sink.push(found.help("use at most 128 letters, digits and `_`"));
            continue;
        };
        if !set.insert(secret) {
            let found = Diagnostic::error(
                Code::Repeated,
                name.span.clone(),
                format!("`{legal}` is listed twice"),
                "listed again",
            );
            sink.push(found.help("remove one of the two"));
        }
    }
    set
}
