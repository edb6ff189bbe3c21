//! What every part of an agent needs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use onward_core::model::ReleaseNumber;
use onward_core::order::ReleaseOrder;
use tokio::sync::Semaphore;

use super::app::{App, Moment};
use super::control::Control;
use super::event::{AppKey, Event, Events, Life, News};
use super::vault::Maskers;
use super::{Config, gather};
use crate::layout::Tree;
use crate::process::{self, Supervisor};
use crate::runtimes;

/// How many releases have their files handled at a time; each uses several threads already.
const FILES_AT_ONCE: usize = 2;

/// What every part of an agent needs.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) tree: Tree,
    pub(super) events: Events,
    /// The time since the system was started.
    pub(super) boot: String,
    /// Lets few files be handled at a time, so that the proxy is always spoken to at once.
    pub(super) files: Arc<Semaphore>,
    /// What takes secrets out of what apps printed.
    pub(super) maskers: Maskers,
    /// Who keeps what apps run.
    pub(super) supervisor: Supervisor,
    control: Control,
    lives: Cell<Life>,
}

impl Context {
    pub(super) fn new(config: Config, events: Events, control: Control, maskers: Maskers) -> Self {
        let tree = Tree::new(&config.root);
        let files = Arc::new(Semaphore::new(FILES_AT_ONCE));
        let (boot, lives) = (process::boot_id(), Cell::new(0));
        let supervisor = config.supervisor();
        Self { config, tree, events, boot, files, supervisor, control, maskers, lives }
    }

    /// A number that no other start of an instance has.
    pub(super) fn new_life(&self) -> Life {
        self.lives.set(self.lives.get() + 1);
        self.lives.get()
    }

    /// The way to the proxy.
    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    /// A sender of news about one app.
    pub(super) fn teller(&self, key: &AppKey) -> Teller {
        Teller { key: Arc::new(key.clone()), events: self.events.clone() }
    }
}

/// Sends news about one app to the agent.
#[derive(Clone)]
pub(super) struct Teller {
    key: Arc<AppKey>,
    events: Events,
}

impl Teller {
    /// Sends it. An agent that is ending does not listen any more.
    pub(super) async fn tell(&self, news: News) {
        let _ = self.events.send(Event::App(AppKey::clone(&self.key), news)).await;
    }
}

/// Any number, to spread what would otherwise happen at the same time.
pub(super) fn jitter() -> u64 {
    RandomState::new().hash_one(0)
}

/// The environment that every process and command of a release has, secrets among it. Makes the
/// files of the secrets as well.
///
/// # Errors
/// A sentence about the secret that cannot be had: then nothing of the release can be started.
pub(super) fn environment(
    app: &App,
    release: ReleaseNumber,
    order: &ReleaseOrder,
) -> Result<BTreeMap<String, OsString>, String> {
    let mut all = process::inherited_environment();
    runtimes::enter(&order.config.runtimes, &mut all);
    all.extend(order.config.values.iter().map(|(name, value)| (name.clone(), value.into())));
    all.extend(app.vault.environment(release, &order.config)?);
    let own: [(&str, OsString); 6] = [
        ("ONWARD_APP", app.key.0.as_str().into()),
        ("ONWARD_ENVIRONMENT", app.key.1.as_str().into()),
        ("ONWARD_RELEASE", release.to_string().into()),
        ("ONWARD_LABEL", order.bundle.label.clone().into()),
        ("ONWARD_DIGEST", order.bundle.digest.to_string().into()),
        ("ONWARD_SHARED", app.tree.shared().into()),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(all)
}

/// The port of an instance of the release that answers, for its check.
pub(super) fn ready_port(app: &App, release: ReleaseNumber) -> Option<u16> {
    let facts = gather::facts(app, None, Moment::now());
    let mut slots = facts.slots.iter();
    slots.find_map(|(id, slot)| {
        let is_ready = slot.state == onward_core::reconcile::SlotState::Ready;
        slot.port.filter(|_| id.release == release && id.process.has_traffic() && is_ready)
    })
}
