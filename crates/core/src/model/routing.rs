//! How the requests of an environment come to it, besides which processes answer them.

use serde::{Deserialize, Serialize};

use super::Digest;

/// Longest maintenance page, in bytes: it is part of the state document and of each order.
pub const PAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest time that clients are told to stay away, in seconds: a week.
pub const RETRY_AFTER_S_MAX: u64 = 7 * 24 * 3600;

/// What the project file says about the requests of an environment. It belongs to a release, so that
/// it changes and goes back with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Host names that it answers to; the first is the canonical one. Empty: any host that no other
    /// environment on the server names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Host names whose requests are sent to the canonical one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Only this path and what is below it, without a slash at the end; empty for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The app sees the path as it is; otherwise without what it is mounted below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_path: bool,
    /// Each request gets a line in the access log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub access_log: bool,
    /// Where the proxy tells what it counts, an address of the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Longest body of a request, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// How its names are reached with TLS; none: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsRules>,
    /// How the files of a static site are offered.
    #[serde(default, skip_serializing_if = "SiteRules::is_default")]
    pub site: SiteRules,
}

impl Routing {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What only one environment of a server can have: each of its names with its path.
    pub fn claims(&self) -> impl Iterator<Item = String> + '_ {
        let all = self.hosts.iter().chain(&self.aliases);
        all.map(|host| format!("{}{}", host.to_ascii_lowercase(), self.path))
    }

    /// What both claim.
    pub fn conflict(&self, other: &Self) -> Option<String> {
        self.claims().find(|own| other.claims().any(|theirs| theirs == *own))
    }
}

/// How the names of an environment are reached with TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpsRules {
    /// Those who come without TLS are served too, instead of being sent there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_too: bool,
    /// For how many seconds browsers shall come with TLS alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts_s: Option<u64>,
}

/// How the files of a static site are offered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRules {
    /// Pages that are not there are answered with `index.html`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spa: bool,
    /// Directories, relative to the site, whose files never change under their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immutable: Vec<String>,
}

impl SiteRules {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What visitors see while people work behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// A page of the user's own, as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// When it is worth trying again, in seconds.
    pub retry_after_s: u64,
}

impl Maintenance {
    /// Tells one from another, without its page.
    pub fn mark(&self) -> Digest {
        let text = format!("{} {:?}", self.retry_after_s, self.page);
        Digest::of(text.as_bytes())
    }

    /// What is wrong with it, for the person who wrote it.
    pub fn validate(&self) -> Result<(), String> {
        if self.page.as_ref().is_some_and(|page| page.len() > PAGE_BYTES_MAX) {
            return Err("the maintenance page is longer than 64 KiB".to_owned());
        }
        if self.retry_after_s > RETRY_AFTER_S_MAX {
            return Err("maintenance cannot announce more than a week".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_meet_only_at_the_same_host_and_path() {
        let of = |host: &str, path: &str| Routing {
            hosts: vec![host.to_owned()],
            path: path.to_owned(),
            ..Routing::default()
        };
        let shop = of("Shop.example", "/a");
        assert_eq!(shop.conflict(&of("shop.example", "/a")), Some("shop.example/a".to_owned()));
        assert_eq!(shop.conflict(&of("shop.example", "")), None);
        assert_eq!(Routing::default().conflict(&Routing::default()), None);
        let alias = Routing { aliases: vec!["shop.example".to_owned()], ..of("x.example", "/a") };
        assert!(shop.conflict(&alias).is_some());
    }
}
