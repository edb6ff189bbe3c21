//! `errors.md`: every message that onward has, from the types of errors.

use std::fmt::Write as _;

use syn::{Fields, Item};

use super::MADE;
use super::code::{Types, attribute, cell, documentation, snake};

/// Titles, and where the messages are.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Commands", &["crates/onward/src"]),
    ("Requests that are refused", &["crates/core/src/engine"]),
    (
        "State",
        &[
            "crates/core/src/ports.rs",
            "crates/core/src/document.rs",
            "crates/core/src/document",
            "crates/store/src/state",
        ],
    ),
    ("Bundles", &["crates/store/src/bundle"]),
    ("Servers", &["crates/server/src"]),
    ("The proxy", &["crates/proxy/src"]),
];

pub(super) fn page() -> Result<String, String> {
    let mut text = format!(
        "# Errors\n\n{MADE}\nAn error says what failed, what else is known, the last lines that \
         something printed, what to type next, and on its last line what serves now. Names in braces \
         stand for what it is about.\n"
    );
    findings(&mut text)?;
    for (title, places) in GROUPS {
        let mut messages = messages(&Types::read(places)?);
        messages.sort();
        messages.dedup();
        if messages.is_empty() {
            continue;
        }
        let _ = write!(text, "\n## {title}\n\n| message | when |\n|---|---|\n");
        for (message, when) in messages {
            let _ = writeln!(text, "| {} | {} |", cell(&message), cell(&when));
        }
    }
    Ok(text)
}

/// The codes of findings in the project file, which scripts may rely on.
fn findings(text: &mut String) -> Result<(), String> {
    let types = Types::read(&["crates/onward/src/project/diagnostic.rs"])?;
    let Some(Item::Enum(codes)) = types.get("Code") else { return Err("no enum `Code`".into()) };
    text.push_str(
        "\n## Findings in the project file\n\nEach has its line and column, and what to type \
         instead; `onward check --json` has the code.\n\n| code | is |\n|---|---|\n",
    );
    for variant in &codes.variants {
        let code = snake(&variant.ident.to_string()).replace('_', "-");
        let _ = writeln!(text, "| `{code}` | {} |", cell(&documentation(&variant.attrs)));
    }
    Ok(())
}

/// The `#[error("…")]` texts with the documentation of what they are on.
fn messages(types: &Types) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (_, item) in types.iter() {
        match item {
            Item::Struct(own) => found.extend(message(&own.attrs)),
            Item::Enum(own) => {
                for variant in &own.variants {
                    let is_wrapper = matches!(&variant.fields, Fields::Unnamed(_))
                        && attribute(&variant.attrs, "error").trim() == "transparent";
                    if !is_wrapper {
                        found.extend(message(&variant.attrs));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn message(attributes: &[syn::Attribute]) -> Option<(String, String)> {
    let error = attributes.iter().find(|attribute| attribute.path().is_ident("error"))?;
    let syn::Meta::List(list) = &error.meta else { return None };
    let first = list.tokens.clone().into_iter().next()?;
    let text: syn::LitStr = syn::parse2(first.into()).ok()?;
    let text = text.value();
    // A message that only repeats what it wraps says nothing here.
    let says = text.chars().any(char::is_whitespace);
    says.then(|| (placeholders(&text), documentation(attributes)))
}

/// `{}` and `{path:?}` become names in braces that a reader can understand.
fn placeholders(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        plain.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else { break };
        let inside = rest[at + 1..at + end].split(':').next().unwrap_or_default();
        let name = inside.rsplit('.').next().unwrap_or_default();
        let named = !name.is_empty() && !name.chars().all(|letter| letter.is_ascii_digit());
        plain.push_str(&if named { format!("{{{name}}}") } else { "{…}".to_owned() });
        rest = &rest[at + end + 1..];
    }
    plain.push_str(rest);
    plain
}
