//! The private half of a key.

use std::fmt;
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use onward_core::secrets::PublicKey;

use crate::hidden::Secret;

/// The private half of an age X25519 key: of an operator, or of an environment.
///
/// It is not shown: `Debug` gives the public half.
#[derive(Clone)]
pub struct Identity {
    inner: age::x25519::Identity,
    public: PublicKey,
}

impl Identity {
    /// A new one, from the system's source of randomness.
    pub fn generate() -> Self {
        Self::of(age::x25519::Identity::generate())
    }

    fn of(inner: age::x25519::Identity) -> Self {
        let public = inner.to_public().to_string();
        let public = public.parse().expect("age writes its public keys in their own form");
        Self { inner, public }
    }

    /// Reads a private key, or the text of an `age-keygen` file with exactly one in it.
    ///
    /// # Errors
    /// [`NotAnIdentity`], which does not repeat the text.
    pub fn read(text: &str) -> Result<Self, NotAnIdentity> {
        let mut keys = Self::read_all(text)?;
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(key),
            _ => Err(NotAnIdentity),
        }
    }

    /// Reads every private key of a text: one a line, `#` begins a comment.
    ///
    /// # Errors
    /// [`NotAnIdentity`] when a line is none.
    pub fn read_all(text: &str) -> Result<Vec<Self>, NotAnIdentity> {
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line| age::x25519::Identity::from_str(line).map(Self::of);
        keys.map(|line| parse(line).map_err(|_| NotAnIdentity)).collect()
    }

    /// The public half, which others seal to.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private key as text, `AGE-SECRET-KEY-1…`.
    pub fn text(&self) -> Secret {
        Secret::from(self.inner.to_string().expose_secret())
    }

    pub(crate) fn inner(&self) -> &age::x25519::Identity {
        &self.inner
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// The text is not a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a private key: one line that begins with AGE-SECRET-KEY-1 is expected")]
pub struct NotAnIdentity;
