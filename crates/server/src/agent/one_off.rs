//! Commands of people in the release that serves: admitted here, attended in [`super::attend`] or,
//! when nobody stays with them, in [`super::jobs`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use onward_core::model::{ProcessName, ReleaseNumber};
use onward_core::order::ReleaseOrder;
use onward_core::report::RunReport;
use tokio::sync::oneshot;

use super::app::{App, unix_ms};
use super::context::{Context, Teller, environment, ready_port};
use super::event::Reply;
use super::jobs::JobName;
use crate::layout::AppTree;
use crate::process::{Program, Supervisor, with_exec};
use crate::protocol::{Answer, RunRequest, Stay, Terminal, What};
use crate::systemd::Names;

/// How many commands of people run at once for one app. Each has a connection of its own, of which
/// an agent serves a few.
const RUNS_MAX: usize = 32;
/// The time that a command has to stop when its process does not say another.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// Tells a command its own name.
pub(super) const NAME_VARIABLE: &str = "ONWARD_RUN";
/// Marks a command that ends with its connection, so that the next agent knows what to clear away.
pub(super) const ATTACHED_VARIABLE: &str = "ONWARD_ATTACHED";

/// A command that somebody stays with.
#[derive(Debug)]
pub(super) struct OneOff {
    pub(super) name: String,
    pub(super) release: ReleaseNumber,
    pub(super) command: String,
    /// When it was admitted, in milliseconds since 1970.
    pub(super) started: u64,
    /// Asks it to end; gone when it was asked.
    pub(super) stop: Option<oneshot::Sender<()>>,
}

/// Everything that a connection needs to run a command.
pub(super) struct Launch {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) directory: PathBuf,
    pub(super) environment: BTreeMap<String, OsString>,
    pub(super) terminal: Option<Terminal>,
    /// The program that makes the terminal a session's.
    pub(super) helper: PathBuf,
    pub(super) stops_within: Duration,
    pub(super) stopped: oneshot::Receiver<()>,
    pub(super) teller: Teller,
    pub(super) keeper: Keeper,
}

/// Who keeps the command, and what it is told.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    pub(super) supervisor: Supervisor,
    pub(super) names: Names,
    pub(super) release: ReleaseNumber,
    pub(super) tree: AppTree,
    pub(super) app: String,
}

impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).finish_non_exhaustive()
    }
}

impl App {
    /// Admits a command: it runs in the release that traffic goes to, else in the one whose
    /// background processes run.
    pub(super) fn admit_run(&mut self, request: RunRequest, context: &Context) -> Reply {
        match self.try_admit(request, context) {
            Ok(reply) => reply,
            Err(text) => Reply::Answer(Answer::Refused { text }),
        }
    }

    fn try_admit(&mut self, request: RunRequest, context: &Context) -> Result<Reply, String> {
        let order = self.order().ok_or("nothing was deployed here")?;
        let serving = order.routed().or_else(|| {
            let mut releases = order.releases.iter();
            releases.find(|(_, own)| own.background).map(|(number, _)| *number)
        });
        let release = serving.ok_or("no release serves here, so there is nothing to run it in")?;
        let own = order.releases.get(&release).ok_or("the release is in no order")?.clone();
        if self.one_offs.len() + self.jobs.len() >= RUNS_MAX {
            return Err(format!("{RUNS_MAX} commands run here already; wait until one ends"));
        }
        let words = self.vault.masker().mask(&words(&request.what)).into_owned();
        let program = program(request.what, &own)?;
        let mut environment = environment(self, release, &own)?;
        let number = self.next_run();
        let terminal = match request.stay {
            Stay::Detached => {
                let name = JobName::Run(number);
                environment.insert(NAME_VARIABLE.to_owned(), name.to_string().into());
                self.start_run(&name, release, &program, words, &environment, context)?;
                return Ok(Reply::Answer(Answer::Detached { name: name.to_string() }));
            }
            Stay::Attached { terminal } => terminal,
        };
        let prefix = if request.beside.is_some() { "exec" } else { "run" };
        let name = format!("{prefix}.{number}");
        environment.insert(NAME_VARIABLE.to_owned(), name.clone().into());
        environment.insert(ATTACHED_VARIABLE.to_owned(), "1".into());
        let mut stops_within = STOPS_WITHIN;
        if let Some(process) = request.beside {
            stops_within = beside(self, release, &own, &process, &mut environment)?;
        }
        if let Some(terminal) = &terminal {
            environment.insert("TERM".to_owned(), terminal.kind.clone().into());
        }
        let (stop, stopped) = oneshot::channel();
        self.one_offs.insert(
            number,
            OneOff {
                name: name.clone(),
                release,
                command: words,
                started: unix_ms(),
                stop: Some(stop),
            },
        );
        Ok(Reply::Launch(Box::new(Launch {
            number,
            name,
            program,
            directory: self.tree.release(release),
            environment,
            terminal,
            helper: context.config.program(),
            stops_within,
            stopped,
            teller: context.teller(&self.key),
            keeper: Keeper {
                supervisor: self.supervisor.clone(),
                names: self.names.clone(),
                release,
                tree: self.tree.clone(),
                app: self.route_name(),
            },
        })))
    }

    /// A number that no command and no log has.
    fn next_run(&self) -> u32 {
        let logs = self.tree.logged_runs();
        let live = self.one_offs.keys().copied();
        let jobs = self.jobs.keys().filter_map(JobName::run);
        logs.into_iter().chain(live).chain(jobs).max().unwrap_or(0) + 1
    }

    /// Asks everything to end that people and schedules run from the files of a release.
    pub(super) fn end_runs(&mut self, release: ReleaseNumber) {
        for own in self.one_offs.values_mut().filter(|own| own.release == release) {
            if let Some(stop) = own.stop.take() {
                let _ = stop.send(());
            }
        }
        for own in self.jobs.values_mut().filter(|own| own.release == release) {
            own.ask_to_stop();
        }
    }

    /// What people run now, for the report.
    pub(super) fn run_reports(&self) -> Vec<RunReport> {
        let attached = self.one_offs.values().map(|own| RunReport {
            name: own.name.clone(),
            release: own.release,
            command: own.command.clone(),
            started_ms: own.started,
            attached: true,
        });
        let detached = self.jobs.iter().filter(|(name, _)| name.run().is_some());
        let detached = detached.map(|(name, own)| RunReport {
            name: name.to_string(),
            release: own.release,
            command: own.command.clone(),
            started_ms: own.started,
            attached: false,
        });
        attached.chain(detached).collect()
    }
}

/// Puts a command beside a process: it gets the port of one of its instances. Returns the time that
/// it has to stop.
fn beside(
    app: &App,
    release: ReleaseNumber,
    order: &ReleaseOrder,
    process: &ProcessName,
    environment: &mut BTreeMap<String, OsString>,
) -> Result<Duration, String> {
    let Some(own) = order.config.processes.get(process) else {
        let all = order.config.processes.keys().map(ToString::to_string).collect::<Vec<_>>();
        return Err(format!(
            "release {release} has no process `{process}` here; it has {}",
            all.join(", ")
        ));
    };
    environment.insert("ONWARD_PROCESS_BESIDE".to_owned(), process.as_str().into());
    if let Some(port) = ready_port(app, release).filter(|_| process.has_traffic()) {
        environment.insert("PORT".to_owned(), port.to_string().into());
    }
    Ok(Duration::from_millis(own.stop.within_ms))
}

fn words(what: &What) -> String {
    match what {
        What::Line(line) => line.clone(),
        What::Program(words) => words.join(" "),
        What::Task { name, arguments } => {
            let words: Vec<&str> = ["task", name.as_str()]
                .into_iter()
                .chain(arguments.iter().map(String::as_str))
                .collect();
            words.join(" ")
        }
    }
}

fn program(what: What, order: &ReleaseOrder) -> Result<Program, String> {
    match what {
        What::Line(line) => Ok(Program::Line(line)),
        What::Program(words) => {
            let mut words = words.into_iter();
            let program = words.next().ok_or("there is no command to run")?;
            Ok(Program::Direct(program.into(), words.map(Into::into).collect()))
        }
        What::Task { name, arguments } => {
            let Some(line) = order.config.tasks.get(&name) else {
                return Err(no_task(&name, order));
            };
            Ok(with_arguments(line, &name, arguments))
        }
    }
}

fn no_task(name: &ProcessName, order: &ReleaseOrder) -> String {
    let all = order.config.tasks.keys().map(ToString::to_string).collect::<Vec<_>>();
    match all.as_slice() {
        [] => format!("the release that serves has no task `{name}`, and no other"),
        all => format!("the release that serves has no task `{name}`; it has {}", all.join(", ")),
    }
}

/// The command line of a task with arguments behind it. They travel as arguments of the shell, so
/// nothing in them is ever read as part of a command.
fn with_arguments(line: &str, name: &ProcessName, arguments: Vec<String>) -> Program {
    if arguments.is_empty() {
        return Program::Line(line.to_owned());
    }
    let line = format!("{} \"$@\"", with_exec(line));
    let words = ["-c".into(), line.into(), name.as_str().into()];
    let all = words.into_iter().chain(arguments.into_iter().map(Into::into));
    Program::Direct("/bin/sh".into(), all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_task_are_never_read_by_the_shell() {
        let Program::Direct(shell, words) = with_arguments(
            "node reindex.js --all",
            &"reindex".parse().unwrap(),
            vec!["$(reboot)".to_owned(), "a b".to_owned()],
        ) else {
            panic!("a task with arguments is a shell with arguments");
        };
        assert_eq!(shell, PathBuf::from("/bin/sh"));
        let expected = ["-c", "exec node reindex.js --all \"$@\"", "reindex", "$(reboot)", "a b"];
        assert_eq!(words, expected.map(OsString::from));
    }
}
