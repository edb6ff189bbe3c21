//! The small types of the project file: commands, paths, names of values, signals, durations.
//!
//! Each is made from text, and says in one sentence why a text is not one.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Why a text is not what it should be: what to say at its place, and what to type instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    /// Completes "… cannot be …:".
    pub(super) label: String,
    /// What to type.
    pub(super) help: Option<String>,
}

impl Why {
    pub(super) fn new(label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { label: label.into(), help: Some(help.into()) }
    }
}

/// A command line for `/bin/sh -c`. It is not blank and holds no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShellCommand(String);

/// The longest command line, in bytes: Linux passes one argument of at most 128 KiB.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;

impl ShellCommand {
    pub(super) fn new(text: &str) -> Result<Self, Why> {
        if text.trim().is_empty() {
            return Err(Why::new(
                "there is nothing to run",
                "write the command, or remove the line",
            ));
        }
        if text.contains('\0') {
            return Err(Why::new("holds a NUL character", "no command line can hold `\\u0000`"));
        }
        if text.len() > COMMAND_BYTES_MAX {
            return Err(Why::new("longer than 64 KiB", "put it into a script and run that"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text for `/bin/sh -c`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShellCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A path inside the project: relative, `/` between its parts, without `.` and `..` parts and
/// without a trailing `/`. The project itself is the empty path, shown as `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectPath(String);

/// Directories that belong to onward and git; no wish may point into them.
const RESERVED: [&str; 2] = [".onward", ".git"];

impl ProjectPath {
    /// Understands `text`, dropping `./` and double or trailing `/`.
    pub(super) fn new(text: &str) -> Result<Self, Why> {
        let inside = "give a path relative to the directory of onward.toml, inside it";
        if text.is_empty() {
            return Err(Why::new("is empty", inside));
        }
        if text.starts_with('/') {
            return Err(Why::new("is absolute", inside));
        }
        if text.starts_with('~') {
            return Err(Why::new("`~` is not expanded here", inside));
        }
        if text.chars().any(char::is_control) {
            return Err(Why::new("holds a control character", "rename the file"));
        }
        if text.contains('*') {
            return Err(Why::new(
                "patterns are not understood here",
                "give the directory: everything below it is meant",
            ));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(Why::new("goes up with `..`", inside));
        }
        if let Some(first) = parts.first().filter(|first| RESERVED.contains(first)) {
            let label = format!("`{first}` is not part of what is deployed");
            return Err(Why::new(label, "remove it, or name a directory of the app"));
        }
        Ok(Self(parts.join("/")))
    }

    /// Whether this is the project's own directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path below the project's directory; empty for the directory itself.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path as text, `.` for the project itself.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "." } else { &self.0 }
    }

    /// Whether `other` is this path or below it.
    pub fn contains(&self, other: &Self) -> bool {
        self.is_root()
            || self == other
            || other.0.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for ProjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The name of an environment variable: letters, digits and `_`, not starting with a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueName(String);

/// Prefix of the variables that onward sets for each process.
pub const RESERVED_PREFIX: &str = "ONWARD_";

impl ValueName {
    pub(super) fn new(text: &str) -> Result<Self, Why> {
        if is_value_name(text) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "use letters, digits and `_`, not starting with a digit";
        let help = match legal_value_name(text) {
            Some(name) => format!("{rule}; did you mean `{name}`?"),
            None => rule.to_owned(),
        };
        Err(Why::new("no environment variable has such a name", help))
    }

    /// Whether onward sets this variable itself.
    pub fn is_reserved(&self) -> bool {
        self.0 == "PORT" || self.0.starts_with(RESERVED_PREFIX)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn is_value_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The name that was probably meant: other characters as `_`, upper-case.
fn legal_value_name(text: &str) -> Option<String> {
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = name.trim_matches('_').to_ascii_uppercase();
    is_value_name(&name).then_some(name)
}

/// Signals that ask a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `SIGTERM`.
    Term,
    /// `SIGINT`.
    Int,
    /// `SIGQUIT`.
    Quit,
    /// `SIGHUP`.
    Hup,
    /// `SIGUSR1`.
    Usr1,
    /// `SIGUSR2`.
    Usr2,
    /// `SIGWINCH`: a graceful stop for Apache.
    Winch,
    /// `SIGKILL`: at once.
    Kill,
}

impl Signal {
    /// Every signal that the file may name.
    pub const ALL: [Self; 8] = [
        Self::Term,
        Self::Int,
        Self::Quit,
        Self::Hup,
        Self::Usr1,
        Self::Usr2,
        Self::Winch,
        Self::Kill,
    ];

    /// The name without `SIG`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Winch => "WINCH",
            Self::Kill => "KILL",
        }
    }

    /// The signal of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.as_str() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Understands `500ms`, `30s`, `10m`, `1h30m`, `7d`: whole numbers with units, largest first or
/// not, each unit once.
pub(super) fn duration(text: &str) -> Result<Duration, Why> {
    let help = "write a number with a unit: `500ms`, `30s`, `10m`, `1h30m`";
    let why = |label: &str| Why::new(label, help);
    let mut rest = text;
    let mut total: u64 = 0;
    let mut used: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(why(if rest.starts_with('-') {
                "is negative"
            } else {
                "is not a duration"
            }));
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() && tail.is_empty() {
            return Err(Why::new("has no unit", format!("did you mean `\"{text}s\"`?")));
        }
        let Some((unit, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(why("is not a duration"));
        };
        if used.contains(unit) {
            return Err(why(&format!("gives `{unit}` twice")));
        }
        used.push(unit);
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*millis));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| why("is too long"))?;
        rest = tail;
    }
    if used.is_empty() {
        return Err(why("is empty"));
    }
    Ok(Duration::from_millis(total))
}

/// A duration as the file would write it: `1h30m`, `500ms`, `0s`.
pub fn duration_text(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS.iter().rev() {
        if millis >= *size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
            ("1m500ms", 60_500),
        ] {
            let read = duration(text).expect(text);
            assert_eq!(read, Duration::from_millis(millis));
            assert_eq!(duration_text(read), text);
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "",
            "s",
            "10",
            "-1s",
            "1.5s",
            "1 s",
            "10S",
            "1s1s",
            "1w",
            "١s",
            "99999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_stay_inside_the_project() {
        for (text, path) in
            [("dist", "dist"), ("./a//b/", "a/b"), (".", "."), ("a/[id].js", "a/[id].js")]
        {
            assert_eq!(ProjectPath::new(text).expect(text).as_str(), path);
        }
        for text in ["", "/", "..", "a/../b", "~/x", "a\nb", ".onward", ".git/hooks", "dist/*"] {
            assert!(ProjectPath::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn containment_is_by_parts() {
        let path = |text| ProjectPath::new(text).expect(text);
        assert!(path("a").contains(&path("a/b")));
        assert!(path(".").contains(&path("a")));
        assert!(!path("a").contains(&path("ab")));
    }

    #[test]
    fn names_of_values_are_corrected() {
        let why = ValueName::new("log-level").expect_err("a dash");
        assert!(why.help.expect("a help").ends_with("did you mean `LOG_LEVEL`?"));
        assert!(ValueName::new("LOG_LEVEL").is_ok());
        let why = ValueName::new("1ST").expect_err("starts with a digit");
        assert!(!why.help.expect("a help").contains("did you mean"));
        assert!(ValueName::new("é").is_err());
    }
}
