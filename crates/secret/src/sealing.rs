//! Sealing to public keys, and opening.

use age::Decryptor;
use age::armor::{ArmoredReader, ArmoredWriter, Format};
use onward_core::secrets::{PublicKey, SecretName, SecretVersion};
use std::io::{Read, Write};
use std::str::FromStr;

use crate::hidden::Secret;
use crate::identity::{Identity, NotAnIdentity};

/// The longest sealed text that is opened, in bytes: far above the longest value.
const SEALED_BYTES_MAX: usize = 256 << 10;

/// Why something cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key has the right shape and is no point of the curve.
    #[error("{0} is not a public key: a letter of it is wrong")]
    NotAKey(PublicKey),
    /// There is nobody who could open it.
    #[error("there is no key to seal it to")]
    NoKey,
}

/// Why something cannot be opened. None of this repeats what was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed to other keys.
    #[error("it is sealed to another key")]
    OtherKey,
    /// It is not what was sealed.
    #[error("its sealed text is damaged")]
    Damaged,
    /// It is the value of another secret, or of another version.
    #[error("its sealed text is that of {0}")]
    Misplaced(String),
}

/// Whether others can seal to this key.
///
/// # Errors
/// [`SealError::NotAKey`] when a letter of it is wrong.
pub fn check_public(key: &PublicKey) -> Result<(), SealError> {
    recipient(key).map(drop)
}

fn recipient(key: &PublicKey) -> Result<age::x25519::Recipient, SealError> {
    age::x25519::Recipient::from_str(key.as_str()).map_err(|_| SealError::NotAKey(key.clone()))
}

fn seal<'a>(
    to: impl IntoIterator<Item = &'a PublicKey>,
    plain: &[u8],
) -> Result<String, SealError> {
    let keys: Vec<_> = to.into_iter().map(recipient).collect::<Result<_, _>>()?;
    let recipients = keys.iter().map(|key| key as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|_| SealError::NoKey)?;
    let write = || -> std::io::Result<Vec<u8>> {
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(plain)?;
        writer.finish()?.finish()
    };
    let bytes = write().expect("writing to memory does not fail");
    Ok(String::from_utf8(bytes).expect("armor is ASCII"))
}

/// Opens what was sealed to the key.
///
/// # Errors
/// [`OpenError`].
pub fn open(with: &Identity, sealed: &str) -> Result<Secret, OpenError> {
    if sealed.len() > SEALED_BYTES_MAX {
        return Err(OpenError::Damaged);
    }
    let decryptor =
        Decryptor::new(ArmoredReader::new(sealed.as_bytes())).map_err(|_| OpenError::Damaged)?;
    let identity = std::iter::once(with.inner() as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identity).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => OpenError::OtherKey,
        _ => OpenError::Damaged,
    })?;
    // Reserved at once: a vector that grows leaves copies behind that are not wiped.
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut plain).map_err(|_| OpenError::Damaged)?;
    Ok(Secret::new(plain.to_vec()))
}

/// Seals a value. The name and the version are sealed with it, so that one value cannot be put in
/// the place of another.
///
/// # Errors
/// [`SealError`].
pub fn seal_value(
    to: &PublicKey,
    name: &SecretName,
    version: SecretVersion,
    value: &Secret,
) -> Result<String, SealError> {
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(value.len() + 128));
    plain.extend_from_slice(heading(name, version).as_bytes());
    plain.extend_from_slice(value.expose());
    seal([to], &plain)
}

/// Opens what [`seal_value`] sealed.
///
/// # Errors
/// [`OpenError`]; [`OpenError::Misplaced`] when it is not this version of this secret.
pub fn open_value(
    with: &Identity,
    name: &SecretName,
    version: SecretVersion,
    sealed: &str,
) -> Result<Secret, OpenError> {
    let plain = open(with, sealed)?;
    let expected = heading(name, version);
    if let Some(value) = plain.expose().strip_prefix(expected.as_bytes()) {
        return Ok(Secret::new(value.to_vec()));
    }
    let first = plain.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    match std::str::from_utf8(first).ok().and_then(|line| line.strip_prefix(HEADING)) {
        Some(other) => Err(OpenError::Misplaced(other.to_owned())),
        None => Err(OpenError::Damaged),
    }
}

/// What the first line of a sealed value begins with.
const HEADING: &str = "onward secret ";

fn heading(name: &SecretName, version: SecretVersion) -> String {
    format!("{HEADING}{name} version {version}\n")
}

/// Seals the private key of an environment to its operators.
///
/// # Errors
/// [`SealError`].
pub fn seal_identity<'a>(
    to: impl IntoIterator<Item = &'a PublicKey>,
    identity: &Identity,
) -> Result<String, SealError> {
    seal(to, identity.text().expose())
}

/// Opens what [`seal_identity`] sealed.
///
/// # Errors
/// [`OpenError`].
pub fn open_identity(with: &Identity, sealed: &str) -> Result<Identity, OpenError> {
    let plain = open(with, sealed)?;
    let text = std::str::from_utf8(plain.expose()).map_err(|_| OpenError::Damaged)?;
    Identity::read(text).map_err(|NotAnIdentity| OpenError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_key_that_it_was_sealed_to_opens_a_value() {
        let (own, other) = (Identity::generate(), Identity::generate());
        let (key, one) = (name("KEY"), SecretVersion(1));
        let sealed = seal_value(own.public(), &key, one, &Secret::from("canary")).unwrap();
        assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
        assert_eq!(open_value(&own, &key, one, &sealed).unwrap().expose(), b"canary");
        assert_eq!(open_value(&other, &key, one, &sealed).unwrap_err(), OpenError::OtherKey);
        let again = seal_value(own.public(), &key, one, &Secret::from("canary")).unwrap();
        assert_ne!(sealed, again, "equal values do not look equal");
    }

    #[test]
    fn a_value_in_the_place_of_another_is_found_out() {
        let own = Identity::generate();
        let sealed =
            seal_value(own.public(), &name("A"), SecretVersion(3), &Secret::from("canary"))
                .unwrap();
        let misplaced = || Err(OpenError::Misplaced("A version 3".to_owned()));
        assert_eq!(open_value(&own, &name("B"), SecretVersion(3), &sealed).map(drop), misplaced());
        assert_eq!(open_value(&own, &name("A"), SecretVersion(4), &sealed).map(drop), misplaced());
    }

    #[test]
    fn every_changed_byte_is_found_out() {
        let own = Identity::generate();
        let (key, one) = (name("KEY"), SecretVersion(1));
        let sealed = seal_value(own.public(), &key, one, &Secret::from("canary")).unwrap();
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(open_value(&own, &key, one, &changed).is_err(), "byte {at}");
        }
        assert!(open_value(&own, &key, one, &sealed[..sealed.len() / 2]).is_err());
    }

    #[test]
    fn an_environment_key_is_sealed_to_several_people() {
        let (ana, ben, eve) = (Identity::generate(), Identity::generate(), Identity::generate());
        let environment = Identity::generate();
        let sealed = seal_identity([ana.public(), ben.public()], &environment).unwrap();
        for person in [&ana, &ben] {
            assert_eq!(open_identity(person, &sealed).unwrap(), environment);
        }
        assert_eq!(open_identity(&eve, &sealed), Err(OpenError::OtherKey));
        assert_eq!(seal_identity([], &environment), Err(SealError::NoKey));
    }

    #[test]
    fn a_misspelt_public_key_is_found_out() {
        let public = Identity::generate().public().to_string();
        let last = if public.ends_with('q') { "p" } else { "q" };
        let wrong: PublicKey = format!("{}{last}", &public[..public.len() - 1]).parse().unwrap();
        assert_eq!(check_public(&wrong), Err(SealError::NotAKey(wrong)));
    }
}
