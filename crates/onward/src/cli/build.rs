//! The project's own commands that run here before anything leaves this machine.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::following::Following;
use super::interrupt::Interrupts;
use super::numbers;
use super::operator;
use super::problem::Problem;
use super::screen::Screen;
use crate::runtimes::InUse;

/// Runs `[build] run` and `[build] test`, with these runtimes first on `PATH`.
pub fn run(
    context: &Context,
    runtimes: &[InUse],
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<(), Complaint> {
    let path = crate::runtimes::path(runtimes);
    let build = &context.resolved.build;
    for (name, command) in [("build", &build.run), ("test", &build.test)] {
        if let Some(command) = command {
            let mut shell = Command::new("sh");
            shell.args(["-c", command.as_str()]).current_dir(context.local.project());
            if let Some(path) = &path {
                shell.env("PATH", path);
            }
            step(shell, name, command.as_str(), screen, interrupts)?;
        }
    }
    Ok(())
}

fn step(
    mut shell: Command,
    name: &'static str,
    command: &str,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<(), Complaint> {
    screen.note(&format!("  {name}: {command}"));
    screen.event(&json!({"event": name, "command": command}));
    let began = Instant::now();
    let lost = |source| Problem::StepLost { step: name, source };
    let mut child = shell
        .env_remove(operator::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(lost)?;
    let following = Following::of(&mut child, None, screen);
    let status = child.wait();
    following.drain();
    // The same Ctrl-C can end the step before it is counted here.
    let own = status.as_ref().ok().and_then(ExitStatusExt::signal);
    if interrupts.count() > 0 || own == Some(Signal::INT.as_raw()) {
        return Err(Problem::Interrupted { during: Some(name) }.into());
    }
    let status = status.map_err(lost)?;
    if !status.success() {
        let lines = following.unseen();
        let how = status.code().map_or_else(|| status.to_string(), |code| format!("status {code}"));
        let command = command.to_owned();
        return Err(Problem::StepFailed { step: name, how, command, lines }.into());
    }
    screen.note(&format!("  {name} took {}", numbers::duration(began.elapsed())));
    Ok(())
}
