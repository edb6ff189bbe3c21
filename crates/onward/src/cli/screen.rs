//! Where output goes: a person's terminal, plain lines, or JSON.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::args::Global;
use super::complaint::Complaint;
use super::exit::Exit;
use super::place::Place;
use crate::project::Colour;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// The width of a terminal that does not say its own.
const WIDTH: usize = 80;

/// The output of one command.
///
/// With `--json` standard output has JSON and nothing else. Otherwise results go to standard
/// output and errors to standard error; `-q` leaves results and errors only.
#[derive(Debug)]
pub struct Screen {
    json: bool,
    quiet: bool,
    verbose: bool,
    live: bool,
    began: Instant,
    /// What a command has to repeat to mean the same project and environment.
    place: Place,
}

impl Screen {
    /// The output that the arguments ask for.
    pub fn new(global: &Global) -> Self {
        let plain = global.json || global.quiet || global.verbose;
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = !plain && !dumb && std::io::stdout().is_terminal();
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            live,
            began: Instant::now(),
            place: Place::of(global),
        }
    }

    /// Whether output is JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether lines may be drawn over.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether more is to be told than usual.
    pub const fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether somebody still reads standard output, as far as is known.
    pub fn is_read(&self) -> bool {
        !UNREAD.load(Ordering::Relaxed)
    }

    /// Since when the command has run.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// A line of a result.
    pub fn line(&self, text: &str) {
        if !self.json {
            write_out(&format!("{text}\n"));
        }
    }

    /// A line that tells what is going on; not with `-q`. Its commands can be typed as they are.
    pub fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            write_out(&format!("{DIM}{}{DIM:#}\n", self.place.repeated(text)));
        }
    }

    /// A line that says that it went well.
    pub fn success(&self, text: &str) {
        if !self.json {
            let text = self.place.repeated(text);
            write_out(&format!("{GOOD}✓{GOOD:#} {text}\n"));
        }
    }

    /// A line about something that a person should know.
    pub fn warn(&self, text: &str) {
        if !self.json {
            let yellow = AnsiColor::Yellow.on_default().bold();
            let text = self.place.repeated(text);
            write_err(&format!("{yellow}Warning:{yellow:#} {text}\n"));
        }
    }

    /// One JSON object on a line of its own.
    pub fn event(&self, value: &Value) {
        if self.json {
            write_out(&format!("{value}\n"));
        }
    }

    /// The one JSON document of a command that reads.
    pub fn document(&self, value: &Value) {
        if self.json {
            let text = serde_json::to_string_pretty(value).expect("a value has only text keys");
            write_out(&format!("{text}\n"));
        }
    }

    /// The last JSON line of a command that acts.
    pub fn finished(&self, ok: bool, mut fields: Value) {
        fields["event"] = json!("finished");
        fields["ok"] = json!(ok);
        fields["seconds"] = json!((self.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0);
        self.event(&fields);
    }

    /// A line with what to type, which can be typed as it is.
    pub fn next(&self, text: &str) {
        self.line(&self.place.repeated(text));
    }

    /// Shows an error and returns how the command ends. Its hints can be typed as they are.
    pub fn complain(&self, complaint: &Complaint) -> Exit {
        let hints = complaint.hints.iter().map(|hint| self.place.repeated(hint)).collect();
        let complaint = &Complaint { hints, ..complaint.clone() };
        if self.json {
            self.finished(complaint.exit == Exit::Done, complaint.json());
            return complaint.exit;
        }
        if let Some(findings) = &complaint.findings {
            write_err(&format!("{}\n\n", findings.render(self.colour())));
        }
        let mut text = String::new();
        for line in complaint.text().lines() {
            if let Some(rest) = line.strip_prefix("Error:") {
                text.push_str(&format!("{ERROR}Error:{ERROR:#}{rest}\n"));
            } else if let Some(rest) = line.strip_prefix("Hint:") {
                text.push_str(&format!("{HINT}Hint:{HINT:#}{rest}\n"));
            } else {
                text.push_str(&format!("{line}\n"));
            }
        }
        write_err(&text);
        complaint.exit
    }

    /// Whether the output of the project's own commands is passed on.
    pub const fn shows_output(&self) -> bool {
        !self.json && !self.quiet
    }

    /// Whether drawings carry colours.
    pub fn colour(&self) -> Colour {
        match AutoStream::choice(&std::io::stderr()) {
            ColorChoice::Never => Colour::Off,
            _ => Colour::On,
        }
    }
}

/// Passes on a line that a command of the project printed.
pub fn passed_on(line: &str) {
    write_out(&format!("{DIM}  │ {line}{DIM:#}\n"));
}

/// Draws over the last `above` lines of the terminal; returns how many there are now. Lines are cut
/// at its width: one that wraps would be counted wrongly.
pub fn redraw(above: usize, lines: &[String]) -> usize {
    let mut text = String::new();
    if above > 0 {
        text.push_str(&format!("\x1b[{above}A\x1b[J"));
    }
    let width = width();
    for line in lines {
        let cut: String = line.chars().take(width).collect();
        text.push_str(&format!("{DIM}{cut}{DIM:#}\n"));
    }
    if above > 0 || !lines.is_empty() {
        write_out(&text);
    }
    lines.len()
}

/// How many characters a line of the terminal has.
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// Whether a write to standard output has failed: nobody reads it any more.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Writes to standard output. A reader that has gone away is no error: `onward status | head -1`.
fn write_out(text: &str) {
    let mut out = anstream::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        UNREAD.store(true, Ordering::Relaxed);
    }
}

fn write_err(text: &str) {
    let mut out = anstream::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
