//! `[task.NAME]`, `[schedule.NAME]` and `[hooks]`: commands besides the processes.

use std::collections::BTreeMap;
use std::time::Duration;

use onward_core::model::{ProcessName, Role, Schedule, Stop, When};
use onward_core::schedule::{self, InvalidTiming, Timing};

use super::diagnostic::{Code, Diagnostic, Span};
use super::model::Process;
use super::parse::{command, name, shown};
use super::process::read_stop;
use super::read::{Section, Sink, Text};
use super::resolve::{STOP_SIGNAL, STOP_WITHIN};
use super::times;
use super::words::ShellCommand;

/// The time that a scheduled run has when the file does not say.
pub const SCHEDULE_WITHIN: Duration = Duration::from_secs(3600);
/// How late a scheduled run may begin when the file does not say.
pub const SCHEDULE_LATE: Duration = Duration::from_secs(3600);
/// The time that a hook has when the file does not say.
pub const HOOK_WITHIN: Duration = Duration::from_secs(300);
/// The longest description of a task, in bytes: one line of a list.
const DESCRIPTION_BYTES_MAX: usize = 200;

/// The project's own command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What runs.
    pub run: ShellCommand,
    /// What it is for, in one line.
    pub description: Option<String>,
}

/// When a hook runs: here, in the project's directory, by the command that carries the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookPoint {
    /// Before `[build]`.
    BeforeBuild,
    /// After it.
    AfterBuild,
    /// Before the operation is recorded.
    BeforeRelease,
    /// After it ended well.
    AfterRelease,
    /// Before the decision: the last moment to say no.
    BeforeSwitch,
    /// After traffic went to the release.
    AfterSwitch,
    /// After the command failed.
    OnFailure,
}

impl HookPoint {
    /// Every point, in their order.
    pub const ALL: [Self; 7] = [
        Self::BeforeBuild,
        Self::AfterBuild,
        Self::BeforeRelease,
        Self::AfterRelease,
        Self::BeforeSwitch,
        Self::AfterSwitch,
        Self::OnFailure,
    ];

    /// The key in the file, and `ONWARD_HOOK`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::BeforeBuild => "before_build",
            Self::AfterBuild => "after_build",
            Self::BeforeRelease => "before_release",
            Self::AfterRelease => "after_release",
            Self::BeforeSwitch => "before_switch",
            Self::AfterSwitch => "after_switch",
            Self::OnFailure => "on_failure",
        }
    }

    /// Whether a hook that fails here stops what follows.
    pub const fn stops(self) -> bool {
        matches!(
            self,
            Self::BeforeBuild | Self::AfterBuild | Self::BeforeRelease | Self::BeforeSwitch
        )
    }
}

/// `[hooks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// What runs, by point.
    pub commands: BTreeMap<HookPoint, ShellCommand>,
    /// The time that each has.
    pub within: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { commands: BTreeMap::new(), within: HOOK_WITHIN }
    }
}

/// The command under `run`, which has to be there.
fn run(section: &mut Section<'_>, sink: &mut Sink) -> Option<ShellCommand> {
    let item = section.get("run");
    if item.is_none() {
        let message = format!("{} says nothing to run", section.title());
        let found =
            Diagnostic::error(Code::MissingKey, section.span.clone(), message, "`run` is missing");
        sink.push(found.help("add `run = \"COMMAND\"`"));
    }
    command(item, sink)
}

/// `[task.NAME]`.
pub(super) fn tasks(root: &mut Section<'_>, sink: &mut Sink) -> BTreeMap<ProcessName, Task> {
    let mut tasks = BTreeMap::new();
    for (item, mut section) in root.tables("task", sink) {
        let name = name(sink, "a task", item.key, item.key_span.clone());
        let run = run(&mut section, sink);
        let text = section.get("description").and_then(|item| item.text(sink));
        let description = text.and_then(|text| description(&text, sink));
        section.finish(sink);
        if let (Some(name), Some(run)) = (name, run) {
            tasks.insert(name, Task { run, description });
        }
    }
    tasks
}

fn description(text: &Text<'_>, sink: &mut Sink) -> Option<String> {
    let too_long = text.text.len() > DESCRIPTION_BYTES_MAX;
    if too_long || text.text.contains(char::is_control) {
        let message = format!("`{}` has to fit on one line", text.path);
        let label = if too_long { "more than 200 bytes" } else { "more than one line" };
        let found = Diagnostic::error(Code::InvalidValue, text.span.clone(), message, label);
        sink.push(found.help("say in a few words what the task does"));
        return None;
    }
    Some(text.text.to_owned())
}

/// `[schedule.NAME]`.
pub(super) fn schedules(
    root: &mut Section<'_>,
    processes: &[Process],
    sink: &mut Sink,
) -> BTreeMap<ProcessName, Schedule> {
    let mut schedules = BTreeMap::new();
    for (item, mut section) in root.tables("schedule", sink) {
        let name: Option<ProcessName> = name(sink, "a schedule", item.key, item.key_span.clone());
        if let Some(name) = name.as_ref().filter(|name| processes.iter().any(|p| p.name == **name))
        {
            let message = format!("`{name}` is a process and a schedule");
            let label = "a schedule of the same name";
            let found = Diagnostic::error(Code::Conflict, item.key_span.clone(), message, label);
            sink.push(found.help("give it another name: both have a log of their name"));
        }
        let schedule = one_schedule(&mut section, sink);
        section.finish(sink);
        if let (Some(name), Some(schedule)) = (name, schedule) {
            schedules.insert(name, schedule);
        }
    }
    schedules
}

fn one_schedule(section: &mut Section<'_>, sink: &mut Sink) -> Option<Schedule> {
    let run = run(section, sink);
    let when = when(section, sink);
    let zone_item = section.get("zone");
    if let (Some(When::Every(_)), Some(item)) = (&when, &zone_item) {
        let message = format!("`{}` means nothing with `every`", item.path);
        let label = "the same time everywhere";
        let found = Diagnostic::error(Code::Meaningless, item.key_span.clone(), message, label);
        sink.push(found.help("remove it, or say a time of day with `at`"));
    }
    let zone = zone_item.and_then(|item| item.text(sink)).and_then(|text| zone(&text, sink));
    let within = times::read(section.get("within"), sink, times::SCHEDULE_WITHIN);
    let late = times::read(section.get("late"), sink, times::SCHEDULE_LATE);
    let stop = section.get("stop").and_then(|item| read_stop(&item, sink)).unwrap_or_default();
    let on = section.get("on").and_then(|item| item.texts(sink)).unwrap_or_default();
    let on = on.into_iter().filter_map(|text| name::<Role>(sink, "a role", text.text, text.span));
    let on = on.collect();
    Some(Schedule {
        run: run?.as_str().to_owned(),
        when: when?,
        zone,
        within_ms: ms(within.unwrap_or(SCHEDULE_WITHIN)),
        late_ms: ms(late.unwrap_or(SCHEDULE_LATE)),
        stop: Stop {
            signal: stop.signal.unwrap_or(STOP_SIGNAL).as_str().to_owned(),
            within_ms: ms(stop.within.unwrap_or(STOP_WITHIN)),
        },
        on,
    })
}

/// Exactly one of `at`, `every` and `cron`.
fn when(section: &mut Section<'_>, sink: &mut Sink) -> Option<When> {
    let (at, every, cron) = (section.get("at"), section.get("every"), section.get("cron"));
    if let [first, second, ..] = [&at, &every, &cron].into_iter().flatten().collect::<Vec<_>>()[..]
    {
        let found = Diagnostic::error(
            Code::Conflict,
            second.key_span.clone(),
            format!("{} says twice when it runs", section.title()),
            format!("`{}` too", second.key),
        );
        let help = "keep one of `at`, `every` and `cron`";
        sink.push(found.also(first.key_span.clone(), format!("`{}`", first.key)).help(help));
        return None;
    }
    if every.is_some() {
        return times::read(every, sink, times::SCHEDULE_EVERY)
            .map(|period| When::Every(ms(period)));
    }
    let is_cron = cron.is_some();
    let Some(item) = at.or(cron) else {
        let message = format!("{} does not say when", section.title());
        let label = "`at`, `every` or `cron` is missing";
        let found = Diagnostic::error(Code::MissingKey, section.span.clone(), message, label);
        sink.push(found.help("add for example `at = \"03:15\"` or `every = \"15m\"`"));
        return None;
    };
    let text = item.text(sink)?;
    let when =
        if is_cron { When::Cron(text.text.to_owned()) } else { When::At(text.text.to_owned()) };
    match Timing::of_when(&when) {
        Ok(_) => Some(when),
        Err(why) => invalid(sink, &text, why),
    }
}

fn zone(text: &Text<'_>, sink: &mut Sink) -> Option<String> {
    match schedule::zone(text.text) {
        Ok(_) => Some(text.text.to_owned()),
        Err(why) => invalid(sink, text, why),
    }
}

fn invalid<T>(sink: &mut Sink, text: &Text<'_>, why: InvalidTiming) -> Option<T> {
    let message = format!("`{}` cannot be \"{}\"", text.path, shown(text.text));
    let span: Span = text.span.clone();
    sink.push(Diagnostic::error(Code::InvalidTime, span, message, why.label).help(why.help));
    None
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `[hooks]`.
pub(super) fn hooks(root: &mut Section<'_>, sink: &mut Sink) -> Hooks {
    let Some(mut section) = root.get("hooks").and_then(|item| item.table(sink)) else {
        return Hooks::default();
    };
    let mut commands = BTreeMap::new();
    for point in HookPoint::ALL {
        if let Some(command) = command(section.get(point.key()), sink) {
            commands.insert(point, command);
        }
    }
    let within = times::read(section.get("within"), sink, times::HOOK_WITHIN);
    section.finish(sink);
    Hooks { commands, within: within.unwrap_or(HOOK_WITHIN) }
}
