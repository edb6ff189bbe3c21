//! Commands that go on by themselves: scheduled runs, and what people left running.
//!
//! An agent that was restarted meanwhile neither begins a run twice nor loses one: one whose
//! [`StatusFile`] does not say that it began begins again, one that began and has no status was cut
//! short.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onward_core::document::Failure;
use onward_core::model::{ProcessName, ReleaseNumber, Schedule};
use onward_core::reconcile::{JobFact, KeptSchedule};
use onward_core::report::{BegunRun, EndedRun, LeftOut, LeftOutRun};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::app::{App, unix_ms};
use super::context::{Context, environment};
use super::event::{CommandEnd, News};
use super::note::note;
use super::status_file::StatusFile;
use crate::process::{self, End, Exit, Identity, Program, Spawn, Supervisor};

/// Names the schedule to its command, and to the next agent.
pub(super) const SCHEDULE_VARIABLE: &str = "ONWARD_SCHEDULE";
/// The time that a command has to stop when nothing says another.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// The name of a command that goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum JobName {
    /// What a person left running.
    Run(u32),
    /// The run of a schedule.
    Schedule(ProcessName),
}

impl JobName {
    /// The number of what a person left running.
    pub(super) const fn run(&self) -> Option<u32> {
        match self {
            Self::Run(number) => Some(*number),
            Self::Schedule(_) => None,
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(number) => write!(f, "run.{number}"),
            Self::Schedule(name) => write!(f, "{name}"),
        }
    }
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) release: ReleaseNumber,
    pub(super) identity: Identity,
    pub(super) command: String,
    /// When it began, in milliseconds since 1970.
    pub(super) started: u64,
    /// Asks it to stop; gone when it was asked.
    stop: Option<oneshot::Sender<()>>,
}

impl Job {
    /// Asks it to stop; it is killed when its time is over.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// A command that runs, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    pub(super) name: JobName,
    pub(super) release: ReleaseNumber,
    pub(super) identity: Identity,
    pub(super) command: String,
    pub(super) started: u64,
}

impl App {
    /// Starts what a person leaves running.
    pub(super) fn start_run(
        &mut self,
        name: &JobName,
        release: ReleaseNumber,
        program: &Program,
        command: String,
        environment: &BTreeMap<String, OsString>,
        context: &Context,
    ) -> Result<(), String> {
        self.status_of_job(name).prepare().map_err(|error| error.to_string())?;
        let record = self.spawn_job(name, release, program, command, environment)?;
        self.attend_job(record, None, End::term(STOPS_WITHIN), context);
        Ok(())
    }

    /// Keeps that a schedule counts from now on, and forgets those that no release has any more.
    pub(super) fn enrol(&mut self, name: &ProcessName) {
        let Some(schedule) = self.schedule(name) else { return };
        let mut kept = self.kept.clone();
        let known = |name: &ProcessName| {
            let mut releases = kept.order.iter().flat_map(|order| order.releases.values());
            releases.any(|own| own.config.schedules.contains_key(name))
        };
        let mut schedules = kept.schedules.clone();
        schedules.retain(|name, _| known(name));
        let mut new = KeptSchedule::new(&schedule, Timestamp::now());
        if let Some(old) = schedules.remove(name) {
            // A run may be on; how the last one went is still worth knowing.
            (new.begun, new.last) = (old.begun, old.last);
        }
        schedules.insert(name.clone(), new);
        kept.schedules = schedules;
        // It is asked for again until it is kept.
        let _ = self.keep(kept);
    }

    /// Keeps that a run does not take place.
    pub(super) fn leave_out(&mut self, name: &ProcessName, due: Timestamp, why: LeftOut) {
        note(format_args!("{} {name} of {due} is left out: {}", self.route_name(), why.words()));
        let mut kept = self.kept.clone();
        if let Some(own) = kept.schedules.get_mut(name) {
            own.handled = due;
            own.left_out = Some(LeftOutRun { due, why });
        }
        let _ = self.keep(kept);
    }

    /// Begins a scheduled run. That it begins is kept before it does.
    pub(super) fn begin_job(
        &mut self,
        name: &ProcessName,
        release: ReleaseNumber,
        due: Timestamp,
        context: &Context,
    ) {
        let Some(schedule) = self.schedule(name) else { return };
        let job = JobName::Schedule(name.clone());
        let mut kept = self.kept.clone();
        let Some(own) = kept.schedules.get_mut(name) else { return };
        own.handled = due;
        own.begun = Some(BegunRun { due, began: Timestamp::now(), release });
        if let Err(error) = self.status_of_job(&job).prepare() {
            note(format_args!("{} {name} cannot begin: {error}", self.route_name()));
            return;
        }
        if self.keep(kept).is_err() {
            return;
        }
        let program = Program::Line(schedule.run.clone());
        let environment = self.job_environment(name, release, due);
        let started = environment.and_then(|environment| {
            self.spawn_job(&job, release, &program, schedule.run.clone(), &environment)
        });
        match started {
            Ok(record) => {
                let within = Duration::from_millis(schedule.within_ms);
                self.attend_job(record, Some(within), End::of(&schedule.stop), context);
            }
            Err(why) => {
                let words = format!("cannot be started: {why}");
                self.conclude_job(name, Some((words, Vec::new())));
            }
        }
    }

    fn status_of_job(&self, name: &JobName) -> StatusFile {
        StatusFile(self.tree.job_status(name))
    }

    fn schedule(&self, name: &ProcessName) -> Option<Schedule> {
        let releases = &self.order()?.releases;
        let mut on = releases.values().filter(|own| own.background);
        on.find_map(|own| own.config.schedules.get(name)).cloned()
    }

    fn job_environment(
        &self,
        name: &ProcessName,
        release: ReleaseNumber,
        due: Timestamp,
    ) -> Result<BTreeMap<String, OsString>, String> {
        let order = self.order().and_then(|order| order.releases.get(&release));
        let mut all = environment(self, release, order.ok_or("its release is in no order")?)?;
        all.insert(SCHEDULE_VARIABLE.to_owned(), name.as_str().into());
        all.insert("ONWARD_DUE".to_owned(), due.to_string().into());
        Ok(all)
    }

    fn spawn_job(
        &self,
        name: &JobName,
        release: ReleaseNumber,
        program: &Program,
        command: String,
        environment: &BTreeMap<String, OsString>,
    ) -> Result<JobRecord, String> {
        let spawn = Spawn {
            program: &self.status_of_job(name).wrap(program),
            directory: &self.tree.release(release),
            environment,
            log: &self.tree.job_log(release, name),
            stdin: None,
            stdout: None,
        };
        let unit = self.names.job(&name.to_string());
        let confine = self.confine(unit, name.to_string(), release, End::term(STOPS_WITHIN));
        let started = self.supervisor.start(spawn, &confine).map_err(|error| error.to_string())?;
        let identity = started.group.identity;
        if started.group.unit.is_none() {
            // Its end is seen through its identity; this only collects what is left of it.
            tokio::spawn(started.exit);
        }
        Ok(JobRecord { name: name.clone(), release, identity, command, started: unix_ms() })
    }

    /// Waits for the end of a command and of all that it started.
    fn attend_job(
        &mut self,
        record: JobRecord,
        within: Option<Duration>,
        end: End,
        context: &Context,
    ) {
        let JobRecord { name, release, identity, command, started } = record;
        let (stop, stopped) = oneshot::channel::<()>();
        let (teller, own) = (context.teller(&self.key), name.clone());
        let left = within.map(|within| {
            within.saturating_sub(Duration::from_millis(unix_ms().saturating_sub(started)))
        });
        let group = self.supervisor.group(identity, &self.names.job(&name.to_string()));
        let words = self.last_words(self.tree.job_log(release, &name));
        let (status, is_told) = (self.status_of_job(&name), name.run().is_none());
        tokio::spawn(async move {
            let exit = process::wait_for_exit(identity);
            tokio::pin!(exit);
            let over = async move {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                _ = &mut exit => CommandEnd::Exited(Exit::Unknown),
                () = over => {
                    group.clone().end(end).await;
                    CommandEnd::TookTooLong
                }
                // Also when the agent ends, which drops the sender: then this task ends with it.
                Ok(()) = stopped => {
                    group.clone().end(end).await;
                    CommandEnd::Exited(Exit::Unknown)
                }
            };
            group.end(end).await;
            let lines = match status.read() {
                Some(0) => Vec::new(),
                _ if is_told => words.read().await,
                _ => Vec::new(),
            };
            teller.tell(News::JobEnded(own, ended, lines)).await;
        });
        self.jobs.insert(name, Job { release, identity, command, started, stop: Some(stop) });
    }

    /// A command ended, with all that it started.
    pub(super) fn job_ended(&mut self, name: &JobName, ended: &CommandEnd, lines: Vec<String>) {
        let Some(job) = self.jobs.remove(name) else { return };
        let status = self.status_of_job(name).read();
        let words = match (ended, status) {
            (CommandEnd::TookTooLong, _) => "did not end in time and was stopped".to_owned(),
            (_, Some(0)) => {
                self.tell_end(name, job.release, "ended");
                return self.conclude_if_scheduled(name, None);
            }
            _ if job.stop.is_none() => "was stopped".to_owned(),
            (_, Some(code)) if code > 128 => format!("was ended by signal {}", code - 128),
            (_, Some(code)) => format!("exited with status {code}"),
            (_, None) => "was killed".to_owned(),
        };
        self.tell_end(name, job.release, &words);
        self.conclude_if_scheduled(name, Some((words, lines)));
    }

    /// The log of what a person left running says how it ended; nobody else does.
    fn tell_end(&self, name: &JobName, release: ReleaseNumber, words: &str) {
        if name.run().is_none() {
            return;
        }
        // Nobody else asks for it.
        let _ = self.status_of_job(name).clear();
        let log = self.tree.job_log(release, name);
        let line = format!("onward: {name} {words}");
        let write = || match self.supervisor {
            Supervisor::Own => writeln!(File::options().append(true).open(log)?, "{line}"),
            Supervisor::Systemd { .. } => {
                let (app, source) = (self.route_name(), name.to_string());
                process::journal::say(&app, &log, &source, release.0, &line)
            }
        };
        if let Err(error) = write() {
            note(format_args!(
                "{} {name} {words}; its log cannot say so: {error}",
                self.route_name()
            ));
        }
    }

    fn conclude_if_scheduled(&mut self, name: &JobName, failed: Option<(String, Vec<String>)>) {
        if let JobName::Schedule(name) = name {
            self.conclude_job(name, failed);
        }
    }

    /// Keeps how a scheduled run ended: of one that failed, how in words and its last lines. When that
    /// cannot be kept it is only remembered: after a restart of the agent it is found in the status
    /// file again.
    fn conclude_job(&mut self, name: &ProcessName, failed: Option<(String, Vec<String>)>) {
        let mut kept = self.kept.clone();
        let Some(own) = kept.schedules.get_mut(name) else { return };
        let Some(BegunRun { due, began, release }) = own.begun.take() else { return };
        let failure = failed.map(|(words, lines)| {
            note(format_args!("{} {name} of {due} {words}", self.route_name()));
            let reason = format!("{name} {words}");
            self.vault.masked(Failure { reason, lines, ..Failure::default() })
        });
        own.last = Some(EndedRun { due, began, ended: Timestamp::now(), release, failure });
        if self.keep(kept.clone()).is_err() {
            note(format_args!("how {name} went is only in memory"));
            self.kept = kept;
            return;
        }
        // A file that stays is in nobody's way.
        let _ = self.status_of_job(&JobName::Schedule(name.clone())).clear();
    }

    /// Takes over what runs since an earlier life of the agent, and learns how that ended which did
    /// meanwhile.
    pub(super) fn adopt_jobs(&mut self, records: Vec<JobRecord>, context: &Context) {
        for record in records {
            if !process::is_running(record.identity) {
                continue;
            }
            let schedule = match &record.name {
                JobName::Schedule(name) => self.schedule(name),
                JobName::Run(_) => None,
            };
            let within = schedule.as_ref().map(|own| Duration::from_millis(own.within_ms));
            let end = schedule.map_or(End::term(STOPS_WITHIN), |own| End::of(&own.stop));
            self.attend_job(record, within, end, context);
        }
        for (name, own) in self.kept.schedules.clone() {
            let job = JobName::Schedule(name.clone());
            let Some(begun) = own.begun.as_ref().filter(|_| !self.jobs.contains_key(&job)) else {
                continue;
            };
            let log = self.tree.job_log(begun.release, &job);
            let status = self.status_of_job(&job);
            let words = match status.read() {
                Some(0) => None,
                Some(code) => Some(format!("exited with status {code}")),
                None if status.has_begun() => Some("was cut short".to_owned()),
                None => {
                    self.begin_again(&name);
                    continue;
                }
            };
            let failed = words.map(|words| (words, self.last_words(log).read_here()));
            self.conclude_job(&name, failed);
        }
    }

    /// It was kept that a run begins, and it never did: it is due again.
    fn begin_again(&mut self, name: &ProcessName) {
        let mut kept = self.kept.clone();
        let Some(own) = kept.schedules.get_mut(name) else { return };
        let Some(begun) = own.begun.take() else { return };
        own.handled = begun.due.checked_sub(SignedDuration::from_millis(1)).unwrap_or(begun.due);
        let _ = self.keep(kept);
    }

    /// Asks a scheduled run to stop.
    pub(super) fn stop_job(&mut self, name: &ProcessName) {
        if let Some(job) = self.jobs.get_mut(&JobName::Schedule(name.clone())) {
            job.ask_to_stop();
        }
    }

    /// The scheduled runs that are on.
    pub(super) fn job_facts(&self) -> BTreeMap<ProcessName, JobFact> {
        let fact = |job: &Job| JobFact { release: job.release, stopping: job.stop.is_none() };
        let jobs = self.jobs.iter().filter_map(|(name, job)| match name {
            JobName::Schedule(name) => Some((name.clone(), fact(job))),
            JobName::Run(_) => None,
        });
        jobs.collect()
    }

    /// The releases in which commands of people run, and whether all of them were asked to end.
    pub(super) fn run_facts(&self) -> BTreeMap<ReleaseNumber, bool> {
        let attached = self.one_offs.values().map(|own| (own.release, own.stop.is_none()));
        let left = self.jobs.iter().filter(|(name, _)| name.run().is_some());
        let left = left.map(|(_, own)| (own.release, own.stop.is_none()));
        let mut releases = BTreeMap::new();
        for (release, stopping) in attached.chain(left) {
            let all = releases.entry(release).or_insert(true);
            *all &= stopping;
        }
        releases
    }

    /// What goes on by itself, to be written down.
    pub(super) fn job_records(&self) -> Vec<JobRecord> {
        let record = |(name, job): (&JobName, &Job)| JobRecord {
            name: name.clone(),
            release: job.release,
            identity: job.identity,
            command: job.command.clone(),
            started: job.started,
        };
        self.jobs.iter().map(record).collect()
    }
}
