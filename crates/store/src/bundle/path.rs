//! Paths inside a bundle.

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;

use super::fault::Fault;
use super::limits::{MAX_DEPTH, MAX_NAME, MAX_PATH};

/// A relative path of a bundle: UTF-8, `/` between components, no `.` or `..`, no control characters, within
/// [`super::limits`]. Backslashes and anything else that Linux allows in a name are ordinary characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(Box<str>);

impl BundlePath {
    /// Reads a path as archives and people write it: a leading `./`, doubled and trailing slashes are dropped.
    ///
    /// # Errors
    /// The [`Fault`] of the name; [`Fault::EmptyName`] also for `.` and `./`, the root itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?;
        if text.starts_with('/') {
            return Err(Fault::Absolute);
        }
        if text.chars().any(char::is_control) {
            return Err(Fault::Control);
        }
        let mut clean = String::with_capacity(text.len());
        let mut depth = 0;
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                return Err(Fault::Parent);
            }
            if part.len() > MAX_NAME {
                return Err(Fault::NameTooLong(part.len()));
            }
            if depth > 0 {
                clean.push('/');
            }
            clean.push_str(part);
            depth += 1;
        }
        match (depth, clean.len()) {
            (0, _) => Err(Fault::EmptyName),
            (_, len) if len > MAX_PATH => Err(Fault::PathTooLong(len)),
            (depth, _) if depth > MAX_DEPTH => Err(Fault::TooDeep(depth)),
            _ => Ok(Self(clean.into())),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it lies in; `None` at the top.
    pub fn parent(&self) -> Option<&str> {
        parent(&self.0)
    }
}

/// The directory that a clean path lies in; `None` at the top.
pub(crate) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<Path> for BundlePath {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl Borrow<str> for BundlePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_what_is_legal() {
        for (given, clean) in
            [("./a//b/", "a/b"), ("a\\b", "a\\b"), ("...", "..."), ("é/ü", "é/ü"), ("C:", "C:")]
        {
            assert_eq!(BundlePath::parse(given.as_bytes()).unwrap().as_str(), clean);
        }
    }

    #[test]
    fn refuses_what_is_not() {
        let deep = ["d"; 33].join("/");
        let long = "n".repeat(256);
        for (given, fault) in [
            (&b""[..], Fault::EmptyName),
            (b"./", Fault::EmptyName),
            (b"/etc", Fault::Absolute),
            (b"a/../b", Fault::Parent),
            (b"a\nb", Fault::Control),
            (b"a\xff", Fault::NotUtf8),
            (deep.as_bytes(), Fault::TooDeep(33)),
            (long.as_bytes(), Fault::NameTooLong(256)),
        ] {
            assert_eq!(BundlePath::parse(given), Err(fault));
        }
    }
}
