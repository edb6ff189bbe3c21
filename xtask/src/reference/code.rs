//! What the pages take from Rust source: types, their documentation, their serde names.

use std::collections::BTreeMap;
use std::path::Path;

use quote::ToTokens;
use syn::{Attribute, Expr, Item, Lit, Meta, Type};

use crate::steps::root;

/// The structs and enums of some source files, by name.
#[derive(Default)]
pub struct Types {
    all: BTreeMap<String, Item>,
}

impl Types {
    /// Reads the files, or all files of directories, below the root of the workspace.
    pub fn read(places: &[&str]) -> Result<Self, String> {
        let mut types = Self::default();
        for place in places {
            for path in rust_files(&root().join(place))? {
                for item in parse(&path)?.items {
                    let name = match &item {
                        Item::Struct(own) => own.ident.to_string(),
                        Item::Enum(own) => own.ident.to_string(),
                        _ => continue,
                    };
                    types.all.insert(name, item);
                }
            }
        }
        Ok(types)
    }

    /// The type of this name.
    pub fn get(&self, name: &str) -> Option<&Item> {
        self.all.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Item)> {
        self.all.iter()
    }
}

fn rust_files(place: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let broken = |error| format!("{}: {error}", place.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// One source file, parsed.
pub fn parse(path: &Path) -> Result<syn::File, String> {
    let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| broken(&error))?;
    syn::parse_file(&text).map_err(|error| broken(&error))
}

/// The documentation of an item, as one paragraph.
pub fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|a| a.path().is_ident("doc")).filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(literal) = &pair.value else { return None };
        let Lit::Str(text) = &literal.lit else { return None };
        Some(text.value().trim().to_owned())
    });
    let first: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    without_links(&first.join(" "))
}

/// Rustdoc's links lead nowhere on a page: ``[`X`]`` and ``[`X::y`](…)`` become `` `X` ``.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("[`") {
        plain.push_str(&rest[..at]);
        let Some(end) = rest[at..].find("`]") else { break };
        plain.push_str(&rest[at + 1..=at + end]);
        rest = &rest[at + end + 2..];
        if let Some(after) = rest.strip_prefix('(') {
            rest = after.split_once(')').map_or(after, |(_, tail)| tail);
        }
    }
    plain.push_str(rest);
    plain
}

/// What stands in the brackets of all `#[name(…)]` of an item, as text without spaces.
pub fn attribute(attributes: &[Attribute], name: &str) -> String {
    let own = attributes.iter().filter(|attribute| attribute.path().is_ident(name));
    own.filter_map(|attribute| match &attribute.meta {
        Meta::List(list) => Some(list.tokens.to_string()),
        _ => None,
    })
    .collect::<Vec<_>>()
    .join(",")
}

/// A type as text without spaces.
pub fn type_text(own: &Type) -> String {
    own.to_token_stream().to_string().replace(' ', "")
}

/// `CamelCase` as `snake_case`.
pub fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// Text for a cell of a table.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
