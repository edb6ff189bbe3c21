//! What units and users of apps are called. The same thing has the same name for ever, so that an
//! agent that starts finds what an earlier one has started.
//!
//! Names of onward may have `-` in them, and systemd nests slices at it; in its names they have `_`,
//! which no name of onward has. So no two things have one name.

use onward_core::model::{AppName, EnvironmentName, OperationNumber};
use onward_core::order::CommandKind;
use onward_core::reconcile::SlotId;

use crate::layout::command_word;

/// The longest name of a user that every system takes, in bytes.
const USER_BYTES_MAX: usize = 31;
/// How many digits of a digest tell users apart whose names are too long.
const DIGEST_DIGITS: usize = 16;

/// The names of one app in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    stem: String,
}

impl Names {
    /// The names of an app in an environment.
    pub fn new(app: &AppName, environment: &EnvironmentName) -> Self {
        let (app, environment) = (plain(app.as_str()), plain(environment.as_str()));
        Self { stem: format!("onward-{app}-{environment}") }
    }

    /// What every unit of the app is in.
    pub fn slice(&self) -> String {
        format!("{}.slice", self.stem)
    }

    /// The user that everything of the app runs as, at most 31 characters long.
    pub fn user(&self) -> String {
        if self.stem.len() <= USER_BYTES_MAX {
            return self.stem.clone();
        }
        let digest = blake3::hash(self.stem.as_bytes()).to_hex();
        format!("onward-{}", &digest[..DIGEST_DIGITS])
    }

    /// The unit of an instance.
    pub fn instance(&self, slot: &SlotId) -> String {
        let process = plain(slot.process.as_str());
        format!("{}-{}-{process}-{}.service", self.stem, slot.release, slot.index)
    }

    /// The unit of a command that asks an instance whether it is ready.
    pub fn probe(&self, slot: &SlotId) -> String {
        let process = plain(slot.process.as_str());
        format!("{}-{}-{process}-{}-probe.service", self.stem, slot.release, slot.index)
    }

    /// The unit of the command of an operation.
    pub fn command(&self, operation: OperationNumber, kind: CommandKind) -> String {
        format!("{}-operation-{operation}-{}.service", self.stem, plain(command_word(kind)))
    }

    /// The unit of what goes on by itself: a scheduled run, or what a person left running.
    pub fn job(&self, name: &str) -> String {
        format!("{}-job-{}.service", self.stem, plain(name))
    }

    /// The unit of a command that a person stays with.
    pub fn attached(&self, name: &str) -> String {
        format!("{}-attached-{}.service", self.stem, plain(name))
    }

    /// A pattern that every unit of the app matches.
    pub fn all(&self) -> String {
        format!("{}-*.service", self.stem)
    }
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(app: &str, environment: &str) -> Names {
        Names::new(&app.parse().unwrap(), &environment.parse().unwrap())
    }

    #[test]
    fn no_two_apps_have_the_same_names() {
        let (one, other) = (names("a-b", "c"), names("a", "b-c"));
        assert_eq!(one.slice(), "onward-a_b-c.slice");
        assert_eq!(other.slice(), "onward-a-b_c.slice");
        assert_ne!(one.user(), other.user());
    }

    #[test]
    fn every_user_has_a_short_name() {
        assert_eq!(names("shop", "production").user(), "onward-shop-production");
        let long = [names(&"a".repeat(63), "one"), names(&"a".repeat(63), "two")];
        assert!(long.iter().all(|own| own.user().len() <= USER_BYTES_MAX), "{}", long[0].user());
        assert_ne!(long[0].user(), long[1].user());
    }

    #[test]
    fn units_say_what_they_are() {
        let slot = SlotId {
            release: onward_core::model::ReleaseNumber(7),
            process: "web".parse().unwrap(),
            index: 2,
        };
        let own = names("my-shop", "production");
        assert_eq!(own.instance(&slot), "onward-my_shop-production-7-web-2.service");
        assert_eq!(own.job("run.3"), "onward-my_shop-production-job-run.3.service");
    }
}
