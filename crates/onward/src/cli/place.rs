//! The commands in hints, so that they can be typed as they are: with the directory and the
//! environment that this command was given.

use std::path::Path;

use super::args::Global;

/// How a command in a text begins.
const COMMAND: &str = "`onward ";
/// The environment variable of `--home`: what is in it need not be repeated.
const HOME: &str = "ONWARD_HOME";

/// What was said of the place; empty when nothing was.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// `-C DIR --home DIR `.
    directories: String,
    /// `-e ENV `.
    environment: String,
}

impl Place {
    /// The place of a command.
    pub(super) fn of(global: &Global) -> Self {
        let mut directories = String::new();
        if global.directory != Path::new(".") {
            directories.push_str(&format!("-C {} ", quoted(&global.directory)));
        }
        let is_variable = |home: &Path| std::env::var_os(HOME).is_some_and(|own| own == *home);
        if let Some(home) = global.home.as_deref().filter(|home| !is_variable(home)) {
            directories.push_str(&format!("--home {} ", quoted(home)));
        }
        let environment = global.environment.as_ref();
        let environment = environment.map_or_else(String::new, |name| format!("-e {name} "));
        Self { directories, environment }
    }

    /// A text whose commands mean this place. What a command says itself stays.
    pub(super) fn repeated(&self, text: &str) -> String {
        let mut parts = text.split(COMMAND);
        let mut repeated = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let command = part.split('`').next().unwrap_or_default();
            let says = |flag: &str| command.split(' ').any(|word| word == flag);
            repeated.push_str(COMMAND);
            if !says("-C") {
                repeated.push_str(&self.directories);
            }
            if !says("-e") {
                repeated.push_str(&self.environment);
            }
            repeated.push_str(part);
        }
        repeated
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_say_where_unless_they_do_already() {
        let place = Place { directories: "-C 'my shop' ".into(), environment: "-e qa ".into() };
        for (text, expected) in [
            ("`onward up` again", "`onward -C 'my shop' -e qa up` again"),
            ("`onward up -e new --like qa`", "`onward -C 'my shop' up -e new --like qa`"),
            (
                "write -e; `onward up`, `git log`",
                "write -e; `onward -C 'my shop' -e qa up`, `git log`",
            ),
            ("onward, and nothing to type", "onward, and nothing to type"),
        ] {
            assert_eq!(place.repeated(text), expected);
            assert_eq!(Place::default().repeated(text), text);
        }
        assert_eq!(quoted(Path::new("../a/b-1")), "../a/b-1");
        assert_eq!(quoted(Path::new("it's")), "'it'\\''s'");
    }
}
