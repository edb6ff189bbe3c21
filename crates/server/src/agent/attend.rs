//! A command with a client that stays with it: bytes both ways, until one of them ends.
//!
//! One loop holds everything, so nothing is shared and every buffer has its limit. It goes on
//! listening for signals whatever the program does with its input, and stops reading output that
//! the client does not take.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use onward_core::model::Limits;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::event::News;
use super::one_off::Launch;
use super::serve::write_line;
use crate::process::{self, Confine, End, Exit, Program, Spawn, Supervisor, terminal};
use crate::protocol::Answer;
use crate::stream::{Decoder, Ended, FRAME_BYTES_MAX, Frame, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX};
use crate::systemd::Manager;

/// The time that what a program left behind has to end, and to print what it still has.
const LEFTOVERS_WITHIN: Duration = Duration::from_secs(2);

/// What systemd ends with when a program cannot be executed, and a shell when there is none.
const NOT_EXECUTED: i32 = 203;
const NOT_FOUND: i32 = 127;

type Output = Box<dyn AsyncRead + Send + Unpin>;
type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// Runs a command for a client that stays. Returns when the program is gone and its client has been
/// told, or is gone as well.
pub(super) async fn attend(
    launch: Launch,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let teller = launch.teller.clone();
    let number = launch.number;
    let result = converse(launch, reader, writer).await;
    teller.tell(News::RunLeft(number)).await;
    result
}

async fn converse(
    launch: Launch,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let running = match Running::start(&launch) {
        Ok(running) => running,
        Err(error) => {
            let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            let text = format!("{} cannot be started: {error}", named(&launch.program));
            return write_line(writer, &Answer::NotStarted { text, status }).await;
        }
    };
    write_line(writer, &Answer::Attached { name: launch.name.clone() }).await?;
    let mut session = Session {
        running,
        stops_within: launch.stops_within,
        decoder: Decoder::default(),
        input: Vec::new(),
        input_ended: false,
        out: Vec::new(),
        client_there: true,
        exit: None,
        kill_at: None,
    };
    session.carry(reader, writer, launch.stopped).await;
    Ok(())
}

fn named(program: &Program) -> String {
    match program {
        Program::Line(_) => "the shell".to_owned(),
        Program::Direct(path, _) => path.display().to_string(),
    }
}

/// A program that runs, and the ends of its pipes or its terminal.
struct Running {
    child: Child,
    handle: Handle,
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    terminal: Option<OwnedFd>,
}

impl Running {
    fn start(launch: &Launch) -> io::Result<Self> {
        match &launch.terminal {
            None => Self::with_pipes(launch),
            Some(wanted) => {
                let opened = terminal::Terminal::open(wanted.size)?;
                Self::in_terminal(launch, opened)
            }
        }
    }

    fn with_pipes(launch: &Launch) -> io::Result<Self> {
        let (mut command, unit) = command(launch, &launch.program)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().map(|pipe| Box::new(pipe) as Input);
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Output);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Output);
        let leader = child.id().unwrap_or_default();
        let handle = Handle { leader, unit };
        Ok(Self { child, handle, stdin, stdout, stderr, terminal: None })
    }

    fn in_terminal(launch: &Launch, opened: terminal::Terminal) -> io::Result<Self> {
        let (program, arguments) = match &launch.program {
            Program::Line(line) => {
                ("/bin/sh".into(), vec!["-c".into(), process::with_exec(line).into()])
            }
            Program::Direct(path, arguments) => (path.clone(), arguments.clone()),
        };
        let mut words: Vec<OsString> = vec!["agent".into(), "in-terminal".into(), program.into()];
        words.extend(arguments);
        let helper = Program::Direct(launch.helper.clone(), words);
        let (mut command, unit) = command(launch, &helper)?;
        command
            .stdin(opened.terminal.try_clone()?)
            .stdout(opened.terminal.try_clone()?)
            .stderr(opened.terminal);
        let child = command.spawn()?;
        let controller = opened.controller;
        let stdin = Sender::from_owned_fd_unchecked(controller.try_clone()?)?;
        let stdout = Receiver::from_owned_fd_unchecked(controller.try_clone()?)?;
        Ok(Self {
            handle: Handle { leader: child.id().unwrap_or_default(), unit },
            child,
            stdin: Some(Box::new(stdin)),
            stdout: Some(Box::new(stdout)),
            stderr: None,
            terminal: Some(controller),
        })
    }
}

/// The command that runs a program for the client; with the unit that it is, where systemd keeps it.
fn command(launch: &Launch, program: &Program) -> io::Result<(Command, Option<Attached>)> {
    let keeper = &launch.keeper;
    let Supervisor::Systemd { runtime } = &keeper.supervisor else {
        let mut command = process::command(program);
        command.current_dir(&launch.directory).env_clear().envs(&launch.environment);
        return Ok((command, None));
    };
    let name = keeper.names.attached(&launch.name);
    let confine = Confine {
        names: &keeper.names,
        unit: name.clone(),
        source: launch.name.clone(),
        release: keeper.release,
        tree: &keeper.tree,
        app: keeper.app.clone(),
        end: End::term(launch.stops_within),
        limits: Limits::default(),
    };
    let spawn = Spawn {
        program,
        directory: &launch.directory,
        environment: &launch.environment,
        log: &keeper.tree.job_log(keeper.release, &launch.name),
        stdin: None,
        stdout: None,
    };
    let (words, variables) = process::with_unit(&spawn, &confine, |unit| unit.attached(runtime))?;
    let mut command = Command::new("systemd-run");
    command.args(words);
    Ok((command, Some(Attached { name: name.into(), variables })))
}

/// The unit of a command that a client stays with. Its variables are removed with it.
struct Attached {
    name: Arc<str>,
    variables: PathBuf,
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The next start of the system removes it at the latest.
        let _ = std::fs::remove_file(&self.variables);
    }
}

/// What signals are sent to.
struct Handle {
    leader: u32,
    unit: Option<Attached>,
}

impl Handle {
    fn signal(&self, signal: Signal) {
        let Some(unit) = &self.unit else {
            return process::signal_session(self.leader, signal);
        };
        let (name, signal) = (unit.name.clone(), process::signal_name(signal.as_raw()));
        tokio::task::spawn_blocking(move || {
            // It may have ended in between.
            let _ = Manager.systemctl(&["kill", &format!("--signal={signal}"), &name]);
        });
    }

    /// How the program ended. Whoever ran it for us says that only in part.
    fn ended(&self, status: ExitStatus) -> ExitStatus {
        let Some(unit) = self.unit.as_ref().filter(|_| !status.success()) else { return status };
        let shown = Manager.show(&unit.name).unwrap_or_default();
        Manager.forget(&unit.name);
        match shown.exit() {
            Some(Exit::Status(own) | Exit::OutOfMemory(own))
                if own.code() == Some(NOT_EXECUTED) =>
            {
                ExitStatus::from_raw(NOT_FOUND << 8)
            }
            Some(Exit::Status(own) | Exit::OutOfMemory(own)) => own,
            Some(Exit::Unknown) | None => status,
        }
    }
}

/// What is on its way between a program and its client.
struct Session {
    running: Running,
    stops_within: Duration,
    decoder: Decoder,
    /// Input that the program has not taken, up to [`INPUT_BYTES_MAX`].
    input: Vec<u8>,
    input_ended: bool,
    /// Frames that the client has not taken, about [`OUTPUT_BYTES_MAX`].
    out: Vec<u8>,
    client_there: bool,
    exit: Option<ExitStatus>,
    /// When what is still there is killed.
    kill_at: Option<Instant>,
}

impl Session {
    async fn carry(
        &mut self,
        reader: &mut BufReader<OwnedReadHalf>,
        writer: &mut OwnedWriteHalf,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut heard = vec![0; FRAME_BYTES_MAX];
        let mut printed = vec![0; FRAME_BYTES_MAX];
        let mut complained = vec![0; FRAME_BYTES_MAX];
        let mut may_stop = true;
        while !self.is_over() {
            let room = !self.client_there || self.out.len() < OUTPUT_BYTES_MAX;
            let wake_at = self.kill_at.unwrap_or_else(|| Instant::now() + LEFTOVERS_WITHIN);
            let running = &mut self.running;
            tokio::select! {
                read = reader.read(&mut heard), if self.client_there => match read {
                    Ok(count) if count > 0 => self.hear(&heard[..count]),
                    _ => self.hang_up(),
                },
                wrote = writer.write(&self.out), if self.client_there && !self.out.is_empty() => {
                    match wrote {
                        Ok(count) => drop(self.out.drain(..count)),
                        Err(_) => self.hang_up(),
                    }
                }
                took = write(&mut running.stdin, &self.input), if !self.input.is_empty() => {
                    self.took(&took);
                }
                read = read(&mut running.stdout, &mut printed), if room && running.stdout.is_some() => {
                    self.printed(&read, &printed, false);
                }
                read = read(&mut running.stderr, &mut complained), if room && running.stderr.is_some() => {
                    self.printed(&read, &complained, true);
                }
                status = running.child.wait(), if self.exit.is_none() => self.exited(status),
                asked = &mut stopped, if may_stop => {
                    may_stop = false;
                    if asked.is_ok() {
                        self.end(Signal::TERM);
                    }
                }
                () = sleep_until(wake_at), if self.kill_at.is_some() => self.kill(),
            }
        }
        if self.client_there {
            // Whether the client still listens is its own concern.
            let _ = writer.write_all(&ended(self.exit.unwrap_or_default())).await;
            let _ = writer.shutdown().await;
        }
    }

    /// Whether the program is gone and everything that it printed was passed on.
    fn is_over(&self) -> bool {
        let silent = self.running.stdout.is_none() && self.running.stderr.is_none();
        self.exit.is_some() && silent && (self.out.is_empty() || !self.client_there)
    }

    /// Understands what the client says.
    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        loop {
            match self.decoder.take_frame() {
                Ok(Some(frame)) => self.obey(frame),
                Ok(None) => return,
                Err(_) => return self.hang_up(),
            }
        }
    }

    fn obey(&mut self, frame: Frame) {
        match frame {
            // Input that nobody reads any more is given back as credit at once.
            Frame::Input(bytes) if self.running.stdin.is_none() => self.credit(bytes.len()),
            Frame::Input(bytes) => {
                self.input.extend_from_slice(&bytes);
                if self.input.len() > INPUT_BYTES_MAX {
                    self.hang_up();
                }
            }
            Frame::InputEnd => {
                self.input_ended = true;
                self.close_input();
            }
            Frame::Resize(size) => {
                if let Some(own) = &self.running.terminal {
                    // A size that a terminal cannot have is the client's own problem.
                    let _ = terminal::resize(own, size);
                }
            }
            Frame::Signal(name) => {
                if let Some(signal) = process::signal_by_name(&name) {
                    self.running.handle.signal(signal);
                }
            }
            Frame::Output(_) | Frame::Error(_) | Frame::Credit(_) | Frame::Ended(_) => {
                self.hang_up();
            }
        }
    }

    fn took(&mut self, took: &io::Result<usize>) {
        match *took {
            Ok(count) => {
                self.input.drain(..count);
                self.credit(count);
            }
            // It reads no more.
            Err(_) => {
                self.credit(self.input.len());
                self.input.clear();
                self.running.stdin = None;
            }
        }
        self.close_input();
    }

    fn close_input(&mut self) {
        // A terminal has no end of its own: its client sends what a person types.
        if self.input_ended && self.input.is_empty() && self.running.terminal.is_none() {
            self.running.stdin = None;
        }
    }

    fn credit(&mut self, count: usize) {
        self.tell(&Frame::Credit(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    fn tell(&mut self, frame: &Frame) {
        if self.client_there {
            frame.encode(&mut self.out);
        }
    }

    fn printed(&mut self, read: &io::Result<usize>, bytes: &[u8], is_error: bool) {
        match *read {
            Ok(count) if count > 0 => {
                let bytes = bytes[..count].to_vec();
                self.tell(&if is_error { Frame::Error(bytes) } else { Frame::Output(bytes) });
            }
            // A terminal whose last program is gone answers with an error.
            _ if is_error => self.running.stderr = None,
            _ => self.running.stdout = None,
        }
    }

    /// The client is gone: nobody gives input or takes output any more.
    fn hang_up(&mut self) {
        if !self.client_there {
            return;
        }
        self.client_there = false;
        self.out.clear();
        self.input.clear();
        self.running.stdin = None;
        self.end(Signal::HUP);
    }

    fn end(&mut self, signal: Signal) {
        self.running.handle.signal(signal);
        // What is stopped cannot end.
        self.running.handle.signal(Signal::CONT);
        self.kill_at = Some(Instant::now() + self.stops_within);
    }

    fn exited(&mut self, status: io::Result<ExitStatus>) {
        self.exit = Some(self.running.handle.ended(status.unwrap_or_default()));
        self.running.stdin = None;
        self.input.clear();
        self.running.handle.signal(Signal::HUP);
        self.running.handle.signal(Signal::TERM);
        self.kill_at = Some(Instant::now() + LEFTOVERS_WITHIN);
    }

    /// Nothing that is still there is waited for any longer.
    fn kill(&mut self) {
        self.running.handle.signal(Signal::KILL);
        self.kill_at = None;
        if self.exit.is_some() {
            // Somebody else has the other end, and keeps it.
            self.running.stdout = None;
            self.running.stderr = None;
        }
    }
}

/// The last frame.
fn ended(status: ExitStatus) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ended = Ended { status: status.code(), signal: status.signal() };
    Frame::Ended(ended).encode(&mut bytes);
    bytes
}

async fn write(input: &mut Option<Input>, bytes: &[u8]) -> io::Result<usize> {
    match input {
        Some(input) => input.write(bytes).await,
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn read(output: &mut Option<Output>, bytes: &mut [u8]) -> io::Result<usize> {
    match output {
        Some(output) => output.read(bytes).await,
        None => Ok(0),
    }
}
