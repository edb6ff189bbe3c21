//! The actions that the reconcile decided upon, begun. What takes time goes on beside the loop.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use onward_core::document::Failure;
use onward_core::model::ReleaseNumber;
use onward_core::order::{Level, WatchOrder};
use onward_core::reconcile::{Action, RouteFact, SlotId, backoff_ms};
use onward_proxy::Counters;
use onward_secret::Identity;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::app::{App, FilesState, RouteChange, Watch, unix_ms};
use super::context::{Context, jitter};
use super::event::{AppKey, News};
use super::files::{self, Unfit};
use super::gather::instance_name;
use super::note::note;
use super::record::Record;
use super::roll::Agent;
use super::routes;
use super::vault::Opened;
use crate::layout::AppTree;

/// How many releases keep their logs: enough to ask why an earlier one failed.
const LOGS_OF_RELEASES_MAX: usize = 20;

impl Agent {
    /// Begins one action.
    pub(super) fn begin(&mut self, key: &AppKey, action: Action) {
        let taken = self.taken_ports();
        let Some(app) = self.apps.get_mut(key) else { return };
        match action {
            Action::Stage(release) => self.stage(key, release),
            Action::Verify(release) => self.verify(key, release),
            Action::Remove(release) => self.remove(key, release),
            Action::Start(slot) => app.start(&slot, &self.context, &taken),
            Action::Stop(slot) => app.stop(&slot, &self.context),
            Action::Forget(slot) => app.forget(&slot),
            Action::Route(route) => self.route(key, route.as_ref()),
            Action::Cut(slot) => self.cut(key, &slot),
            Action::Run(order) => app.run(&order, &self.context),
            Action::StopCommand => app.stop_command(),
            Action::Enrol(name) => app.enrol(&name),
            Action::BeginJob { name, release, due } => {
                app.begin_job(&name, release, due, &self.context);
            }
            Action::LeaveOut { name, due, why } => app.leave_out(&name, due, why),
            Action::StopJob(name) => app.stop_job(&name),
            Action::EndRuns(release) => app.end_runs(release),
            Action::BeginWatch(order) => self.begin_watch(key, order),
            Action::EndWatch(operation, outcome) => {
                if let Some(watch) = app.watch.as_mut().filter(|w| w.order.operation == operation) {
                    watch.outcome = Some(outcome);
                }
            }
        }
    }

    fn stage(&mut self, key: &AppKey, release: ReleaseNumber) {
        let Some(app) = self.apps.get_mut(key) else { return };
        let server = app.server(&self.context).clone();
        let Some(wanted) = Self::wanted_files(app, release, &server) else { return };
        let failures = match app.files.get(&release) {
            Some(FilesState::Failed { failures, .. }) => *failures,
            _ => 0,
        };
        app.files.insert(release, FilesState::Staging { failures });
        let (tree, bundles) = (app.tree.clone(), self.context.config.bundles.clone());
        let (teller, places) = (self.context.teller(key), self.context.files.clone());
        tokio::spawn(async move {
            let result = blocking(places, move || files::stage(&tree, &bundles, &wanted)).await;
            teller.tell(News::Staged(release, result)).await;
        });
    }

    fn verify(&mut self, key: &AppKey, release: ReleaseNumber) {
        let Some(app) = self.apps.get_mut(key) else { return };
        let server = app.server(&self.context).clone();
        let Some(wanted) = Self::wanted_files(app, release, &server) else { return };
        app.files.insert(release, FilesState::Verifying);
        let (tree, bundles) = (app.tree.clone(), self.context.config.bundles.clone());
        let (teller, places) = (self.context.teller(key), self.context.files.clone());
        tokio::spawn(async move {
            let verify = move || Ok(files::verify(&tree, &bundles, &wanted));
            let result =
                blocking(places, verify).await.unwrap_or_else(|lost| Err(Unfit::Failed(lost)));
            teller.tell(News::Verified(release, result)).await;
        });
    }

    fn remove(&mut self, key: &AppKey, release: ReleaseNumber) {
        let Some(app) = self.apps.get_mut(key) else { return };
        app.files.insert(release, FilesState::Removing);
        app.unrouted.remove(&release);
        app.left_route.retain(|slot, _| slot.release != release);
        app.ended_unseen.remove(&release);
        let tree = app.tree.clone();
        let (teller, places) = (self.context.teller(key), self.context.files.clone());
        tokio::spawn(async move {
            let remove = move || {
                prune_logs(&tree);
                files::remove(&tree, release)
            };
            let result = blocking(places, remove).await;
            teller.tell(News::Removed(release, result)).await;
        });
    }

    /// Tells the proxy where the traffic of all apps goes, with this one changed.
    fn route(&mut self, key: &AppKey, change: Option<&RouteFact>) {
        let wanted = self.apps.iter().flat_map(|(own, app)| match (own == key, change) {
            (true, None) => Vec::new(),
            (true, change) => routes::without_a_name(app, change),
            (false, _) => routes::without_a_name(app, app.route.as_ref()),
        });
        let wanted: Vec<_> = wanted.collect();
        self.unnamed.settle(&wanted);
        let all: Vec<(&App, &RouteFact)> = self
            .apps
            .iter()
            .filter_map(|(own, app)| {
                let route = if own == key { change } else { app.route.as_ref() };
                Some((app, route?))
            })
            .collect();
        let port = self.own.https_port;
        let unnamed = &self.unnamed;
        let routes = all.iter().map(|(app, route)| routes::in_proxy(app, route, port, unnamed));
        let routes = routes.collect();
        let metrics = all.iter().filter_map(|(app, route)| routes::metrics(app, route)).collect();
        let Some(app) = self.apps.get_mut(key) else { return };
        app.route_change = RouteChange::Asked;
        let control = self.context.control();
        let teller = self.context.teller(key);
        tokio::spawn(async move {
            let result = control.set(routes, metrics).await;
            teller.tell(News::Routed(result.map(Box::new))).await;
        });
    }

    fn cut(&mut self, key: &AppKey, slot: &SlotId) {
        let Some(app) = self.apps.get(key) else { return };
        let name = instance_name(slot, &app.route_name());
        tokio::spawn(self.context.control().cut(name));
    }

    fn begin_watch(&mut self, key: &AppKey, order: WatchOrder) {
        let Some(app) = self.apps.get_mut(key) else { return };
        let name = app.route_name();
        let status = self.status.as_ref();
        let ended = app.ended_unseen.remove(&order.release);
        app.watch = Some(Watch {
            began: Instant::now(),
            epoch: status.map_or_else(String::new, |status| status.epoch.clone()),
            base: status
                .map_or_else(Counters::default, |status| status.release(&name, order.release.0)),
            ended,
            outcome: None,
            order,
        });
    }
}

/// Does what blocks on a thread of its own, a few at a time.
async fn blocking<T: Send + 'static>(
    places: Arc<Semaphore>,
    what: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    // The semaphore is never closed.
    let _place = places.acquire().await;
    let done = tokio::task::spawn_blocking(what).await;
    done.unwrap_or_else(|error| Err(Failure { reason: error.to_string(), ..Failure::default() }))
}

/// Removes the logs of all but the last releases.
fn prune_logs(tree: &AppTree) {
    let entries = fs::read_dir(tree.logs()).into_iter().flatten().flatten();
    let mut releases: Vec<u64> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    releases.sort_unstable();
    let surplus = releases.len().saturating_sub(LOGS_OF_RELEASES_MAX);
    for release in &releases[..surplus] {
        let _ = fs::remove_dir_all(tree.logs_of(ReleaseNumber(*release)));
    }
}

impl App {
    /// Takes over what an earlier agent left of this app.
    pub(super) fn take_over(&mut self, context: &Context) {
        let present = files::present(&self.tree);
        self.files.extend(present.into_iter().map(|number| (number, FilesState::Staged)));
        self.open_secrets(context);
        let mut record = Record::read(&self.tree, &context.boot);
        self.find_stray_units(&mut record);
        self.unrouted.clone_from(&record.unrouted);
        self.recorded = record.clone();
        for instance in record.instances {
            self.adopt(instance, context);
        }
        self.adopt_command(record.command, context);
        self.adopt_jobs(record.jobs, context);
        // It only tells something about the watch that was on at the time.
        let watched = self.order().and_then(|order| Some(order.watch.as_ref()?.release));
        self.ended_unseen.retain(|release, _| Some(*release) == watched);
    }

    /// Opens the secrets of the order that is kept. Without them what runs goes on, and what is
    /// started fails with the reason.
    fn open_secrets(&mut self, context: &Context) {
        let Some(order) = self.kept.order.clone() else { return };
        match self.vault.open(&order) {
            Ok(opened) => self.adopt_secrets(opened, context),
            Err(why) => note(format_args!("{}: {why}", self.route_name())),
        }
    }

    /// Forgets the keys that the order in force does not need.
    pub(super) fn forget_old_keys(&mut self) {
        if let Some(order) = &self.kept.order {
            self.vault.forget_old_keys(order);
        }
    }

    /// Keeps a key, and opens what it opens of the order that is kept.
    pub(super) fn take_key(&mut self, key: Identity, context: &Context) -> Result<(), String> {
        self.vault.take(key)?;
        self.open_secrets(context);
        Ok(())
    }

    /// Goes over to the secrets of the order that was accepted.
    pub(super) fn adopt_secrets(&mut self, opened: Opened, context: &Context) {
        self.vault.adopt(opened);
        context.maskers.set(self.key.clone(), self.vault.masker());
    }

    /// Files that nothing runs from, or is about to, are compared with their digest again before
    /// anything does.
    pub(super) fn distrust_files(&mut self) {
        let Some(order) = self.kept.order.clone() else { return };
        let command = order.command.as_ref().map(|command| command.release);
        let at_rest: Vec<ReleaseNumber> = self
            .files
            .iter()
            .filter(|(_, files)| matches!(files, FilesState::Verified))
            .map(|(release, _)| *release)
            .filter(|release| order.level(*release) < Level::Running && command != Some(*release))
            .filter(|release| !self.uses(*release))
            .collect();
        for release in at_rest {
            self.files.insert(release, FilesState::Staged);
        }
    }

    pub(super) fn staged(&mut self, release: ReleaseNumber, result: Result<(), Failure>) {
        match result {
            Ok(()) => drop(self.files.insert(release, FilesState::Staged)),
            Err(failure) => self.files_failed(release, failure),
        }
    }

    pub(super) fn verified(&mut self, release: ReleaseNumber, result: Result<(), Unfit>) {
        match result {
            Ok(()) => drop(self.files.insert(release, FilesState::Verified)),
            Err(Unfit::Failed(failure)) => self.files_failed(release, self.vault.masked(failure)),
            Err(Unfit::Changed(why)) => {
                note(format_args!("{}: {why}; staged anew", self.route_name()));
                // As if they had never been there: they are brought again.
                self.files.remove(&release);
            }
        }
    }

    pub(super) fn removed(&mut self, release: ReleaseNumber, result: Result<(), Failure>) {
        match result {
            Ok(()) => drop(self.files.remove(&release)),
            Err(failure) => self.files_failed(release, failure),
        }
    }

    fn files_failed(&mut self, release: ReleaseNumber, failure: Failure) {
        note(format_args!("{}: {}", self.route_name(), failure.reason));
        let failures = match self.files.get(&release) {
            Some(FilesState::Failed { failures, .. } | FilesState::Staging { failures }) => {
                failures + 1
            }
            _ => 1,
        };
        let pause = Duration::from_millis(backoff_ms(failures, jitter()));
        let retry_at = Instant::now() + pause;
        self.files.insert(release, FilesState::Failed { failure, failures, retry_at });
    }

    /// The proxy said where the traffic goes.
    pub(super) fn routed(&mut self, route: Option<RouteFact>) {
        let before = self.route.as_ref().map(|route| route.release);
        let after = route.as_ref().map(|route| route.release);
        if before != after {
            if let Some(before) = before {
                self.unrouted.insert(before, unix_ms());
            }
            if let Some(after) = after {
                self.unrouted.remove(&after);
            }
            note(format_args!("{}: traffic goes to {}", self.route_name(), words(after)));
        }
        self.route = route;
        self.note_who_left();
        if let Err(error) = files::set_current(&self.tree, after) {
            note(format_args!("{}: `current` is not changed: {error}", self.route_name()));
        }
    }
}

impl App {
    /// Keeps since when instances of the release that is routed are not in its route.
    fn note_who_left(&mut self) {
        let Some(route) = &self.route else { return self.left_route.clear() };
        let now = unix_ms();
        let own = self.instances.keys().filter(|id| {
            id.release == route.release
                && id.process.has_traffic()
                && !route.slots.contains_key(*id)
        });
        let since = |id: &SlotId| self.left_route.get(id).copied().unwrap_or(now);
        self.left_route = own.map(|id| (id.clone(), since(id))).collect();
    }
}

fn words(release: Option<ReleaseNumber>) -> String {
    release.map_or_else(|| "nothing".to_owned(), |number| format!("release {number}"))
}
