//! Names that the file wants TLS for and that have no certificate when the release serves: asked for
//! and not reached, so the command does not end with 0.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::https::{Asker, Https};
use serde_json::{Value, json};

use super::certified;
use super::complaint::Complaint;
use super::exit::Exit;
use super::screen::Screen;

/// What is left without a certificate that is good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Why, by name.
    pub names: BTreeMap<String, String>,
    /// Whether the manager goes on asking.
    by_itself: bool,
}

impl Lacking {
    /// What a document says of it.
    pub fn of(document: &Document, now: Timestamp) -> Self {
        let Some(https) = &document.https else { return Self::default() };
        let is_good =
            |name: &String| https.certificate(name).is_some_and(|own| own.not_after > now);
        let lacking = document.https_names().into_iter().filter(|name| !is_good(name));
        Self {
            names: lacking.map(|name| (name.clone(), why(https, &name, now))).collect(),
            by_itself: certified::renews_itself(document),
        }
    }

    /// How the command ends, as far as this goes.
    pub fn exit(&self) -> Exit {
        match (self.names.is_empty(), self.by_itself) {
            (true, _) => Exit::Done,
            (false, true) => Exit::Continues,
            (false, false) => Exit::Failed,
        }
    }

    /// Says what is left to somebody who goes on.
    pub fn warn(&self, screen: &Screen) {
        for (name, why) in &self.names {
            screen.warn(&format!(
                "{name} has no certificate: {why}. It is served without TLS; the manager asks again \
                 by itself, and `onward certificate renew` at once"
            ));
        }
    }

    /// What is left, as the end of a command that failed; nothing when nobody has to do anything.
    pub fn complaint(&self, serves: &str) -> Option<Complaint> {
        let (name, why) = self.names.first_key_value().filter(|_| !self.by_itself)?;
        let complaint = Complaint::new(Exit::Failed, format!("{name} has no certificate: {why}"));
        let others = self.names.iter().skip(1);
        let complaint = others.fold(complaint, |complaint, (name, why)| {
            complaint.fact(format!("{name} has none either: {why}"))
        });
        Some(
            complaint
                .fact("The release serves, without TLS where there is no certificate")
                .hint("`onward certificate renew` asks again, once that is mended")
                .serving(serves),
        )
    }

    /// What is left, for machines.
    pub fn json(&self) -> Value {
        self.names.iter().map(|(name, why)| json!({"name": name, "problem": why})).collect()
    }
}

/// Why a name has no certificate, as far as it is known.
fn why(https: &Https, name: &str, now: Timestamp) -> String {
    let attempt = https.attempts.get(name);
    match attempt.map(|own| own.problem.as_str()) {
        Some("") => match https.next_try(name, Asker::Person).filter(|until| *until > now) {
            Some(until) => format!(
                "somebody is asking the authority for it, or was and is gone; it may be asked again \
                 at {}",
                until.strftime("%H:%M:%S UTC")
            ),
            None => "whoever asked for it is gone".to_owned(),
        },
        Some(problem) => match https.next_try(name, Asker::Person).filter(|next| *next > now) {
            Some(next) => {
                format!("{problem} (it may be asked again at {})", next.strftime("%H:%M UTC"))
            }
            None => problem.to_owned(),
        },
        None if https.authority.is_none() => "the one that the file names is for others".to_owned(),
        None => "nobody has asked for it yet".to_owned(),
    }
}
