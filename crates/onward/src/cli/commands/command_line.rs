//! What is made from the definition of the command line: completions, manual pages, reference.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::args::Cli;
use crate::cli::complaint::{self, Complaint};
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> Result<Exit, Complaint> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "onward", &mut text);
    print(&text)
}

/// Writes one manual page for each verb, `onward.1`, `onward-up.1` …, into `directory`.
pub fn man(directory: &Path, screen: &Screen) -> Result<Exit, Complaint> {
    let system = |error| complaint::system(directory, error);
    std::fs::create_dir_all(directory).map_err(system)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(system)?;
    screen.success(&format!("The manual pages are in {}", directory.display()));
    screen.document(&json!({ "directory": directory }));
    Ok(Exit::Done)
}

/// Prints the reference of the command line as Markdown.
pub fn reference() -> Result<Exit, Complaint> {
    print(markdown(Cli::command()).as_bytes())
}

/// A reader that has seen enough, such as `head`, is no failure.
fn print(text: &[u8]) -> Result<Exit, Complaint> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(complaint::system(Path::new("standard output"), error))
        }
        _ => Ok(Exit::Done),
    }
}

fn markdown(mut command: Command) -> String {
    command.build();
    let mut text = String::from("## Every command takes\n\n");
    table(&mut text, command.get_arguments().filter(|argument| argument.is_global_set()));
    verbs(&mut text, &command, "onward");
    text
}

fn verbs(text: &mut String, command: &Command, path: &str) {
    for verb in command.get_subcommands() {
        if verb.is_hide_set() || verb.get_name() == "help" {
            continue;
        }
        let path = format!("{path} {}", verb.get_name());
        let usage = verb.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(text, "\n## `{path}`\n\n{about}.\n\n```console\n$ {usage}\n```\n");
        let own: Vec<_> = verb
            .get_arguments()
            .filter(|argument| !argument.is_global_set() && !argument.is_hide_set())
            .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
            .collect();
        if !own.is_empty() {
            text.push('\n');
            table(text, own.into_iter());
        }
        verbs(text, verb, &path);
    }
}

fn table<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    text.push_str("| argument | is | default |\n|---|---|---|\n");
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match argument.get_action().takes_values() {
            true => defaults.join(" "),
            false => String::new(),
        };
        let default = if default.is_empty() { default } else { format!("`{default}`") };
        let form = argument.to_string().replace('|', "\\|");
        let form = match (argument.get_short(), argument.get_long()) {
            (Some(short), Some(_)) => format!("-{short}, {form}"),
            _ => form,
        };
        let _ = writeln!(text, "| `{form}` | {} | {default} |", help.replace('|', "\\|"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_argument_is_in_the_reference() {
        let text = markdown(Cli::command());
        for part in ["## `onward up`", "## `onward state diff`", "`--label <V>`", "`-C <DIR>`"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("onward agent run"), "hidden commands stay hidden");
    }

    #[test]
    fn completions_know_the_verbs() {
        let mut text = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "onward", &mut text);
        let text = String::from_utf8(text).expect("a script is text");
        assert!(text.contains("rollback") && text.contains("--no-input"));
    }
}
