//! Requests about the machine itself. Each is carried out by a process of its own in a unit of its
//! own, which is not confined as the agent is, and goes on when the agent ends.

use std::io;
use std::path::Path;
use std::process::Stdio;

use onward_core::machine::{Event, Setup};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};

use super::serve::write_line;
use crate::machine::{Mode, in_unit};
use crate::protocol::{Answer, Request};

/// Where systemd says that it is the first process.
const SYSTEMD: &str = "/run/systemd/system";
/// The longest complaint that is passed on, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 16 << 10;

/// Answers a request about the machine.
pub(super) async fn answer(request: Request, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    let (mode, setup) = match request {
        Request::Machine => (Mode::Facts, None),
        Request::SetUp { setup } => (Mode::Apply, Some(setup)),
        Request::ConfirmSetUp { token } => (Mode::Confirm(token), None),
        other => return Err(io::Error::other(format!("{other:?} is not about the machine"))),
    };
    let is_apply = mode == Mode::Apply;
    let child = match possible().and_then(|()| started(&mode).map_err(|error| error.to_string())) {
        Ok(child) => child,
        Err(text) => return write_line(writer, &Answer::Refused { text }).await,
    };
    match is_apply {
        true => pass_on(child, setup.as_deref(), writer).await,
        false => write_line(writer, &told(child, &mode).await).await,
    }
}

/// Whether this agent can do anything about the machine.
fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("the agent is not root, so it does not set up the machine".to_owned());
    }
    if !Path::new(SYSTEMD).exists() {
        return Err("setting up a machine needs systemd as its first process".to_owned());
    }
    Ok(())
}

fn started(mode: &Mode) -> io::Result<Child> {
    let line = in_unit(&std::env::current_exe()?, mode);
    let (program, arguments) = line.split_first().expect("it begins with a program");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn()
}

/// Passes on each event as it comes. What is no event says why there was none.
async fn pass_on(
    mut child: Child,
    setup: Option<&Setup>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended already says why.
        let _ = stdin.write_all(&serde_json::to_vec(&setup)?).await;
    }
    let stdout = child.stdout.take().expect("it was asked for");
    let mut lines = BufReader::new(stdout).lines();
    let mut is_over = false;
    while let Some(line) = lines.next_line().await? {
        let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
        is_over |= matches!(event, Event::Finished { .. });
        write_line(writer, &Answer::SetUp { event: Box::new(event) }).await?;
    }
    if is_over {
        return Ok(());
    }
    let text = complaint(&mut child).await;
    write_line(writer, &Answer::Refused { text }).await
}

/// The one answer of a process that says one thing.
async fn told(mut child: Child, mode: &Mode) -> Answer {
    drop(child.stdin.take());
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        // What is cut off is no answer.
        let _ = stdout.read_to_end(&mut output).await;
    }
    let text = complaint(&mut child).await;
    let is_good = child.wait().await.is_ok_and(|status| status.success());
    match (mode, is_good) {
        (Mode::Confirm(_), true) => Answer::Confirmed,
        (_, true) => match serde_json::from_slice(&output) {
            Ok(facts) => Answer::Machine { facts },
            Err(error) => Answer::Refused { text: format!("the facts cannot be read: {error}") },
        },
        (_, false) => Answer::Refused { text },
    }
}

async fn complaint(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(COMPLAINT_BYTES_MAX).read_to_string(&mut text).await;
    }
    match text.trim() {
        "" => "the process that sets up the machine ended without a word".to_owned(),
        text => text.to_owned(),
    }
}
