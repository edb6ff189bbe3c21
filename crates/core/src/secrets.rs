//! Secrets as the document holds them: names, versions, and texts that only a key opens.
//!
//! Nothing here can open them. Their versions are numbers that only rise and say nothing about the
//! values; two equal values do not look equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::Document;
use crate::https::Https;
use crate::model::{Config, Digest};
use crate::order::OrderHttps;

/// The most secrets that an environment holds.
pub const SECRETS_MAX: usize = 200;
/// The longest value, in bytes: Linux passes one variable of at most 128 KiB, and a key with its
/// certificates has less than a quarter of this.
pub const VALUE_BYTES_MAX: usize = 32 << 10;
/// The longest sealed texts of all versions together, in bytes, so that the document and the orders
/// that carry them stay far below their limits.
pub const SEALED_BYTES_MAX: usize = 1 << 20;
/// The most people and machines that can read the secrets of an environment.
pub const OPERATORS_MAX: usize = 100;
/// The longest name of a secret, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// What the variables begin with that onward sets itself.
const RESERVED_PREFIX: &str = "ONWARD_";
/// What onward keeps itself among the secrets.
const TLS_KEY: &str = "ONWARD_TLS_KEY";
const ACME_ACCOUNT: &str = "ONWARD_ACME_ACCOUNT";

/// The name of a secret, which is that of an environment variable and of a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(String);

/// The text is not the name of a secret. It is not repeated: it may be a value that was typed in
/// the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretName {
    /// No variable is called so.
    #[error("use 1 to 128 letters, digits and `_`, not starting with a digit")]
    Shape,
    /// Onward gives this one.
    #[error("PORT and what begins with ONWARD_ are given by onward itself")]
    Reserved,
}

impl SecretName {
    /// Private keys of certificates.
    pub fn tls_key() -> Self {
        Self(TLS_KEY.to_owned())
    }

    /// Credentials of accounts at authorities.
    pub fn acme_account() -> Self {
        Self(ACME_ACCOUNT.to_owned())
    }

    /// Whether it names something of onward's own, which no process gets.
    pub fn is_of_onward(&self) -> bool {
        self.0 == TLS_KEY || self.0 == ACME_ACCOUNT
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(text: &str) -> Result<Self, InvalidSecretName> {
        let first = text.bytes().next();
        let legal = first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && text.len() <= NAME_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match legal {
            false => Err(InvalidSecretName::Shape),
            true if text == "PORT" || text.starts_with(RESERVED_PREFIX) => {
                Err(InvalidSecretName::Reserved)
            }
            true => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SecretName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let kept = Self(text);
        if kept.is_of_onward() {
            return Ok(kept);
        }
        kept.0.parse().map_err(serde::de::Error::custom)
    }
}

/// The public half of an age X25519 key, `age1…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(String);

/// The text has not the shape of a public key. It is not repeated: it may be a private one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a public key: `age1` and 58 lower-case letters and digits are expected")]
pub struct InvalidPublicKey;

impl PublicKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let legal = text.len() == 62
            && text.starts_with("age1")
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if legal { Ok(Self(text.to_owned())) } else { Err(InvalidPublicKey) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The number of one value of one secret. It only rises, over all secrets of an environment.
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SecretVersion(pub u64);

impl SecretVersion {
    /// In a configuration that was not recorded yet: whichever is the current one then.
    pub const CURRENT: Self = Self(0);

    /// The number that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A text that only a key opens, with the digest of that text: an edit of it is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Digest of `text`.
    pub digest: Digest,
    /// An age file in its text form.
    pub text: String,
}

impl Sealed {
    /// Takes a text that was sealed.
    pub fn new(text: String) -> Self {
        Self { digest: Digest::of(text.as_bytes()), text }
    }

    /// Whether the text is the one that was sealed.
    pub fn is_whole(&self) -> bool {
        self.digest == Digest::of(self.text.as_bytes())
    }
}

/// The secrets of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The key that all values are sealed to.
    pub key: EnvironmentKey,
    /// Who can open that key.
    pub operators: BTreeMap<PublicKey, Operator>,
    /// The highest version that was given.
    pub last_version: SecretVersion,
    /// The version of each secret that the next release gets.
    pub current: BTreeMap<SecretName, SecretVersion>,
    /// The values that are current, or that a release which can run was made with.
    pub versions: BTreeMap<SecretVersion, Value>,
}

/// The key of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentKey {
    /// Its public half: values are sealed to it.
    pub public: PublicKey,
    /// Its private half, sealed to the operators.
    pub sealed: Sealed,
    /// Who made it.
    pub by: String,
    /// When.
    pub made: Timestamp,
}

/// A person or a machine that can read the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// What people call it.
    pub name: String,
    /// Who let it in.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// One value of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// The secret.
    pub name: SecretName,
    /// The value, sealed to the key of the environment.
    pub sealed: Sealed,
    /// Who set it.
    pub by: String,
    /// When.
    pub set: Timestamp,
}

/// What a server gets of them: enough to start what it is ordered, and to recognise values in what
/// apps print. It needs the key of the environment, which is not in an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSecrets {
    /// The key that opens them.
    pub key: PublicKey,
    /// The values.
    pub versions: BTreeMap<SecretVersion, OrderValue>,
}

/// One sealed value in an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderValue {
    /// The secret.
    pub name: SecretName,
    /// The sealed text.
    pub sealed: String,
}

/// Why a value cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// There are [`SECRETS_MAX`] others.
    #[error("an environment holds at most {SECRETS_MAX} secrets")]
    Secrets,
    /// All together are longer than [`SEALED_BYTES_MAX`].
    #[error(
        "all secrets with the earlier versions that releases still need have more than \
         {} KiB when they are sealed", SEALED_BYTES_MAX >> 10
    )]
    Bytes,
}

impl Secrets {
    /// Gives a secret a new value.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing is changed then.
    pub fn set(
        &mut self,
        name: &SecretName,
        sealed: Sealed,
        by: &str,
        now: Timestamp,
    ) -> Result<SecretVersion, TooMuch> {
        if !self.current.contains_key(name) && self.current.len() >= SECRETS_MAX {
            return Err(TooMuch::Secrets);
        }
        let bytes: usize = self.versions.values().map(|value| value.sealed.text.len()).sum();
        if bytes + sealed.text.len() > SEALED_BYTES_MAX {
            return Err(TooMuch::Bytes);
        }
        let version = self.last_version.next();
        self.last_version = version;
        let value = Value { name: name.clone(), sealed, by: by.to_owned(), set: now };
        self.versions.insert(version, value);
        self.current.insert(name.clone(), version);
        Ok(version)
    }

    /// The current value of a secret with its version.
    pub fn current(&self, name: &SecretName) -> Option<(SecretVersion, &Value)> {
        let version = *self.current.get(name)?;
        Some((version, self.versions.get(&version)?))
    }

    /// Keeps a text of onward's own, which no process gets and no list shows.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing is changed then.
    pub fn keep(&mut self, value: Value) -> Result<SecretVersion, TooMuch> {
        let bytes: usize = self.versions.values().map(|own| own.sealed.text.len()).sum();
        if bytes + value.sealed.text.len() > SEALED_BYTES_MAX {
            return Err(TooMuch::Bytes);
        }
        self.last_version = self.last_version.next();
        self.versions.insert(self.last_version, value);
        Ok(self.last_version)
    }

    /// What a server gets: those of the app, and those of onward's own that it needs.
    pub(crate) fn for_servers(&self, https: Option<&OrderHttps>) -> OrderSecrets {
        let keys = https.into_iter().flat_map(|https| &https.certificates);
        let keys: BTreeSet<SecretVersion> = keys.map(|own| own.key).collect();
        let value = |(version, value): (&SecretVersion, &Value)| {
            let (name, sealed) = (value.name.clone(), value.sealed.text.clone());
            (*version, OrderValue { name, sealed })
        };
        OrderSecrets {
            key: self.key.public.clone(),
            versions: self
                .versions
                .iter()
                .filter(|(version, own)| !own.name.is_of_onward() || keys.contains(version))
                .map(value)
                .collect(),
        }
    }

    fn validate(&self) -> Result<(), String> {
        if self.operators.is_empty() {
            return Err("secrets.operators is empty: nobody could read the secrets".to_owned());
        }
        let damaged = |place: String| {
            format!("{place} is not the text that was sealed: sealed texts cannot be edited")
        };
        if !self.key.sealed.is_whole() {
            return Err(damaged("secrets.key.sealed".to_owned()));
        }
        for (version, value) in &self.versions {
            if !value.sealed.is_whole() {
                return Err(damaged(format!("secrets.versions.{version}.sealed")));
            }
            if *version > self.last_version {
                return Err(format!("secrets.versions.{version} is above secrets.last_version"));
            }
        }
        if let Some(name) = self.current.keys().find(|name| name.is_of_onward()) {
            return Err(format!("secrets.current.{name} is kept by onward for itself"));
        }
        for (name, version) in &self.current {
            match self.versions.get(version) {
                Some(value) if value.name == *name => {}
                Some(value) => {
                    return Err(format!(
                        "secrets.current.{name} is version {version}, which is of {}",
                        value.name
                    ));
                }
                None => {
                    return Err(format!(
                        "secrets.current.{name} is version {version}, which is not in \
                         secrets.versions"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Document {
    /// The configuration with the current version of each secret that it names without one.
    ///
    /// # Errors
    /// The names that have no value here.
    pub fn with_secret_versions(&self, config: &Config) -> Result<Config, BTreeSet<SecretName>> {
        let secrets = self.secrets.as_ref();
        let mut config = config.clone();
        let mut missing = BTreeSet::new();
        for (name, version) in &mut config.secrets {
            if *version != SecretVersion::CURRENT {
                continue;
            }
            match secrets.and_then(|secrets| secrets.current.get(name)) {
                Some(current) => *version = *current,
                None => drop(missing.insert(name.clone())),
            }
        }
        if missing.is_empty() { Ok(config) } else { Err(missing) }
    }

    /// Forgets the values that are not current and that no release was made with.
    pub fn forget_secret_versions(&mut self) {
        let Some(secrets) = &mut self.secrets else { return };
        let releases = self.releases.values();
        let mut needed: BTreeSet<SecretVersion> =
            releases.flat_map(|release| release.config.secrets.values().copied()).collect();
        needed.extend(secrets.current.values());
        needed.extend(self.https.iter().flat_map(Https::secret_versions));
        secrets.versions.retain(|version, _| needed.contains(version));
    }

    pub(crate) fn validate_secrets(&self) -> Result<(), String> {
        self.secrets.as_ref().map_or(Ok(()), Secrets::validate)?;
        let versions = self.secrets.as_ref().map(|secrets| &secrets.versions);
        for (number, release) in &self.releases {
            for (name, version) in &release.config.secrets {
                if name.is_of_onward() {
                    return Err(format!("releases.{number}.config.secrets.{name} is no app's"));
                }
                let value = versions.and_then(|versions| versions.get(version));
                if value.is_none_or(|value| value.name != *name) {
                    return Err(format!(
                        "releases.{number}.config.secrets.{name} is version {version}, which is \
                         not in secrets.versions"
                    ));
                }
            }
        }
        Ok(())
    }
}
