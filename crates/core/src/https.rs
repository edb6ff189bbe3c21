//! HTTPS as the document holds it: certificates, who issues them, and when that is due.
//!
//! Private keys are sealed like secrets, among them ([`Secrets`]): whatever keeps, delivers and masks
//! those does so with these, and no process gets them. Each name has a certificate of its own, so
//! that one whose address is wrong keeps nobody else from theirs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::model::{ReleaseNumber, Routing, ServerName};
use crate::order::{OrderCertificate, OrderHttps};
use crate::secrets::{SecretVersion, Secrets};

/// The most names that an environment has certificates for.
pub const NAMES_MAX: usize = 256;
/// How many times in an hour an authority is asked for one name, whoever asks: Let's Encrypt shuts
/// out who fails five times.
pub const TRIES_PER_HOUR: usize = 4;
/// The pause after the first failure, and the longest; it doubles in between.
const PAUSE_FIRST: SignedDuration = SignedDuration::from_mins(15);
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// How long the answer to a challenge is kept at most: whoever asked for it may have died.
pub const CHALLENGE_WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// How long whoever began a try is believed to be at it: more than each of its steps may take
/// together. Nobody else asks for the name meanwhile, so that an authority is not asked twice.
pub const TRY_WITHIN: SignedDuration = SignedDuration::from_mins(5);
/// The share of its life over which timers spread the renewals of certificates that were issued at
/// once: three days of the usual ninety.
const SPREAD_OF_LIFE: i64 = 30;
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// HTTPS of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Who issues certificates; none: the user brings them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// The account there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// The certificates, by their first name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Certificate>,
    /// What the authority asks for at this moment, by token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub challenges: BTreeMap<String, Challenge>,
    /// What was tried in vain, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attempts: BTreeMap<String, Attempt>,
}

/// Who issues certificates, by ACME (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The address of its directory.
    pub directory: String,
    /// Where it may write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The certificate that it is believed by, PEM, instead of those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// An account at an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The directory of the authority that knows it.
    pub directory: String,
    /// The version of the secret that holds its credentials.
    pub key: SecretVersion,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The names that it is for, `*.example.com` for one label in its place.
    pub names: Vec<String>,
    /// It and those between it and the root, PEM.
    pub chain: String,
    /// The version of the secret that holds its private key.
    pub key: SecretVersion,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// Who issued it, as it says itself.
    pub issuer: String,
    /// Who put it here.
    pub by: String,
}

impl Certificate {
    /// From when another one is wanted in its place: with a third of its life left.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_after.saturating_sub(life / 3).unwrap_or(self.not_after)
    }

    /// From when a timer wants another one: somewhat after [`Certificate::renew_at`], each name at a
    /// moment of its own, so that not all come to the authority at once.
    pub fn timer_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        let spread = u64::try_from(life.as_millis() / i128::from(SPREAD_OF_LIFE)).unwrap_or(0);
        let name = self.names.iter().flat_map(|name| name.bytes());
        let seed = name.chain(self.not_after.as_second().to_le_bytes());
        let part = scattered(seed) % spread.saturating_add(1);
        let part = SignedDuration::from_millis(i64::try_from(part).unwrap_or(0));
        self.renew_at().saturating_add(part).unwrap_or(self.not_after)
    }

    /// Whether it is shown for a name.
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|own| {
            own == name
                || own.strip_prefix("*.").is_some_and(|below| {
                    name.split_once('.').is_some_and(|(_, rest)| rest == below)
                })
        })
    }
}

/// What an authority asks for to see that a name leads here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The name.
    pub name: String,
    /// What is answered.
    pub answer: String,
    /// When it is of no use any more.
    pub until: Timestamp,
}

/// What was tried in vain for a name since it last succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// How often in a row.
    pub failures: u32,
    /// When, in the last hour before the last of them.
    pub tries: Vec<Timestamp>,
    /// When it is worth trying again.
    pub next: Timestamp,
    /// What went wrong last; empty while a try is under way.
    pub problem: String,
    /// The process that made the last try, in its own words, when it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

/// Why a name is to get a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// It has none.
    Missing,
    /// It has one that ends soon.
    Ending,
}

/// Who asks for a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Something that comes again: it keeps to the pauses.
    Timer,
    /// A person, who may have mended what was wrong: only the limit of each hour holds, and nobody
    /// may be at it.
    Person,
}

impl Https {
    /// The certificate that is shown for a name.
    pub fn certificate(&self, name: &str) -> Option<&Certificate> {
        let exact = self.certificates.values().find(|own| own.names.iter().any(|own| own == name));
        exact.or_else(|| self.certificates.values().find(|own| own.covers(name)))
    }

    /// The names that an authority is to be asked for now, of those that are wanted.
    pub fn due(
        &self,
        wanted: &BTreeSet<String>,
        now: Timestamp,
        asker: Asker,
    ) -> Vec<(String, Due)> {
        if self.authority.is_none() {
            return Vec::new();
        }
        let due = |name: &String| {
            let why = match self.certificate(name) {
                None => Due::Missing,
                Some(own) if wanted_from(own, asker) <= now => Due::Ending,
                Some(_) => return None,
            };
            let next = self.next_try(name, asker);
            next.is_none_or(|next| next <= now).then(|| (name.clone(), why))
        };
        wanted.iter().filter_map(due).collect()
    }

    /// The earliest moment at which an authority may be asked for a name again; none: any.
    pub fn next_try(&self, name: &str, asker: Asker) -> Option<Timestamp> {
        let attempt = self.attempts.get(name)?;
        let oldest = attempt.tries.len().checked_sub(TRIES_PER_HOUR).map(|at| attempt.tries[at]);
        let of_hour = oldest.and_then(|oldest| oldest.saturating_add(HOUR).ok());
        let pause = match asker {
            Asker::Timer => Some(attempt.next),
            Asker::Person => self.under_way(name),
        };
        of_hour.max(pause)
    }

    /// Until when somebody is believed to be asking for a name, when somebody has begun.
    pub fn under_way(&self, name: &str) -> Option<Timestamp> {
        let attempt = self.attempts.get(name).filter(|own| own.problem.is_empty())?;
        attempt.tries.last()?.saturating_add(TRY_WITHIN).ok()
    }

    /// When something is due next, for whoever waits for it.
    pub fn next_due(&self, wanted: &BTreeSet<String>) -> Option<Timestamp> {
        self.authority.as_ref()?;
        let when = |name: &String| {
            let due = self.certificate(name).map_or(Timestamp::UNIX_EPOCH, Certificate::timer_at);
            self.next_try(name, Asker::Timer).map_or(due, |next| next.max(due))
        };
        wanted.iter().map(when).min()
    }

    /// Keeps that an authority is asked for a name now: written before it is asked, so that the limit
    /// holds for whoever dies meanwhile. `jitter`, any number, spreads the pause that follows.
    pub fn begin_try(&mut self, name: &str, now: Timestamp, jitter: u64) {
        let before = self.attempts.remove(name);
        let failures = before.as_ref().map_or(0, |own| own.failures) + 1;
        let mut tries = before.map(|own| own.tries).unwrap_or_default();
        tries.retain(|at| now.duration_since(*at) < HOUR);
        tries.push(now);
        let next = now.saturating_add(pause(failures, jitter)).unwrap_or(now);
        let problem = String::new();
        let attempt = Attempt { failures, tries, next, problem, process: None };
        self.attempts.insert(name.to_owned(), attempt);
    }

    /// Keeps which process has begun the try, for whoever wants to know whether it is still at it.
    pub fn is_tried_by(&mut self, name: &str, process: Option<String>) {
        if let Some(attempt) = self.attempts.get_mut(name) {
            attempt.process = process;
        }
    }

    /// The names, of these, that somebody is believed to be asking for, and which process that is.
    pub fn tried_by<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a String, &'a str)> {
        let at_it = move |name: &&String| self.under_way(name).is_some_and(|until| until > now);
        let process = |name| Some((name, self.attempts.get(name)?.process.as_deref()?));
        names.iter().filter(at_it).filter_map(process)
    }

    /// Keeps why a try came to nothing.
    pub fn failed(&mut self, name: &str, problem: &str) {
        self.challenges.retain(|_, own| own.name != name);
        if let Some(attempt) = self.attempts.get_mut(name) {
            problem.clone_into(&mut attempt.problem);
        }
    }

    /// Takes a certificate over. What was for the same names goes.
    pub fn succeeded(&mut self, certificate: Certificate) {
        let names = certificate.names.clone();
        self.certificates.retain(|_, own| !own.names.iter().all(|name| names.contains(name)));
        self.attempts.retain(|name, _| !names.contains(name));
        self.challenges.retain(|_, own| !names.contains(&own.name));
        if let Some(first) = names.first() {
            self.certificates.insert(first.clone(), certificate);
        }
    }

    /// Forgets challenges that nobody waits for, and certificates that ended or that nobody wants.
    pub fn forget(&mut self, wanted: &BTreeSet<String>, now: Timestamp) {
        self.challenges.retain(|_, own| own.until > now);
        let of_authority = self.authority.is_some();
        self.certificates.retain(|_, own| {
            let is_wanted = wanted.iter().any(|name| own.covers(name));
            is_wanted || (!of_authority && own.not_after > now)
        });
        self.attempts.retain(|name, _| wanted.contains(name));
    }

    /// The versions of secrets that it needs.
    pub fn secret_versions(&self) -> BTreeSet<SecretVersion> {
        let account = self.account.iter().map(|own| own.key);
        account.chain(self.certificates.values().map(|own| own.key)).collect()
    }

    fn for_servers(&self) -> OrderHttps {
        let certificate = |own: &Certificate| OrderCertificate {
            names: own.names.clone(),
            chain: own.chain.clone(),
            key: own.key,
        };
        let challenges = self.challenges.iter();
        OrderHttps {
            certificates: self.certificates.values().map(certificate).collect(),
            challenges: challenges
                .map(|(token, own)| (token.clone(), own.answer.clone()))
                .collect(),
        }
    }
}

/// From when whoever asks wants another certificate in the place of this one.
fn wanted_from(own: &Certificate, asker: Asker) -> Timestamp {
    match asker {
        Asker::Timer => own.timer_at(),
        Asker::Person => own.renew_at(),
    }
}

/// A number that looks like any other, the same for the same bytes everywhere (FNV-1a).
fn scattered(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The pause after so many failures in a row, up to a quarter shorter.
fn pause(failures: u32, jitter: u64) -> SignedDuration {
    let doubled = PAUSE_FIRST.as_secs() << failures.saturating_sub(1).min(16);
    let pause = doubled.min(PAUSE_MAX.as_secs());
    let spread = i64::try_from(jitter % (pause.unsigned_abs() / 4 + 1)).unwrap_or(0);
    SignedDuration::from_secs(pause - spread)
}

/// The names of a release that an authority can look for: no patterns, no addresses, nothing that
/// only leads to the machine itself.
pub fn names(routing: &Routing) -> BTreeSet<String> {
    let public = |name: &&String| {
        !name.starts_with(['*', '[']) && name.parse::<std::net::Ipv4Addr>().is_err()
    };
    let all = routing.hosts.iter().chain(&routing.aliases).filter(public);
    if routing.https.is_some() { all.cloned().collect() } else { BTreeSet::new() }
}

impl Document {
    /// The names that shall have certificates: those of the release that serves.
    pub fn https_names(&self) -> BTreeSet<String> {
        let release = self.serving.and_then(|number: ReleaseNumber| self.release(number));
        release.map(|own| names(&own.config.routing)).unwrap_or_default()
    }

    /// Whether clients come to a server: to the balancers, or where there is none to each.
    pub fn faces_clients(&self, server: &ServerName) -> bool {
        let has_balancer = self.servers.values().any(crate::document::Server::is_balancer);
        !has_balancer || self.server(server).is_some_and(crate::document::Server::is_balancer)
    }

    /// What a server is told about HTTPS.
    pub(crate) fn https_of(&self, server: &ServerName) -> Option<OrderHttps> {
        let https = self.https.as_ref().filter(|_| self.faces_clients(server))?;
        let told = https.for_servers();
        (!told.certificates.is_empty() || !told.challenges.is_empty()).then_some(told)
    }

    pub(crate) fn validate_https(&self) -> Result<(), String> {
        let Some(https) = &self.https else { return Ok(()) };
        if https.certificates.len() > NAMES_MAX || https.challenges.len() > NAMES_MAX {
            return Err(format!("https has more than {NAMES_MAX} certificates or challenges"));
        }
        let versions = self.secrets.as_ref().map(|secrets: &Secrets| &secrets.versions);
        let has = |version| versions.is_some_and(|all| all.contains_key(&version));
        match https.secret_versions().into_iter().find(|version| !has(*version)) {
            Some(version) => {
                Err(format!("https needs version {version}, which is not in secrets.versions"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_hours(hours)).unwrap()
    }

    fn certificate(names: &[&str], until: i64) -> Certificate {
        Certificate {
            names: names.iter().map(ToString::to_string).collect(),
            chain: String::new(),
            key: SecretVersion(1),
            not_before: at(0),
            not_after: at(until),
            issuer: "test".into(),
            by: "test".into(),
        }
    }

    fn with_authority() -> Https {
        let authority = Authority { directory: "https://a".into(), email: None, ca: None };
        Https { authority: Some(authority), ..Https::default() }
    }

    fn wanted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_third_of_its_life_before_its_end_it_is_due() {
        let mut https = with_authority();
        let wanted = wanted(&["a.example", "b.example"]);
        https.succeeded(certificate(&["a.example"], 90));
        let due = |https: &Https, hour| https.due(&wanted, at(hour), Asker::Person);
        let missing = ("b.example".to_owned(), Due::Missing);
        assert_eq!(due(&https, 59), std::slice::from_ref(&missing));
        assert_eq!(due(&https, 60), [("a.example".to_owned(), Due::Ending), missing]);
        https.succeeded(certificate(&["b.example"], 900));
        let next = https.next_due(&wanted).unwrap();
        assert!(at(60) <= next && next <= at(63), "{next}");
        assert!(https.due(&wanted, at(60), Asker::Timer).is_empty() || next == at(60));
        assert_eq!(https.due(&wanted, next, Asker::Timer).len(), 1);
        https.authority = None;
        assert_eq!((due(&https, 999), https.next_due(&wanted)), (vec![], None));
    }

    #[test]
    fn failures_are_followed_by_pauses_that_double() {
        let mut https = with_authority();
        let wanted = wanted(&["a.example"]);
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            https.begin_try("a.example", now, 0);
            https.failed("a.example", "nobody is there");
            let next = https.next_due(&wanted).unwrap();
            pauses.push(next.duration_since(now).as_mins());
            assert!(https.due(&wanted, now, Asker::Timer).is_empty());
            now = next;
            assert_eq!(https.due(&wanted, now, Asker::Timer).len(), 1);
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1440, 1440]);
        https.succeeded(certificate(&["a.example"], 90_000));
        assert!(https.attempts.is_empty());
        for jitter in [0, 7, u64::MAX] {
            let spread = pause(3, jitter).as_mins();
            assert!((45..=60).contains(&spread), "{spread}");
        }
    }

    #[test]
    fn nobody_asks_more_than_four_times_an_hour() {
        let mut https = with_authority();
        let wanted = wanted(&["a.example"]);
        let minute = |m: i64| at(0).saturating_add(SignedDuration::from_mins(m)).unwrap();
        let mut asked = Vec::new();
        for m in 0..130 {
            if !https.due(&wanted, minute(m), Asker::Person).is_empty() {
                https.begin_try("a.example", minute(m), 0);
                https.failed("a.example", "nobody is there");
                asked.push(m);
            }
        }
        assert_eq!(asked, [0, 1, 2, 3, 60, 61, 62, 63, 120, 121, 122, 123]);
    }

    #[test]
    fn nobody_asks_for_a_name_that_somebody_is_asking_for() {
        let mut https = with_authority();
        let wanted = wanted(&["a.example"]);
        https.begin_try("a.example", at(0), 0);
        let until = https.under_way("a.example").unwrap();
        assert_eq!(until.duration_since(at(0)), TRY_WITHIN);
        let before = until.saturating_sub(SignedDuration::from_secs(1)).unwrap();
        for asker in [Asker::Person, Asker::Timer] {
            assert!(https.due(&wanted, before, asker).is_empty(), "{asker:?}");
        }
        // Whoever began it is gone.
        assert_eq!(https.due(&wanted, until, Asker::Person).len(), 1);
        assert_eq!(https.tried_by(&wanted, before).count(), 0, "it did not say");
        https.is_tried_by("a.example", Some("7".to_owned()));
        let tried: Vec<_> = https.tried_by(&wanted, before).collect();
        assert_eq!(tried, [(&"a.example".to_owned(), "7")]);
        assert_eq!(https.tried_by(&wanted, until).count(), 0);
        https.failed("a.example", "nobody is there");
        assert_eq!(https.tried_by(&wanted, before).count(), 0);
        assert_eq!(https.under_way("a.example"), None);
        assert_eq!(https.due(&wanted, before, Asker::Person).len(), 1);
    }

    #[test]
    fn timers_spread_what_was_issued_at_once() {
        let names: Vec<String> = (0..100).map(|n| format!("{n}.example")).collect();
        let at_of = |name: &String| certificate(&[name.as_str()], 90).timer_at();
        let moments: BTreeSet<Timestamp> = names.iter().map(at_of).collect();
        assert!(moments.len() > 90, "{}", moments.len());
        assert!(moments.iter().all(|own| (at(60)..=at(63)).contains(own)), "{moments:?}");
        let (first, last) = (moments.first().unwrap(), moments.last().unwrap());
        assert!(last.duration_since(*first).as_hours() >= 2);
    }

    #[test]
    fn a_certificate_takes_the_place_of_those_whose_names_it_has() {
        let mut https = with_authority();
        https.succeeded(certificate(&["a.example"], 9));
        https.succeeded(certificate(&["b.example", "c.example"], 9));
        https.succeeded(certificate(&["b.example"], 10));
        assert_eq!(https.certificate("b.example").unwrap().not_after, at(10));
        assert!(https.certificate("c.example").is_none(), "one first name has one certificate");
        https.succeeded(certificate(&["c.example", "b.example", "a.example"], 11));
        assert_eq!(https.certificates.len(), 1);
        https.succeeded(certificate(&["*.example"], 12));
        assert_eq!(https.certificate("x.example").unwrap().not_after, at(12));
        assert_eq!(https.certificate("a.example").unwrap().not_after, at(11));
        assert!(
            https.certificate("y.x.example").is_none() && https.certificate("example").is_none()
        );
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let mut https = with_authority();
        https.succeeded(certificate(&["a.example"], 9));
        https.succeeded(certificate(&["old.example"], 9));
        https.begin_try("old.example", at(0), 0);
        let challenge =
            |until| Challenge { name: "a.example".into(), answer: "x".into(), until: at(until) };
        https.challenges = [("one".into(), challenge(1)), ("two".into(), challenge(3))].into();
        https.forget(&wanted(&["a.example"]), at(2));
        assert_eq!(Vec::from_iter(https.certificates.keys()), ["a.example"]);
        assert_eq!(Vec::from_iter(https.challenges.keys()), ["two"]);
        assert!(https.attempts.is_empty());
    }
}
