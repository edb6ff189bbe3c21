//! What goes wrong, in words for people.

use onward_testkit::sim::rehearse::Struck;
use onward_testkit::sim::{Fault, Point};

/// Kinds of things that go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The command dies: Ctrl-C twice, a closed laptop, `kill -9`.
    Command,
    /// The agent of a server dies.
    Agent,
    /// A server loses its power.
    Power,
    /// What is sent is lost, late, or arrives twice.
    Network,
    /// A machine stands still for a minute.
    Pause,
    /// Something cannot be written.
    Disk,
    /// Files arrive incomplete.
    Files,
    /// An instance of the new version dies later.
    Instance,
    /// Somebody else writes at the same moment.
    Others,
    /// Another version of onward takes part.
    Version,
}

impl Cause {
    /// The kind of a fault at a point.
    pub const fn of(fault: Fault, point: Point) -> Self {
        match fault {
            Fault::CrashBefore | Fault::CrashAfter => match point {
                Point::Read | Point::Write | Point::Deliver => Self::Command,
                _ => Self::Agent,
            },
            Fault::HostReboot => Self::Power,
            Fault::LostReq
            | Fault::LostAck
            | Fault::Delay
            | Fault::DupLater
            | Fault::SdkRetry
            | Fault::Stale
            | Fault::LateAck => Self::Network,
            Fault::Pause => Self::Pause,
            Fault::NoSpace => Self::Disk,
            Fault::Partial | Fault::Torn => Self::Files,
            Fault::Unhealthy => Self::Instance,
            Fault::Conflict | Fault::Busy | Fault::Refuse => Self::Others,
            Fault::OldBinary => Self::Version,
        }
    }

    /// What people read.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Command => "the command is killed",
            Self::Agent => "an agent is killed",
            Self::Power => "a server loses its power",
            Self::Network => "messages are lost, late, doubled",
            Self::Pause => "a machine stands still for a minute",
            Self::Disk => "a disk is full",
            Self::Files => "files arrive incomplete",
            Self::Instance => "an instance dies later",
            Self::Others => "others write, or the store refuses",
            Self::Version => "another version of onward takes part",
        }
    }
}

/// When something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// While nothing was in flight: not yet recorded, or ended.
    Idle,
    /// Before the decision: the operation can go back.
    Before,
    /// After it: everything goes forward.
    After,
}

impl When {
    /// The moment at which a fault struck.
    pub const fn of(struck: &Struck) -> Self {
        match struck.phase {
            None => Self::Idle,
            Some(phase) if phase.is_decided() => Self::After,
            Some(_) => Self::Before,
        }
    }

    /// What people read.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Idle => "not in flight",
            Self::Before => "before the decision",
            Self::After => "after the decision",
        }
    }
}
