//! What a route says besides where requests go: files, maintenance, limits.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest maintenance page, in bytes: it is part of the table, and kept in memory.
pub const MAX_PAGE: usize = 64 * 1024;
/// Longest time that clients are told to stay away, in seconds: a week.
pub const MAX_RETRY_AFTER_S: u64 = 7 * 24 * 3600;

/// A directory whose files the proxy answers with itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The directory. Its files never change while the route names it, so what was read once is
    /// kept.
    pub root: PathBuf,
    /// Names the content of the directory, such as the digest of a bundle: the same name never
    /// stands for other files.
    pub identity: String,
    /// What the file says about it.
    #[serde(flatten)]
    pub rules: SiteRules,
}

/// How the files of a site are offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRules {
    /// Pages that aren't there are answered with `/index.html`, which finds its way by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spa: bool,
    /// Directories whose files never change under their names, relative to the root, `/` between
    /// names: browsers keep them for a year without asking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immutable: Vec<String>,
}

/// The answer to everything while people work behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// A page of the user's own, as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// When it is worth trying again, in seconds.
    pub retry_after_s: u64,
}

impl Maintenance {
    pub(crate) fn validate(&self) -> Result<(), &'static str> {
        if self.page.as_ref().is_some_and(|page| page.len() > MAX_PAGE) {
            return Err("its maintenance page is longer than 64 KiB");
        }
        if self.retry_after_s > MAX_RETRY_AFTER_S {
            return Err("its maintenance lasts longer than a week");
        }
        Ok(())
    }
}

/// How the hosts of a route are reached with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Those who come without are sent there, as soon as there is a certificate for the name that
    /// they asked for.
    pub redirect: bool,
    /// Where clients find the socket for TLS.
    #[serde(default = "https_port", skip_serializing_if = "is_https_port")]
    pub port: u16,
    /// For how many seconds browsers shall come with TLS alone (`Strict-Transport-Security`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts_s: Option<u64>,
}

/// The port that addresses with `https://` leave out.
const HTTPS_PORT: u16 = 443;

fn https_port() -> u16 {
    HTTPS_PORT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_https_port(port: &u16) -> bool {
    *port == HTTPS_PORT
}

impl Default for Https {
    fn default() -> Self {
        Self { redirect: false, port: HTTPS_PORT, hsts_s: None }
    }
}

impl Https {
    /// An address with TLS; `target` begins with a slash.
    pub(crate) fn address(&self, host: &str, target: &str) -> String {
        match self.port {
            HTTPS_PORT => format!("https://{host}{target}"),
            port => format!("https://{host}:{port}{target}"),
        }
    }
}

/// What an authority asks for to see that a name leads here (RFC 8555, 8.3): answered on every host,
/// before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The last part of the path below `/.well-known/acme-challenge/`.
    pub token: String,
    /// The answer.
    pub answer: String,
}

impl Challenge {
    pub(crate) fn validate(&self) -> Result<(), &'static str> {
        let plain = |text: &str| {
            let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=MAX_CHALLENGE).contains(&text.len()) && text.bytes().all(taken)
        };
        if plain(&self.token) && plain(&self.answer) {
            return Ok(());
        }
        Err("a challenge is letters, digits, `-`, `_` and `.`, at most 512 of them")
    }
}

/// Longest token or answer of a challenge: they have about a hundred characters.
const MAX_CHALLENGE: usize = 512;

/// What the requests of one route may take, so that its neighbours go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limited {
    /// Longest request body, in bytes; then 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Requests at once; then 503 with `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
}

impl Limited {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
