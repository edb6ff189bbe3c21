//! The alphabet of faults, and where each has a meaning.
//!
//! A **decision point** is a place where one actor asks something of the world: a read or a write
//! of the document, the delivery of an order, a pull of it, an action of an agent. Points are
//! numbered from 0 in the order in which they are reached. At each at most one fault is injected.
//!
//! | fault | read, write | delivery, pull | action of an agent |
//! |---|---|---|---|
//! | `CrashBefore` | the client dies, nothing was sent | the sender (pull: the agent) dies, nothing arrives | the agent dies before |
//! | `CrashAfter` | the client dies, it was written | the same, it arrived | the agent dies after |
//! | `LostReq` | unavailable; the write did not happen, the answer is Unknown | nothing arrives, Unknown | the proxy never gets the route |
//! | `LostAck` | it was written, Unknown | it arrived, Unknown | the proxy has the route, its answer is lost |
//! | `Delay` | it is written `gap` decisions later, Unknown | it arrives `gap` decisions later, Unknown | the action takes that much longer |
//! | `DupLater` | written, and tried again `gap` decisions later | arrives, and again later | no meaning: actions are local calls, nothing resends them |
//! | `SdkRetry` | written twice at once: a false conflict comes back | arrives twice at once, the second answer comes back | no meaning, as above |
//! | `Partial` | no meaning: a store writes whole or not (its contract suite, and its kill tests) | no meaning: an order is kept whole or not | staged files are incomplete although that was acknowledged |
//! | `Pause` | the client sleeps `gap` decisions and a minute, then sends what it had | the same | the agent sleeps, its answer comes late |
//! | `HostReboot` | written, then a server loses its memory, Unknown | arrived, then that server reboots, Unknown | done, then that server reboots |
//! | `Conflict` | somebody else writes first | the same: the order is old when it leaves | no meaning: nobody else acts on a server |
//! | `Busy` | the store fails `k` times; the run ends with that and another begins | refused | no meaning: local calls are not throttled |
//! | `Stale` | no meaning: reads are linearizable by contract | the order of the generation before arrives instead | no meaning |
//! | `Torn` | no meaning, as `Partial` | the agent dies while it keeps the order: the old one stays | power fails while files are brought: they look whole and are not |
//! | `NoSpace` | nothing is written, an error comes back | the agent cannot keep the order, and refuses it | files cannot be brought, a process cannot be started |
//! | `Refuse` | nothing is written, an error comes back | refused | files cannot be brought |
//! | `Unhealthy` | no meaning | no meaning | an instance dies some polls after it was ready |
//! | `LateAck` | no meaning: a client waits for its store | it arrives, the sender goes on without the answer, and has it, as old as it is then, `gap` decisions later | no meaning |
//! | `OldBinary` | the client is an older version from now on: what it writes lacks optional fields | the agent is, its reports lack them, and it is replaced (restarts) | no meaning: versions change between actions |
//!
//! There is no fault of a lease, because there is no lease: safety is compare-and-swap and the
//! fence alone.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What goes wrong at a decision point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table of the module says what each does where")]
pub enum Fault {
    CrashBefore,
    CrashAfter,
    LostReq,
    LostAck,
    Delay,
    DupLater,
    SdkRetry,
    Partial,
    Pause,
    HostReboot,
    Conflict,
    Busy,
    Stale,
    Torn,
    NoSpace,
    Refuse,
    Unhealthy,
    OldBinary,
    LateAck,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::LostReq,
        Self::LostAck,
        Self::Delay,
        Self::DupLater,
        Self::SdkRetry,
        Self::Partial,
        Self::Pause,
        Self::HostReboot,
        Self::Conflict,
        Self::Busy,
        Self::Stale,
        Self::Torn,
        Self::NoSpace,
        Self::Refuse,
        Self::Unhealthy,
        Self::OldBinary,
        Self::LateAck,
    ];

    /// Its bit in a set of faults.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether it has a meaning at a point.
    pub const fn has_meaning_at(self, point: Point) -> bool {
        point.faults() & self.bit() != 0
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// The kinds of decision points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A client reads the document.
    Read,
    /// A client writes it.
    Write,
    /// A client brings an order to a server.
    Deliver,
    /// An agent reads the document and takes its order from it.
    Pull,
    /// An agent begins to bring files.
    Stage,
    /// An agent starts an instance.
    Start,
    /// An agent tells its proxy where traffic goes.
    Route,
    /// An agent does anything else.
    Act,
}

const CRASH: u32 = Fault::CrashBefore.bit() | Fault::CrashAfter.bit();
const SLOW: u32 = Fault::Delay.bit() | Fault::Pause.bit();
const LOST: u32 = Fault::LostReq.bit() | Fault::LostAck.bit();
const AGAIN: u32 = Fault::DupLater.bit() | Fault::SdkRetry.bit();
const ACTION: u32 = CRASH | SLOW | Fault::HostReboot.bit();

impl Point {
    /// The faults that have a meaning here, as a set of bits.
    pub const fn faults(self) -> u32 {
        match self {
            Self::Read => {
                CRASH
                    | Fault::LostReq.bit()
                    | Fault::Pause.bit()
                    | Fault::HostReboot.bit()
                    | Fault::Busy.bit()
                    | Fault::OldBinary.bit()
            }
            Self::Write => {
                CRASH
                    | SLOW
                    | LOST
                    | AGAIN
                    | Fault::HostReboot.bit()
                    | Fault::Conflict.bit()
                    | Fault::Busy.bit()
                    | Fault::NoSpace.bit()
                    | Fault::Refuse.bit()
            }
            Self::Deliver => {
                CRASH
                    | SLOW
                    | LOST
                    | AGAIN
                    | Fault::HostReboot.bit()
                    | Fault::Conflict.bit()
                    | Fault::Busy.bit()
                    | Fault::Stale.bit()
                    | Fault::Torn.bit()
                    | Fault::NoSpace.bit()
                    | Fault::Refuse.bit()
                    | Fault::OldBinary.bit()
                    | Fault::LateAck.bit()
            }
            Self::Pull => {
                CRASH
                    | SLOW
                    | Fault::LostReq.bit()
                    | Fault::HostReboot.bit()
                    | Fault::Stale.bit()
                    | Fault::Torn.bit()
                    | Fault::NoSpace.bit()
            }
            Self::Stage => {
                ACTION
                    | Fault::Partial.bit()
                    | Fault::Torn.bit()
                    | Fault::NoSpace.bit()
                    | Fault::Refuse.bit()
            }
            Self::Start => ACTION | Fault::Unhealthy.bit() | Fault::NoSpace.bit(),
            Self::Route => ACTION | LOST,
            Self::Act => ACTION,
        }
    }
}

/// The faults of one run by decision, and the delay of those that have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is injected where.
    pub faults: BTreeMap<u32, Fault>,
    /// For how many decisions what is delayed, repeated or paused waits.
    pub gap: u32,
}

impl Plan {
    /// No fault at all.
    pub const fn none() -> Self {
        Self { faults: BTreeMap::new(), gap: 12 }
    }

    /// One fault.
    pub fn at(decision: u32, fault: Fault, gap: u32) -> Self {
        Self { faults: BTreeMap::from([(decision, fault)]), gap }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (decision, fault) in &self.faults {
            write!(f, "{decision}:{fault},")?;
        }
        write!(f, "gap={}", self.gap)
    }
}

/// Why a text is not a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPlan(String);

impl std::error::Error for InvalidPlan {}

impl InvalidPlan {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for InvalidPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not part of a plan such as `17:LostAck,31:HostReboot,gap=120`", self.0)
    }
}

impl FromStr for Plan {
    type Err = InvalidPlan;

    fn from_str(text: &str) -> Result<Self, InvalidPlan> {
        let mut plan = Self::none();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || InvalidPlan(part.to_owned());
            if let Some(gap) = part.strip_prefix("gap=") {
                plan.gap = gap.parse().map_err(|_| invalid())?;
                continue;
            }
            let (decision, name) = part.split_once(':').ok_or_else(invalid)?;
            let named = |fault: &&Fault| format!("{fault:?}").eq_ignore_ascii_case(name);
            let fault = Fault::ALL.iter().find(named).ok_or_else(invalid)?;
            plan.faults.insert(decision.parse().map_err(|_| invalid())?, *fault);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_what_it_wrote() {
        let text = "17:LostAck,31:HostReboot,gap=120";
        let plan: Plan = text.parse().expect("legal");
        assert_eq!(plan.to_string(), text);
        assert_eq!(plan.faults.len(), 2);
        for text in ["x", "1:Nothing", "a:LostAck", "gap=x"] {
            assert!(text.parse::<Plan>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_fault_has_a_meaning_somewhere() {
        const POINTS: [Point; 8] = [
            Point::Read,
            Point::Write,
            Point::Deliver,
            Point::Pull,
            Point::Stage,
            Point::Start,
            Point::Route,
            Point::Act,
        ];
        for fault in Fault::ALL {
            assert!(POINTS.iter().any(|point| fault.has_meaning_at(*point)), "{fault}");
        }
    }
}
