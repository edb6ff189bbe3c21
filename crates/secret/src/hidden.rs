//! The type of every plaintext.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that nobody shall see.
///
/// # Guarantees
/// They are wiped when this is dropped. Neither `Debug` nor `Display` shows them, and they cannot
/// be serialised: whoever hands them on writes [`Secret::expose`].
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Hides `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. They must not be copied to where they are not wiped, except for the process that
    /// they are for.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_show() {
        let secret = Secret::from("canary");
        let shown = format!("{secret} {secret:?} {secret:#?} {secret:>40}");
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(secret.expose(), b"canary");
    }
}
