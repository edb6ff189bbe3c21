//! The programs that the project's commands begin with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::check::Check;
use crate::cli::context::Context;
use crate::project::Serves;

/// Words of the shell itself, which are no programs.
const SHELL_WORDS: [&str; 14] = [
    ".", ":", "[", "case", "cd", "eval", "exec", "exit", "export", "for", "if", "set", "test",
    "while",
];

/// Looks for the first program of each command.
pub fn checks(context: &Context) -> Option<Check> {
    let wanted = wanted(context);
    if wanted.is_empty() {
        return None;
    }
    let directory = context.local.project().to_owned();
    let missing: Vec<_> =
        wanted.iter().filter(|(program, _)| !is_found(program, &directory)).collect();
    let names: Vec<_> = wanted.keys().map(|program| format!("`{program}`")).collect();
    if missing.is_empty() {
        return Some(Check::fine("programs", format!("found {}", names.join(", "))));
    }
    let lost: Vec<_> =
        missing.iter().map(|(program, place)| format!("`{program}` of {place}")).collect();
    Some(Check::warning(
        "programs",
        format!("not found: {}", lost.join(", ")),
        "install what is missing, or correct PATH",
    ))
}

/// The first program of each command, with the place in the file that names it.
fn wanted(context: &Context) -> BTreeMap<String, String> {
    let project = &context.resolved;
    let mut commands = vec![
        ("[build] run".to_owned(), project.build.run.as_ref()),
        ("[build] test".to_owned(), project.build.test.as_ref()),
        ("[release] run".to_owned(), project.release.run.as_ref()),
        ("[release] check".to_owned(), project.release.check.as_ref()),
    ];
    for process in &project.processes {
        if let Serves::Command(command) = &process.serves {
            commands.push((format!("[process.{}] run", process.name), Some(command)));
        }
    }
    let mut wanted = BTreeMap::new();
    for (place, command) in commands {
        if let Some(program) = command.and_then(|command| first_program(command.as_str()))
            // A path into the project may be what the build makes.
            && !(program.contains('/') && project.build.run.is_some())
        {
            wanted.entry(program.to_owned()).or_insert(place);
        }
    }
    wanted
}

/// The program that a command line begins with; none when the shell has to work it out.
fn first_program(command: &str) -> Option<&str> {
    let is_setting = |word: &&str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    let mut words = command.split_whitespace().skip_while(is_setting);
    let mut word = words.next()?;
    if word == "exec" {
        word = words.next()?;
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/+".contains(&byte);
    let is_program = word.bytes().all(is_plain) && !SHELL_WORDS.contains(&word);
    is_program.then_some(word)
}

fn is_found(program: &str, directory: &Path) -> bool {
    if program.contains('/') {
        return directory.join(program).exists();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&paths).map(|path: PathBuf| path.join(program));
    candidates.any(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_program_is_seen_past_settings_and_exec() {
        assert_eq!(first_program("npm ci && npm run build"), Some("npm"));
        assert_eq!(first_program("NODE_ENV=production node server.js"), Some("node"));
        assert_eq!(first_program("exec ./bin/web --port $PORT"), Some("./bin/web"));
    }

    #[test]
    fn what_only_the_shell_can_tell_is_left_to_it() {
        for command in ["cd app && make", "$RUNNER start", "(a; b)", "if true; then a; fi", ""] {
            assert_eq!(first_program(command), None, "{command}");
        }
    }
}
