//! Names of accounts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The longest name of an account that Linux takes.
const BYTES_MAX: usize = 32;

/// The name of an account on a server. Those that systems and directories have already may hold more
/// than `useradd` would take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UserName(String);

/// Why a text is no name of an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of an account: use 1 to 32 letters, digits, `.`, `-` and `_`, starting with a \
     letter or `_`"
)]
pub struct InvalidUserName(pub String);

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account that may do everything.
    pub fn root() -> Self {
        Self("root".to_owned())
    }

    /// Whether `useradd` makes it everywhere: lower-case letters, digits, `-` and `_`.
    pub fn can_be_made(&self) -> bool {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        self.0.starts_with(|first: char| first.is_ascii_lowercase()) && self.0.chars().all(legal)
    }

    /// Whether it is the account that may do everything.
    pub fn is_root(&self) -> bool {
        self.0 == "root"
    }
}

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        let legal = text.len() <= BYTES_MAX
            && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if legal { Ok(Self(text.to_owned())) } else { Err(InvalidUserName(text.to_owned())) }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
