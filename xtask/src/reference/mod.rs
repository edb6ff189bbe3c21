//! `cargo xtask docs`: the pages of `docs/reference` that are made from the source, so that they
//! say what the program does.

mod code;
mod command_line;
mod errors;
mod exit_codes;
mod links;
mod project_file;
mod state_document;

use std::process::ExitCode;

use crate::steps::root;

/// One page: its file below `docs/reference`, its text.
struct Page {
    file: &'static str,
    text: String,
}

const MADE: &str = "<!-- Made by `cargo xtask docs` from the source. Edit it there. -->\n";

/// Writes the pages; with `--check` only compares, and fails when one is stale.
pub fn run(arguments: &[String]) -> ExitCode {
    let check = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        _ => {
            eprintln!("usage: cargo xtask docs [--check]");
            return ExitCode::from(2);
        }
    };
    let result = if check { self::check() } else { pages().and_then(|pages| write(&pages)) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Fails when a page does not say what the source says, or a link leads nowhere.
pub fn check() -> Result<(), String> {
    println!("── the reference pages");
    compare(&pages()?)?;
    project_file::check()?;
    links::check()
}

fn pages() -> Result<Vec<Page>, String> {
    Ok(vec![
        Page { file: "command-line.md", text: command_line::page()? },
        Page { file: "exit-codes.md", text: exit_codes::page()? },
        Page { file: "errors.md", text: errors::page()? },
        Page { file: "state-document.md", text: state_document::page()? },
    ])
}

fn write(pages: &[Page]) -> Result<(), String> {
    for page in pages {
        let path = root().join("docs/reference").join(page.file);
        std::fs::write(&path, &page.text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        println!("docs/reference/{}", page.file);
    }
    Ok(())
}

fn compare(pages: &[Page]) -> Result<(), String> {
    let is_stale = |page: &&Page| {
        let path = root().join("docs/reference").join(page.file);
        std::fs::read_to_string(path).ok().as_deref() != Some(&page.text)
    };
    let stale: Vec<_> = pages.iter().filter(is_stale).map(|page| page.file).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!(
        "stale in docs/reference: {}; `cargo xtask docs` makes them anew",
        stale.join(", ")
    ))
}
