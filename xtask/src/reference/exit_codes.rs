//! `exit-codes.md`: from the type `Exit`.

use std::fmt::Write as _;

use quote::ToTokens;
use syn::{Expr, ImplItem, Item, Stmt};

use super::MADE;
use super::code::{documentation, parse};
use crate::steps::root;

const SOURCE: &str = "crates/onward/src/cli/exit.rs";

pub(super) fn page() -> Result<String, String> {
    let file = parse(&root().join(SOURCE))?;
    let meanings = file.items.iter().find_map(|item| match item {
        Item::Enum(own) if own.ident == "Exit" => Some(own.variants.iter()),
        _ => None,
    });
    let numbers = numbers(&file);
    let mut text = format!(
        "# Exit codes\n\n{MADE}\nA contract with scripts; the last line that a command prints says \
         the same in words.\n\n| code | meaning |\n|---|---|\n"
    );
    for variant in meanings.ok_or("there is no enum `Exit`")? {
        // A code that is somebody else's is told of below.
        if !variant.fields.is_empty() {
            continue;
        }
        let name = variant.ident.to_string();
        let number = numbers.iter().find(|(own, _)| *own == name);
        let (_, number) = number.ok_or(format!("`Exit::{name}` has no number"))?;
        let _ = writeln!(text, "| {number} | {} |", documentation(&variant.attrs));
    }
    text.push_str(
        "\n`onward exec`, `run` and `task` end with the code of the program that they ran, and with \
         128 + n when signal n ended it.\n",
    );
    Ok(text)
}

/// The arms of `Exit::code`.
fn numbers(file: &syn::File) -> Vec<(String, String)> {
    let mut numbers = Vec::new();
    let methods = file.items.iter().filter_map(|item| match item {
        Item::Impl(own) if own.trait_.is_none() => Some(&own.items),
        _ => None,
    });
    for method in methods.flatten() {
        let ImplItem::Fn(method) = method else { continue };
        let Some(Stmt::Expr(Expr::Match(arms), _)) = method.block.stmts.first() else { continue };
        for arm in &arms.arms {
            let name = arm.pat.to_token_stream().to_string().replace("Self :: ", "");
            numbers.push((name, arm.body.to_token_stream().to_string()));
        }
    }
    numbers
}
