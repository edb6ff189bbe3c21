//! `Dockerfile`: onward does not build images yet; what the file says to run is still worth knowing.

use std::path::Path;

use super::{CannotTell, Draft, Runs, text_of};

/// What the file says, as far as it matters here.
pub(super) struct Dockerfile {
    command: Option<String>,
}

/// Reads the `Dockerfile`, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Dockerfile>, CannotTell> {
    let Some(text) = text_of(&dir.join("Dockerfile"))? else { return Ok(None) };
    let (mut entry, mut command) = (None, None);
    for line in logical_lines(&text) {
        let Some((word, rest)) = line.trim().split_once(char::is_whitespace) else { continue };
        match word.to_ascii_uppercase().as_str() {
            // A later stage starts anew.
            "FROM" => (entry, command) = (None, None),
            "ENTRYPOINT" => entry = words(rest),
            "CMD" => command = words(rest),
            _ => {}
        }
    }
    let command = match (entry, command) {
        (Some(entry), Some(command)) => Some(format!("{entry} {command}")),
        (entry, command) => entry.or(command),
    };
    Ok(Some(Dockerfile { command }))
}

impl Dockerfile {
    /// Says that it is not used.
    pub(super) fn set_aside(&self, draft: &mut Draft) {
        draft.found(
            "Dockerfile: not used, because onward runs the program itself; images come later",
        );
    }

    /// Adds the process that the file would start, when nothing else says what runs.
    pub(super) fn describe(&self, draft: &mut Draft) -> Result<(), CannotTell> {
        let Some(command) = &self.command else {
            return Err(CannotTell::Unclear {
                why: "onward does not build images yet, and the Dockerfile has no CMD".to_owned(),
                help: "write a Procfile with the line `web: COMMAND` (the program listens on \
                       127.0.0.1:$PORT), and run `onward init` again"
                    .to_owned(),
            });
        };
        draft.found(format!("Dockerfile: it starts `{command}`"));
        draft.assume(format!("`{command}` runs here too, in the project's directory"));
        draft.caution(
            "onward does not build images yet: what the RUN lines of the Dockerfile install or \
             build has to be on this machine, or in `[build] run`",
        );
        draft.web(Runs::Command(command.clone()));
        Ok(())
    }
}

/// Lines, those that end in `\` together with the next one.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let last = lines.last_mut().expect("there is always one");
        match line.trim_end().strip_suffix('\\') {
            Some(part) => last.push_str(part),
            None => {
                last.push_str(line);
                lines.push(String::new());
            }
        }
    }
    lines
}

/// A command in either form: a JSON list of words, or a line for the shell.
fn words(rest: &str) -> Option<String> {
    let rest = rest.trim();
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) if words.is_empty() => None,
        Ok(words) => match words.as_slice() {
            [shell, flag, line] if shell.ends_with("sh") && flag == "-c" => Some(line.clone()),
            words => Some(words.iter().map(|word| in_quotes(word)).collect::<Vec<_>>().join(" ")),
        },
        Err(_) => (!rest.is_empty()).then(|| rest.to_owned()),
    }
}

fn in_quotes(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-/.:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_command_are_read() {
        assert_eq!(words(r#"["node", "my server.js"]"#).unwrap(), "node 'my server.js'");
        assert_eq!(words(r#"["sh", "-c", "a && b"]"#).unwrap(), "a && b");
        assert_eq!(words("gunicorn app:app").unwrap(), "gunicorn app:app");
        assert_eq!(words("[]"), None);
    }
}
