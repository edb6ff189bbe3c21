//! Names that people give: apps, environments, servers, processes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes. It fits a DNS label and a systemd unit name.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: use 1 to 63 lower-case letters, digits and `-`, starting with a letter \
     and not ending with `-`"
)]
pub struct InvalidName(pub String);

fn check(text: &str) -> Result<(), InvalidName> {
    let bytes = text.as_bytes();
    let legal = (1..=NAME_BYTES_MAX).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if legal { Ok(()) } else { Err(InvalidName(text.to_owned())) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// What the project deploys.
    AppName
);
name_type!(
    /// A named place to run the app.
    EnvironmentName
);
name_type!(
    /// One machine of an environment.
    ServerName
);
name_type!(
    /// One named long-running command of the app.
    ProcessName
);
name_type!(
    /// A label on a server.
    Role
);

impl ProcessName {
    /// The process that gets `PORT` and traffic.
    pub const WEB: &'static str = "web";

    /// Whether this process gets traffic.
    pub fn has_traffic(&self) -> bool {
        self.as_str() == Self::WEB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_pass() {
        for text in ["a", "shop", "web-2", "a1", &"x".repeat(63)] {
            assert_eq!(text.parse::<AppName>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "-a", "a-", "A", "1a", "a_b", "a b", "ä", "../a", &"x".repeat(64)] {
            assert!(text.parse::<AppName>().is_err(), "{text}");
        }
    }
}
