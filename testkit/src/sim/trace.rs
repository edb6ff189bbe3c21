//! What happened in a run: a digest of everything always, the lines only when somebody reads them.

use std::fmt;

use super::fault::Fault;
use super::rng::mix;

/// The record of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<Line>>,
}

/// One line, of fixed width.
#[derive(Debug, Clone)]
pub struct Line {
    decision: u32,
    at_ms: u64,
    actor: String,
    generation: u64,
    what: String,
    fault: Option<Fault>,
    verdict: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault.map(|fault| fault.to_string()).unwrap_or_default();
        write!(
            f,
            "{:>5} {:>7} {:<8} {:>4}  {:<34.34} {:<11} {}",
            self.decision, self.at_ms, self.actor, self.generation, self.what, fault, self.verdict
        )
    }
}

/// What a line says; the texts are only made when somebody reads them.
pub struct Event<'a> {
    /// The number of the decision.
    pub decision: u32,
    /// The time of the world.
    pub at_ms: u64,
    /// Who acts.
    pub actor: u8,
    /// The generation that it acts on.
    pub generation: u64,
    /// The kind of thing that it does, for the digest.
    pub code: u64,
    /// What it does.
    pub what: &'a dyn Fn() -> String,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// What came of it.
    pub verdict: &'a dyn Fn() -> String,
}

impl Trace {
    /// The head of the columns.
    pub const HEAD: &'static str =
        "    n    time actor     gen  request                            fault       verdict";

    /// A record that keeps its lines.
    pub fn with_lines() -> Self {
        Self { hash: 0, lines: Some(Vec::new()) }
    }

    /// Adds an event.
    pub fn add(&mut self, actor: &dyn Fn(u8) -> String, event: &Event<'_>) {
        let fault = event.fault.map_or(0, |fault| 1 + fault as u64);
        for part in [
            u64::from(event.decision) << 32 | event.at_ms,
            u64::from(event.actor) << 56 | event.generation << 8 | fault,
            event.code,
        ] {
            self.hash = mix(self.hash ^ part).wrapping_add(part);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(Line {
                decision: event.decision,
                at_ms: event.at_ms,
                actor: actor(event.actor),
                generation: event.generation,
                what: (event.what)(),
                fault: event.fault,
                verdict: (event.verdict)(),
            });
        }
    }

    /// Equal for equal runs.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, when they were kept.
    pub fn lines(&self) -> &[Line] {
        self.lines.as_deref().unwrap_or_default()
    }
}
