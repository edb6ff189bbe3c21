//! The release command and the check: run at least once, never two at a time.
//!
//! One that left no status in its [`StatusFile`] is run again.

use std::time::Duration;

use onward_core::document::Failure;
use onward_core::model::OperationNumber;
use onward_core::order::{CommandKind, CommandOrder};
use onward_core::report::Progress;
use tokio::sync::oneshot;

use super::app::{App, RunningCommand};
use super::context::{Context, environment, ready_port};
use super::event::{CommandEnd, News};
use super::instances::runtime_is_there;
use super::note::note;
use super::record::CommandRecord;
use super::status_file::StatusFile;
use crate::layout::command_word;
use crate::process::{self, End, Exit, Group, Program, Spawn};

/// The time that a release command or a check has. A migration of a large table takes minutes; one
/// that takes longer hangs, or should not stand between two releases.
const WITHIN: Duration = Duration::from_secs(15 * 60);
/// The time that a command has to stop, and what it leaves behind to end.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
impl App {
    /// Runs a command. That it was begun is kept before it starts.
    pub(super) fn run(&mut self, order: &CommandOrder, context: &Context) {
        let Some(line) = self.command_line(order) else {
            self.conclude(order.operation, order.kind, Progress::Done);
            return;
        };
        let mut kept = self.kept.clone();
        kept.record(order.operation, order.kind, Progress::Running);
        if self.keep(kept).is_err() {
            return;
        }
        match self.spawn_command(order, &line, context) {
            Ok(running) => self.command = Some(running),
            Err(why) => {
                let ended = CommandEnd::NotStarted(why);
                self.command_ended(order.operation, order.kind, &ended, Vec::new());
            }
        }
    }

    fn command_line(&self, order: &CommandOrder) -> Option<String> {
        let config = &self.order()?.releases.get(&order.release)?.config;
        match order.kind {
            CommandKind::Release => config.release_command.clone(),
            CommandKind::Check => config.check_command.clone(),
        }
    }

    fn spawn_command(
        &self,
        order: &CommandOrder,
        line: &str,
        context: &Context,
    ) -> Result<RunningCommand, String> {
        let release = self.order().and_then(|own| own.releases.get(&order.release));
        let release = release.ok_or("its release is in no order")?;
        runtime_is_there(release).map_err(|error| error.to_string())?;
        let mut environment = environment(self, order.release, release)?;
        environment.insert("ONWARD_COMMAND".to_owned(), command_word(order.kind).into());
        environment.insert("ONWARD_OPERATION".to_owned(), order.operation.to_string().into());
        if order.kind == CommandKind::Check {
            let port = ready_port(self, order.release);
            let port = port.ok_or("no instance of the new version answers")?;
            environment.insert("URL".to_owned(), format!("http://127.0.0.1:{port}").into());
        }
        let status = self.status_of_command(order.operation, order.kind);
        status.prepare().map_err(|error| error.to_string())?;
        let spawn = Spawn {
            program: &status.wrap(&Program::Line(line.to_owned())),
            directory: &self.tree.release(order.release),
            environment: &environment,
            log: &self.tree.command_log(order.release, order.kind),
            stdin: None,
            stdout: None,
        };
        let unit = self.names.command(order.operation, order.kind);
        let source = command_word(order.kind).to_owned();
        let confine = self.confine(unit, source, order.release, End::term(STOPS_WITHIN));
        let started = self.supervisor.start(spawn, &confine).map_err(|error| error.to_string())?;
        let record = CommandRecord {
            operation: order.operation,
            kind: order.kind,
            release: order.release,
            identity: started.group.identity,
        };
        Ok(self.attend(&record, started.exit, context))
    }

    /// Takes a command of an earlier life of the agent over, and learns how those ended that ended
    /// meanwhile.
    pub(super) fn adopt_command(&mut self, record: Option<CommandRecord>, context: &Context) {
        let running = record.filter(|own| process::is_running(own.identity));
        let begun = self.kept.commands.iter().filter(|own| own.outcome == Progress::Running);
        for own in begun.cloned().collect::<Vec<_>>() {
            let is_running = running
                .as_ref()
                .is_some_and(|r| r.operation == own.operation && r.kind == own.kind);
            let status = self.status_of_command(own.operation, own.kind);
            if !is_running && status.read().is_some() {
                let ended = CommandEnd::Exited(Exit::Unknown);
                let lines = self.order().and_then(|order| {
                    let log = self.tree.command_log(order.command.as_ref()?.release, own.kind);
                    Some(self.last_words(log).read_here())
                });
                let lines = lines.unwrap_or_default();
                self.command_ended(own.operation, own.kind, &ended, lines);
            }
        }
        self.command = running.map(|own| {
            let exit = self.group_of_command(&own).exit();
            self.attend(&own, exit, context)
        });
    }

    /// Waits for the end of a command and of all that it started.
    fn attend(
        &self,
        record: &CommandRecord,
        exit: impl Future<Output = Exit> + Send + 'static,
        context: &Context,
    ) -> RunningCommand {
        let &CommandRecord { operation, kind, release, identity } = record;
        let (stop, stopped) = oneshot::channel::<()>();
        let teller = context.teller(&self.key);
        let group = self.group_of_command(record);
        let words = self.last_words(self.tree.command_log(release, kind));
        let status = self.status_of_command(operation, kind);
        tokio::spawn(async move {
            let end = End::term(STOPS_WITHIN);
            tokio::pin!(exit);
            let ended = tokio::select! {
                exit = &mut exit => CommandEnd::Exited(exit),
                () = tokio::time::sleep(WITHIN) => {
                    group.clone().end(end).await;
                    CommandEnd::TookTooLong
                }
                // Also when the agent ends, which drops the sender: then this task ends with it.
                Ok(()) = stopped => {
                    let (exit, ()) = tokio::join!(exit, group.clone().end(end));
                    CommandEnd::Exited(exit)
                }
            };
            group.end(end).await;
            let lines = match status.read() {
                Some(0) => Vec::new(),
                _ => words.read().await,
            };
            teller.tell(News::CommandEnded { operation, kind, ended, lines }).await;
        });
        RunningCommand { operation, kind, release, identity: Some(identity), stop: Some(stop) }
    }

    fn status_of_command(&self, operation: OperationNumber, kind: CommandKind) -> StatusFile {
        StatusFile(self.tree.command_status(operation, kind))
    }

    fn group_of_command(&self, own: &CommandRecord) -> Group {
        self.supervisor.group(own.identity, &self.names.command(own.operation, own.kind))
    }

    /// Asks the running command to stop.
    pub(super) fn stop_command(&mut self) {
        if let Some(stop) = self.command.as_mut().and_then(|command| command.stop.take()) {
            let _ = stop.send(());
        }
    }

    /// A command ended, with all that it started.
    pub(super) fn command_ended(
        &mut self,
        operation: OperationNumber,
        kind: CommandKind,
        ended: &CommandEnd,
        lines: Vec<String>,
    ) {
        let running = self.command.take();
        let status = self.status_of_command(operation, kind).read();
        let was_stopped = running.is_some_and(|own| own.stop.is_none());
        let words = match (ended, status) {
            (CommandEnd::NotStarted(why), _) => format!("cannot be started: {why}"),
            (CommandEnd::TookTooLong, _) => {
                format!("did not end within {} minutes and was stopped", WITHIN.as_secs() / 60)
            }
            (CommandEnd::Exited(_), Some(0)) => {
                self.conclude(operation, kind, Progress::Done);
                self.remove_secret_files();
                return;
            }
            (CommandEnd::Exited(_), _) if was_stopped => "was stopped".to_owned(),
            (CommandEnd::Exited(_), Some(code)) => format!("exited with status {code}"),
            // It is still kept as running, so it is run again.
            (CommandEnd::Exited(Exit::Unknown), None) => return,
            (CommandEnd::Exited(exit), None) => exit.words(),
        };
        let reason = format!("{} {words}", kind.title());
        let failure = self.vault.masked(Failure { reason, lines, ..Failure::default() });
        self.conclude(operation, kind, Progress::Failed(failure));
        self.remove_secret_files();
    }

    /// Keeps how a command ended. When that cannot be kept it is only remembered: after a restart
    /// of the agent it is found in the status file again.
    fn conclude(&mut self, operation: OperationNumber, kind: CommandKind, outcome: Progress) {
        let mut kept = self.kept.clone();
        kept.record(operation, kind, outcome);
        if self.keep(kept.clone()).is_err() {
            note(format_args!("how operation {operation} went is only in memory"));
            self.kept = kept;
            return;
        }
        // A file that stays is in nobody's way.
        let _ = self.status_of_command(operation, kind).clear();
    }
}
