//! The project file: reading `onward.toml`, saying what is wrong with it, making a first one.
//!
//! Two steps: [`parse`] turns text into a typed [`Project`] or a list of findings with their
//! places; [`resolve`] turns the project into the wishes for one environment, defaults applied.
//! Neither has an effect. [`load`] does the first for a directory.

mod commands;
mod diagnostic;
mod files;
pub mod init;
mod limits;
mod load;
mod machine;
mod model;
mod parse;
mod process;
mod reach;
mod read;
mod resolve;
mod routing;
mod runtime;
mod secrets;
mod servers;
mod shared;
mod store;
mod strategy;
mod suggest;
mod syntax;
mod times;
pub mod tls;
mod unbuilt;
pub mod wishes;
mod words;

#[cfg(test)]
mod tests;

pub use commands::{HOOK_WITHIN, HookPoint, Hooks, SCHEDULE_LATE, SCHEDULE_WITHIN, Task};
pub use diagnostic::{Code, Colour, Diagnostic, Findings, Severity, Span};
pub use files::{FILES_MAX, about_template};
pub use load::{FILE_BYTES_MAX, FILE_NAME, LoadError, load};
pub use machine::Machine;
pub use model::{
    Build, Environment, Probe as ProbeWish, ProbeKind, Process, Project, Provider, Release,
    ServerWish, Servers, Serves, Stop,
};
pub use parse::{FINDINGS_MAX, VALUE_BYTES_MAX, VALUES_MAX, parse};
pub use reach::{HostKey, Reach};
pub use resolve::{
    LOCAL, PROBE_INTERVAL, PROBE_STATUS, PROBE_TIMEOUT, PROBE_WITHIN, Probe, Resolved,
    ResolvedProcess, ResolvedRelease, STOP_SIGNAL, STOP_WITHIN, Statuses, Try, UnknownEnvironment,
    WARM, WATCH_ELSEWHERE, WATCH_LOCAL, resolve,
};
pub use servers::{BALANCER, MANAGER, SERVERS_ELSEWHERE_MAX, SERVERS_MAX};
pub use words::{
    COMMAND_BYTES_MAX, ProjectPath, RESERVED_PREFIX, ShellCommand, Signal, ValueName, duration_text,
};

use onward_core::model::NAME_BYTES_MAX;

/// Reads `5m` as the time after which clients try again.
///
/// # Errors
/// What is wrong with the text.
pub fn retry_after(text: &str) -> Result<std::time::Duration, String> {
    let most = std::time::Duration::from_secs(onward_core::model::RETRY_AFTER_S_MAX);
    let time = words::duration(text).map_err(|why| why.label)?;
    let fits = (std::time::Duration::from_secs(1)..=most).contains(&time);
    if fits { Ok(time) } else { Err("give a time from 1s to a week, such as `5m`".to_owned()) }
}

/// The legal name nearest to `text`, if anything of it can stay: lower-case, other characters
/// as `-`.
pub fn legal_name(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name = &name[..name.len().min(NAME_BYTES_MAX)];
    let name = name.trim_end_matches('-');
    if name.is_empty() { None } else { Some(name.to_owned()) }
}
