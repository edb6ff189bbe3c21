//! A manager that cannot be reached: what was known last is shown instead, and the command does not
//! end as if it had seen the state.

use jiff::Timestamp;
use onward_core::model::ServerName;
use serde_json::{Value, json};

use super::certified;
use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::known::Known;
use crate::providers::Server;
use crate::providers::local::Contact;

/// A manager that is away, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// The manager.
    pub manager: ServerName,
    /// `front (203.0.113.7) does not answer within 3 s`.
    text: String,
}

impl Away {
    /// Looks for the manager; nothing when it is there, or when the state is kept elsewhere.
    pub fn find(context: &Context) -> Option<Self> {
        if context.resolved.store.is_some() {
            return None;
        }
        let ways = context.ways()?;
        let server = ways.manager();
        let (manager, place) = (server.name().clone(), server.place());
        let why = match ways.why_away() {
            Some(error) => error.to_string(),
            None => match Server::Ssh(server).contact() {
                Contact::Silent { .. } => "is reached, and its agent does not answer".to_owned(),
                _ => return None,
            },
        };
        let text = format!("{manager} ({place}) {why}");
        Some(Self { manager, text })
    }

    /// How the command ends: the state was not seen.
    pub fn complaint(&self, known: Option<&Known>, serves: Option<String>) -> Complaint {
        let what = format!("the state cannot be read: its manager {}", self.text);
        let complaint = Complaint::new(Exit::Failed, what);
        let complaint = match known {
            Some(known) => complaint.fact(format!(
                "What is shown was known {} ago; of servers that answer, what they say now",
                age(known)
            )),
            None => complaint.fact("Nothing is known here of what it was"),
        };
        let complaint = complaint
            .fact("What serves goes on; nothing can be changed until the manager is back")
            .hint(format!("`onward doctor` looks at every server, `onward ssh {}` at this", self.manager))
            .hint(
                "is it lost for good? Give the role `manager` in onward.toml to another server, then \
                 `onward state restore`",
            );
        match serves {
            Some(serves) => complaint.serving(serves),
            None => complaint,
        }
    }

    /// The same for machines.
    pub fn json(&self, known: &Known) -> Value {
        json!({"manager": self.manager, "problem": self.text, "known_at": known.at})
    }
}

/// How long ago something was read.
pub fn age(known: &Known) -> String {
    certified::long(Timestamp::now().duration_since(known.at))
}

#[cfg(test)]
mod tests {
    use onward_core::document::Document;
    use onward_core::model::WriteId;

    use super::*;

    #[test]
    fn it_says_what_is_known_and_what_to_type() {
        let text = "front (203.0.113.7) does not answer within 3 s".to_owned();
        let away = Away { manager: "front".parse().unwrap(), text };
        let now = Timestamp::now();
        let (app, environment) = ("shop".parse().unwrap(), "lab".parse().unwrap());
        let document = Document::first(app, environment, WriteId::new("w"), now);
        let at = now - jiff::SignedDuration::from_hours(72);
        let known = Known { at, document };
        let complaint = away.complaint(Some(&known), Some("Last known: release 1 serves".into()));
        insta::assert_snapshot!(complaint.text(), @r"
        Error: the state cannot be read: its manager front (203.0.113.7) does not answer within 3 s
          What is shown was known 3 days ago; of servers that answer, what they say now
          What serves goes on; nothing can be changed until the manager is back
        Hint: `onward doctor` looks at every server, `onward ssh front` at this
        Hint: is it lost for good? Give the role `manager` in onward.toml to another server, then `onward state restore`
        Last known: release 1 serves
        ");
        insta::assert_snapshot!(away.complaint(None, None).text(), @r"
        Error: the state cannot be read: its manager front (203.0.113.7) does not answer within 3 s
          Nothing is known here of what it was
          What serves goes on; nothing can be changed until the manager is back
        Hint: `onward doctor` looks at every server, `onward ssh front` at this
        Hint: is it lost for good? Give the role `manager` in onward.toml to another server, then `onward state restore`
        ");
    }
}
