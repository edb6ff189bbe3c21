//! `state-document.md`: from the types that are stored.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;

use syn::{Fields, Item};

use super::MADE;
use super::code::{Types, attribute, cell, documentation, snake, type_text};

/// Types that a macro makes, which is not looked into: a word each.
const WORDS: [&str; 10] = [
    "AppName",
    "EnvironmentName",
    "Generation",
    "WriteId",
    "ReleaseNumber",
    "ServerName",
    "ProcessName",
    "OperationNumber",
    "RequestId",
    "Role",
];

pub(super) fn page() -> Result<String, String> {
    let types = Types::read(&[
        "crates/core/src/document.rs",
        "crates/core/src/document",
        "crates/core/src/https.rs",
        "crates/core/src/secrets.rs",
        "crates/core/src/traffic.rs",
        "crates/core/src/model",
    ])?;
    let mut text = format!(
        "# The state document\n\n{MADE}\n`onward state show` prints it, `onward state edit` changes \
         it; [the guide](../guide/the-state.md) says how. Fields that are marked *optional* may be \
         left out. Names, numbers and digests are text and numbers in JSON; times are UTC.\n"
    );
    let mut waiting = VecDeque::from(["Document".to_owned()]);
    let mut seen = BTreeSet::from(["Document".to_owned()]);
    while let Some(name) = waiting.pop_front() {
        let Some(item) = types.get(&name) else {
            if WORDS.contains(&name.as_str()) {
                continue;
            }
            return Err(format!("{name} is stored, and in no file that this page is made from"));
        };
        let mentioned = section(&mut text, &types, &name, item);
        for other in mentioned {
            if seen.insert(other.clone()) {
                waiting.push_back(other);
            }
        }
    }
    Ok(text)
}

/// Writes the section of one type, and returns the types that it mentions.
fn section(text: &mut String, types: &Types, name: &str, item: &Item) -> Vec<String> {
    let mut mentioned = Vec::new();
    match item {
        Item::Struct(own) if !is_word(own) => {
            let _ = write!(text, "\n## {name}\n\n{}\n\n", documentation(&own.attrs));
            fields(text, types, &own.fields, &mut mentioned);
        }
        Item::Enum(own) => {
            let _ = write!(text, "\n## {name}\n\n{}\n\n", documentation(&own.attrs));
            text.push_str("| value | with | is |\n|---|---|---|\n");
            for variant in &own.variants {
                let with: Vec<_> = variant
                    .fields
                    .iter()
                    .map(|field| {
                        let shown = shown(&type_text(&field.ty), types, &mut mentioned);
                        let is = documentation(&field.attrs);
                        match &field.ident {
                            Some(own) => format!("`{own}`: {shown}. {is}"),
                            None => shown,
                        }
                    })
                    .collect();
                let value = snake(&variant.ident.to_string());
                let is = documentation(&variant.attrs);
                let _ =
                    writeln!(text, "| `{value}` | {} | {} |", cell(&with.join("<br>")), cell(&is));
            }
        }
        _ => {}
    }
    mentioned
}

fn fields(text: &mut String, types: &Types, fields: &Fields, mentioned: &mut Vec<String>) {
    text.push_str("| field | type | is |\n|---|---|---|\n");
    for field in fields {
        let Some(name) = &field.ident else { continue };
        let serde = attribute(&field.attrs, "serde");
        let optional = if serde.contains("default") { " *optional.*" } else { "" };
        let shown = shown(&type_text(&field.ty), types, mentioned);
        let is = documentation(&field.attrs);
        let _ = writeln!(text, "| `{name}` | {} |{optional} {} |", cell(&shown), cell(&is));
    }
}

/// A struct without named fields is a word: a name, a number, a digest.
fn is_word(own: &syn::ItemStruct) -> bool {
    !matches!(own.fields, Fields::Named(_))
}

/// A type in words, with links to the sections of the page.
fn shown(text: &str, types: &Types, mentioned: &mut Vec<String>) -> String {
    if let Some(inner) = generic(text, "Option") {
        return format!("{} or null", shown(inner, types, mentioned));
    }
    for pointer in ["Arc", "Box"] {
        if let Some(inner) = generic(text, pointer) {
            return shown(inner, types, mentioned);
        }
    }
    for list in ["Vec", "BTreeSet"] {
        if let Some(inner) = generic(text, list) {
            return format!("list of {}", shown(inner, types, mentioned));
        }
    }
    if let Some((key, value)) = generic(text, "BTreeMap").and_then(|inner| inner.split_once(',')) {
        let key = shown(key, types, mentioned);
        return format!("object: {} by {key}", shown(value, types, mentioned));
    }
    if let Some(pair) = text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        let parts: Vec<_> = pair.split(',').map(|part| shown(part, types, mentioned)).collect();
        return format!("pair of {}", parts.join(" and "));
    }
    let has_section = match types.get(text) {
        Some(Item::Struct(own)) => !is_word(own),
        Some(Item::Enum(_)) => true,
        _ => false,
    };
    if has_section {
        mentioned.push(text.to_owned());
        return format!("[{text}](#{})", text.to_lowercase());
    }
    match text {
        "String" => "text".to_owned(),
        "bool" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "number".to_owned(),
        "Timestamp" => "time".to_owned(),
        other => {
            mentioned.push(other.to_owned());
            words(other)
        }
    }
}

/// `ReleaseNumber` as `release number`.
fn words(name: &str) -> String {
    snake(name).replace('_', " ")
}

fn generic<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.strip_prefix(name)?.strip_prefix('<')?.strip_suffix('>')
}
