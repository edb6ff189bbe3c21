//! The roll-forward of one server: the agent's loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onward_core::order::{Admission, Order};
use onward_core::reconcile::reconcile;
use onward_core::report::{Report, Waiting};
use onward_proxy::Status;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::app::{App, Moment, RouteChange};
use super::context::Context;
use super::control::{Control, Seen};
use super::door::Door;
use super::event::{AppKey, Event, Events, News};
use super::note::note;
use super::record::Record;
use super::rendering::Rendering;
use super::routes;
use super::unnamed::Unnamed;
use super::vault::Maskers;
use super::{Config, files, gather, pull};
use crate::build::Build;
use crate::process::logs;
use crate::protocol::ProxyState;

/// How many times in a row actions may follow from actions, before the agent listens again.
const ROUNDS_MAX: usize = 8;
/// How often logs are looked at for their length.
const ROTATE_EVERY: Duration = Duration::from_secs(5);

/// The agent.
pub(super) struct Agent {
    pub(super) context: Context,
    pub(super) apps: BTreeMap<AppKey, App>,
    /// How the proxy was when it last answered.
    pub(super) status: Option<Status>,
    pub(super) own: Identity,
    pub(super) door: Door,
    pub(super) proxy_problem: Option<String>,
    /// The proxy's process.
    pub(super) proxy: Option<ProxyState>,
    /// When the proxy is asked next; none while it is being asked or need not be.
    look_at: Option<Instant>,
    looking: bool,
    /// The moment of the present turn of the loop.
    moment: Moment,
    rotate_at: Instant,
    memory_at: Instant,
    reports: BTreeMap<AppKey, watch::Sender<Option<Report>>>,
    pub(super) unnamed: Unnamed,
}

/// What an agent says about itself.
pub(super) struct Identity {
    pub(super) build: Build,
    /// The proxy's port.
    pub(super) port: u16,
    /// The port for those who come with TLS, when there is one.
    pub(super) https_port: Option<u16>,
    /// Asks for another proxy when the present one is of another build.
    pub(super) renew: Arc<Notify>,
}

/// How the loop goes on.
pub(super) enum Next {
    Continue,
    Quit,
    ShutDown,
}

impl Agent {
    pub(super) fn new(
        config: Config,
        events: Events,
        control: Control,
        maskers: Maskers,
        own: Identity,
    ) -> Self {
        let now = Instant::now();
        let context = Context::new(config, events, control, maskers);
        Self {
            unnamed: Unnamed::load(context.tree.unnamed_file()),
            context,
            apps: BTreeMap::new(),
            status: None,
            own,
            door: Door::default(),
            proxy_problem: None,
            proxy: None,
            look_at: None,
            looking: false,
            moment: Moment::now(),
            rotate_at: now + ROTATE_EVERY,
            memory_at: now,
            reports: BTreeMap::new(),
        }
    }

    /// Takes over what an earlier agent left.
    pub(super) fn load(&mut self) {
        let names = |directory: std::path::PathBuf| -> Vec<String> {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
        };
        let root = self.context.tree.apps();
        for app in names(root.clone()) {
            for environment in names(root.join(&app)) {
                if let (Ok(app), Ok(environment)) = (app.parse(), environment.parse()) {
                    self.open((app, environment));
                }
            }
        }
    }

    /// The app, with what is left of it taken over when it was not known.
    pub(super) fn open(&mut self, key: AppKey) {
        let context = &self.context;
        self.apps.entry(key).or_insert_with_key(|key| {
            let mut app =
                App::new(key.clone(), context.tree.app(&key.0, &key.1), context.supervisor.clone());
            app.load_kept();
            app.take_over(context);
            app
        });
    }

    /// Runs until it is asked to end; whether the proxy shall end as well.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) -> bool {
        loop {
            self.roll_forward();
            self.look_after();
            let wake_at = self.wake_at();
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(wake_at) => continue,
            };
            // What happened at the same time is one step, not many.
            let mut event = event;
            while let Some(own) = event {
                match self.hear(own) {
                    Next::Continue => {}
                    Next::Quit => return false,
                    Next::ShutDown => return true,
                }
                event = events.try_recv().ok();
            }
        }
    }

    /// Facts → decisions → actions → report, for every app.
    pub(super) fn roll_forward(&mut self) {
        self.moment = Moment::now();
        let keys: Vec<AppKey> = self.apps.keys().cloned().collect();
        for key in keys {
            for _ in 0..ROUNDS_MAX {
                let Some(app) = self.apps.get_mut(&key).filter(|app| app.damaged.is_none()) else {
                    break;
                };
                app.keep_again(self.moment.instant);
                let facts = gather::facts(app, self.status.as_ref(), self.moment);
                let actions = reconcile(&app.kept, &facts).actions;
                if actions.is_empty() {
                    break;
                }
                for action in actions {
                    self.begin(&key, action);
                }
            }
            self.publish(&key);
        }
        self.look_at_door();
    }

    fn publish(&mut self, key: &AppKey) {
        let certificates = self.wanted_certificates();
        let Some(app) = self.apps.get_mut(key) else { return };
        let facts = gather::facts(app, self.status.as_ref(), self.moment);
        let mut report = reconcile(&app.kept, &facts).report;
        let name = app.route_name();
        report.runs = app.run_reports();
        let port = self.own.https_port;
        report.https = app.order().and_then(|order| self.door.report(order, &certificates, port));
        report.traffic = self.status.as_ref().map(|status| gather::traffic_of(status, &name));
        let troubles = [
            ("the agent's state", app.damaged.as_ref()),
            ("the agent's state", app.problem.as_ref().map(|(why, _)| why)),
            ("the agent's record of what runs", app.unrecorded.as_ref()),
            ("the proxy", self.proxy_problem.as_ref()),
            ("the route", app.route_problem.as_ref()),
            ("the certificates", report.https.as_ref().and(self.door.problem())),
        ];
        for (what, why) in troubles.into_iter().filter_map(|(what, why)| Some((what, why?))) {
            report.waiting.push(Waiting { what: what.into(), why: why.clone(), for_ms: None });
            report.converged = false;
        }
        let record = Record::of(app, &self.context.boot);
        if record != app.recorded {
            match record.write(&app.tree) {
                Ok(()) => (app.recorded, app.unrecorded) = (record, None),
                Err(error) => app.unrecorded = Some(error.to_string()),
            }
        }
        let is_news = app.publish(report);
        app.answer_overdue(self.moment.instant);
        let report = is_news.then(|| app.report.clone());
        if let Some((report, reports)) = report.zip(self.reports_of(key)) {
            // Without a receiver the store cannot be written, which was noted.
            let _ = reports.send(Some(report));
        }
    }

    /// Where the reports of an app are sent to be kept in the store.
    fn reports_of(&mut self, key: &AppKey) -> Option<&watch::Sender<Option<Report>>> {
        let store = self.context.config.store.clone()?;
        let server = self.apps.get(key)?.server(&self.context).clone();
        let reports = self.reports.entry(key.clone()).or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            tokio::spawn(pull::put_reports(store, key.clone(), server, receiver));
            sender
        });
        Some(reports)
    }

    /// What is looked at from time to time: the proxy, free memory, the length of logs.
    fn look_after(&mut self) {
        let now = self.moment.instant;
        let status = self.status.as_ref();
        let pause =
            self.apps.values().filter_map(|app| gather::look_in(app, status, self.moment)).min();
        self.look_at = match (pause, self.look_at) {
            (None, _) => None,
            (Some(pause), None) => Some(now + pause),
            (Some(pause), Some(at)) => Some(at.min(now + pause)),
        };
        if !self.looking && self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.look_at_proxy();
        }
        if self.memory_at <= now {
            self.memory_at = now + gather::MEMORY_LOOK;
            for app in self.apps.values_mut() {
                app.memory_short = gather::is_memory_short(app);
            }
        }
        if self.rotate_at <= now {
            self.rotate_at = now + ROTATE_EVERY;
            self.rotate_logs();
        }
    }

    fn look_at_proxy(&mut self) {
        self.looking = true;
        let control = self.context.control();
        let events = self.context.events.clone();
        tokio::spawn(async move {
            let event = match control.look().await {
                Ok(seen) => Event::ProxySeen(Box::new(seen)),
                Err(why) => Event::ProxySilent { why },
            };
            let _ = events.send(event).await;
        });
    }

    fn rotate_logs(&self) {
        let mut all = vec![self.context.tree.agent_log(), self.context.tree.proxy_log()];
        for app in self.apps.values() {
            all.extend(app.instances.keys().map(|slot| app.tree.log(slot)));
            all.extend(app.jobs.iter().map(|(name, own)| app.tree.job_log(own.release, name)));
            all.extend(app.command.as_ref().map(|own| app.tree.command_log(own.release, own.kind)));
        }
        tokio::task::spawn_blocking(move || {
            for path in all {
                if let Err(error) = logs::rotate(&path) {
                    note(format_args!("{} cannot be rotated: {error}", path.display()));
                }
            }
        });
    }

    fn wake_at(&self) -> Instant {
        let now = self.moment.instant;
        let changes = self.apps.values().filter_map(|app| gather::next_change(app, self.moment));
        let look_at = self.look_at.filter(|_| !self.looking);
        let runs = self.apps.values().any(App::is_there);
        // An agent of nothing sleeps until somebody speaks to it.
        let rotate_at = if runs { self.rotate_at } else { now + Duration::from_secs(3600) };
        changes.chain(look_at).chain(self.door.next_change()).fold(rotate_at, Instant::min)
    }

    fn hear(&mut self, event: Event) -> Next {
        match event {
            Event::Asked { request, reply } => return self.asked(request, reply),
            Event::Pulled(order) => self.pulled(*order),
            Event::PullFailed { app, why } => {
                note(format_args!("the document of {}/{} is not followed: {why}", app.0, app.1));
            }
            Event::App(key, news) => self.app_news(&key, news),
            Event::ProxySeen(seen) => {
                self.looking = false;
                self.learn(*seen);
            }
            Event::Secured(result) => self.secured(result),
            Event::ProxySilent { why } => {
                self.looking = false;
                self.proxy_problem.get_or_insert(why);
            }
            Event::ProxyLost { why } => self.proxy_problem = Some(format!("it {why}")),
            Event::ProxyIs(state) => self.proxy = Some(state),
            Event::Terminated => return Next::Quit,
        }
        Next::Continue
    }

    fn app_news(&mut self, key: &AppKey, news: News) {
        let Some(app) = self.apps.get_mut(key) else { return };
        match news {
            News::Staged(release, result) => app.staged(release, result),
            News::Verified(release, result) => app.verified(release, result),
            News::Removed(release, result) => app.removed(release, result),
            News::Exited(slot, life, exit) => app.exited(&slot, life, exit, &self.context),
            News::Failed(slot, life, exit, lines) => {
                app.failed(&slot, life, exit, lines, &self.context);
            }
            News::GroupGone(slot, life) => app.group_gone(&slot, life),
            News::Probed(slot, life, verdict) => app.probed(&slot, life, verdict),
            News::CommandEnded { operation, kind, ended, lines } => {
                app.command_ended(operation, kind, &ended, lines);
            }
            News::JobEnded(name, ended, lines) => app.job_ended(&name, &ended, lines),
            News::RunLeft(number) => drop(app.one_offs.remove(&number)),
            News::Routed(Ok(seen)) => {
                (app.route_change, app.route_problem) = (RouteChange::Unknown, None);
                self.learn(*seen);
            }
            News::Routed(Err(why)) => {
                note(format_args!("the route of {} is not changed yet: {why}", app.route_name()));
                (app.route_change, app.route_problem) = (RouteChange::Unknown, Some(why));
            }
        }
    }

    /// Takes over what the proxy says, unless it is older than what is known.
    pub(super) fn learn(&mut self, seen: Seen) {
        let Seen { status, table } = seen;
        let is_older = self
            .status
            .as_ref()
            .is_some_and(|known| known.epoch == status.epoch && status.version < known.version);
        if is_older {
            return;
        }
        self.proxy_problem = None;
        self.door.learn(&status, &table);
        for app in self.apps.values_mut() {
            if app.route_change == RouteChange::Asked {
                continue;
            }
            app.route_change = RouteChange::None;
            let route = gather::route_of(&table, &app.route_name());
            app.routed(route);
        }
        self.status = Some(status);
    }

    /// The fence. An order is durable before anything follows from it.
    pub(super) fn admit(&mut self, order: Order) -> Result<(), String> {
        let key = (order.app.clone(), order.environment.clone());
        self.open(key.clone());
        let Some(app) = self.apps.get_mut(&key) else { return Ok(()) };
        // Environments that share a machine may each have a name of their own for it.
        let may_name = self.context.config.systemd.is_some() && !app.is_named();
        let own = app.server(&self.context);
        if order.server != *own && !may_name {
            return Err(format!("the order is for server {}, and this is {own}", order.server));
        }
        if app.damaged.is_some() {
            // It may have been repaired or moved away.
            app.load_kept();
            app.probe_adopted(&self.context);
        }
        if let Some(why) = &app.damaged {
            return Err(why.clone());
        }
        match app.kept.admit(&order) {
            Admission::Same | Admission::Stale { .. } => Ok(()),
            Admission::Contradiction => Err(format!(
                "an order of generation {} was accepted already and says something else",
                order.generation
            )),
            Admission::Accept => {
                let others = self.apps.iter().filter(|(own, _)| **own != key);
                routes::claimed(&order, others.map(|(_, app)| app))?;
                let Some(app) = self.apps.get_mut(&key) else { return Ok(()) };
                let opened = app.vault.open(&order)?;
                let mut kept = app.kept.clone();
                kept.order = Some(order);
                app.keep(kept)?;
                app.adopt_secrets(opened, &self.context);
                app.forget_old_keys();
                app.distrust_files();
                Ok(())
            }
        }
    }

    fn pulled(&mut self, order: Order) {
        let generation = order.generation;
        if let Err(why) = self.admit(order) {
            note(format_args!("the order of generation {generation} is not followed: {why}"));
        }
    }

    /// The ports that were given to instances.
    pub(super) fn taken_ports(&self) -> BTreeSet<u16> {
        let instances = self.apps.values().flat_map(|app| app.instances.values());
        instances
            .filter_map(|own| own.port)
            .chain([self.own.port])
            .chain(self.own.https_port)
            .collect()
    }

    /// The files of a release as they are wanted; none when no order names it.
    pub(super) fn wanted_files(
        app: &App,
        release: onward_core::model::ReleaseNumber,
        server: &onward_core::model::ServerName,
    ) -> Option<files::Wanted> {
        let order = app.order()?.releases.get(&release)?;
        Some(files::Wanted {
            release,
            bundle: order.bundle.digest,
            shared_dirs: order.config.shared_dirs.clone(),
            shared_files: order.config.shared_files.clone(),
            rendered: Rendering::new(app, release, order, server),
            in_use: app.uses(release),
            account: app.account(),
        })
    }
}
