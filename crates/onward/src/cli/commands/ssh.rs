//! `onward ssh`: a shell on a server, or a command, by the way that onward itself takes there.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::json;

use crate::cli::args_ssh::SshArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::cli::ways::Ways;
use crate::project::wishes;
use crate::providers::ssh::SshServer;

/// What `ssh` ends with when it did not come through.
const NO_WAY: i32 = 255;

/// Becomes `ssh`; with `--json` it passes on what a command prints.
pub fn run(context: &Context, args: &SshArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(ways) = context.ways() else {
        let what = format!("the servers of {} are on this machine", context.environment());
        return Err(Complaint::new(Exit::Usage, what)
            .hint("`onward exec sh` gives a shell beside a process of the app"));
    };
    let server = meant(context, ways, args.to.as_deref())?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let words = line(&args.command);
    if !screen.is_json() {
        let error = server.shell(terminal, words.as_deref()).exec();
        return Err(not_started(&error));
    }
    let Some(words) = words else {
        return Err(Complaint::new(Exit::Usage, "with --json it takes a command, not a shell")
            .hint("`onward ssh SERVER --json -- uptime`"));
    };
    let exit = passed_on(server.shell(false, Some(&words)), screen)?;
    if i32::from(exit.code()) == NO_WAY {
        screen.finished(false, json!({"server": server.name(), "status": exit.code()}));
        return Ok(exit);
    }
    let ok = exit.code() == 0;
    screen.finished(ok, json!({"server": server.name(), "status": exit.code()}));
    Ok(exit)
}

fn not_started(error: &std::io::Error) -> Complaint {
    Complaint::new(Exit::Failed, format!("`ssh` cannot be run: {error}"))
        .hint("install the OpenSSH client")
}

/// The server that is meant. The project file is asked first: a shell may be wanted because the
/// server with the state is in trouble.
fn meant(context: &Context, ways: &Ways, to: Option<&str>) -> Result<SshServer, Complaint> {
    let wished = wishes::servers(&context.resolved);
    let Some(to) = to else {
        return match &wished[..] {
            [(only, _)] => Ok(ways.server(only)),
            all => {
                let names: Vec<_> = all.iter().map(|(name, _)| name.to_string()).collect();
                Err(Complaint::new(Exit::Refused, "there are several servers")
                    .fact(format!("They are {}", names.join(", ")))
                    .hint("`onward ssh SERVER`, or a role instead of the server"))
            }
        };
    };
    let by_name = wished.iter().find(|(name, _)| name.as_str() == to);
    let by_role = || wished.iter().find(|(_, roles)| roles.iter().any(|it| it.as_str() == to));
    if let Some((name, _)) = by_name.or_else(by_role) {
        return Ok(ways.server(name));
    }
    // One that was taken out of the file, or made in its place.
    if let Some(stored) = context.look().ok().flatten() {
        ways.learn(&stored.document);
        let mut known = stored.document.everywhere();
        if let Some(name) = known.find(|name| name.as_str() == to) {
            return Ok(ways.server(name));
        }
    }
    let names: Vec<_> = wished.iter().map(|(name, _)| name.to_string()).collect();
    Err(Complaint::new(
        Exit::Usage,
        format!("`{to}` is no server of {}, and no role", context.environment()),
    )
    .fact(format!("The servers are {}", names.join(", ")))
    .hint("`onward status` shows the servers and their roles"))
}

/// The command line for the shell there.
fn line(words: &[String]) -> Option<String> {
    match words {
        [] => None,
        [line] => Some(line.clone()),
        words => Some(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")),
    }
}

/// A word as any shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Runs it, and passes each line on as JSON.
fn passed_on(mut command: Command, screen: &Screen) -> Result<Exit, Complaint> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| not_started(&error))?;
    let (sender, lines) = channel();
    if let Some(out) = child.stdout.take() {
        pass(out, "stdout", sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        pass(err, "stderr", sender);
    }
    for (stream, text) in lines {
        screen.event(&json!({"event": "line", "stream": stream, "text": text}));
    }
    let status = child.wait().map_err(|error| not_started(&error))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Exit::Program(code.unwrap_or(u8::MAX)))
}

fn pass(
    from: impl Read + Send + 'static,
    stream: &'static str,
    to: Sender<(&'static str, String)>,
) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
            if to.send((stream, text.into_owned())).is_err() {
                return;
            }
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        let words =
            |all: &[&str]| line(&all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&[]), None);
        assert_eq!(words(&["ls | wc -l"]).as_deref(), Some("ls | wc -l"));
        assert_eq!(words(&["ls", "-l", "a b"]).as_deref(), Some("ls -l 'a b'"));
        assert_eq!(
            words(&["echo", "it's", "", "$HOME"]).as_deref(),
            Some("echo 'it'\\''s' '' '$HOME'")
        );
    }
}
