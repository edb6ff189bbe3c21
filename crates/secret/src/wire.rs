//! The one place where a private key is serialised: on its way to a server, over a connection that
//! nobody else reads. For `#[serde(with = "onward_secret::wire")]`.

use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

use crate::identity::Identity;

/// Writes the private key as text.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(identity: &Identity, to: S) -> Result<S::Ok, S::Error> {
    let text = identity.text();
    to.serialize_str(std::str::from_utf8(text.expose()).expect("a key is ASCII"))
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// When it is no private key; the text is not repeated.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Identity, D::Error> {
    let text = Zeroizing::new(String::deserialize(from)?);
    Identity::read(&text).map_err(serde::de::Error::custom)
}
