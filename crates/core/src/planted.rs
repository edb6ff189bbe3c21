//! Bugs that can be switched on, to show that the tests of the whole would notice them.
//!
//! Code asks `planted!(NAME)` where a bug can be planted. Without `--cfg planted`, which no
//! shipped build has, that is the constant `false`.

/// A bug that the simulation must catch. Each names the line of code that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Orders leave before the document that they follow from is written.
    EffectBeforeIntent,
    /// The old version is stopped before the route has left it.
    StopBeforeRoute,
    /// A write that was not answered is taken for a write that happened.
    TimeoutIsSuccess,
    /// An agent that was restarted does not look for the instances that run already.
    NoIdempotencyKey,
    /// Files are started without comparing them with their digest.
    NoDigestCheck,
    /// What served before the switch is asked of the servers instead of read in the document.
    PreviousReobserved,
    /// An agent takes any order, whatever its generation.
    NoFence,
    /// An agent compares operations instead of generations.
    FenceByOperation,
    /// An agent forgets at a restart which generation it had accepted.
    FenceInMemory,
    /// The document is written without comparing what is being replaced.
    UnconditionalWrite,
    /// A request that met a conflict is submitted again under another name.
    ConflictIsFailure,
    /// Orders are delivered only by the runner that wrote them, right after the write.
    NoReorderAfterRecovery,
    /// A server stops answering while balancers still send it requests.
    PeerStopsFirst,
    /// Balancers send requests to a server that a decision has left behind.
    PeerStaysBehind,
    /// A batch is decided before its servers have answered their probe.
    BatchBeforeProbe,
    /// A failed watch takes the release back only from the servers of its own step.
    TakeBackForgetsSteps,
    /// An instance that is not wanted any more is stopped while the route names it.
    ScaleStopsBeforeRoute,
    /// A count is decided although the new instances have not answered their probe.
    ScaleWithoutProbe,
    /// What a server said before it accepted the current order still counts.
    OldReportCounts,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::EffectBeforeIntent,
        Self::StopBeforeRoute,
        Self::TimeoutIsSuccess,
        Self::NoIdempotencyKey,
        Self::NoDigestCheck,
        Self::PreviousReobserved,
        Self::NoFence,
        Self::FenceByOperation,
        Self::FenceInMemory,
        Self::UnconditionalWrite,
        Self::ConflictIsFailure,
        Self::NoReorderAfterRecovery,
        Self::PeerStopsFirst,
        Self::PeerStaysBehind,
        Self::BatchBeforeProbe,
        Self::TakeBackForgetsSteps,
        Self::ScaleStopsBeforeRoute,
        Self::ScaleWithoutProbe,
        Self::OldReportCounts,
    ];

    /// The name on the command line of the simulation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EffectBeforeIntent => "effect-before-intent",
            Self::StopBeforeRoute => "stop-before-route",
            Self::TimeoutIsSuccess => "timeout-is-success",
            Self::NoIdempotencyKey => "no-idempotency-key",
            Self::NoDigestCheck => "no-digest-check",
            Self::PreviousReobserved => "previous-reobserved",
            Self::NoFence => "no-fence",
            Self::FenceByOperation => "fence-by-operation",
            Self::FenceInMemory => "fence-in-memory",
            Self::UnconditionalWrite => "unconditional-write",
            Self::ConflictIsFailure => "conflict-is-failure",
            Self::NoReorderAfterRecovery => "no-reorder-after-recovery",
            Self::PeerStopsFirst => "peer-stops-first",
            Self::PeerStaysBehind => "peer-stays-behind",
            Self::BatchBeforeProbe => "batch-before-probe",
            Self::TakeBackForgetsSteps => "take-back-forgets-steps",
            Self::ScaleStopsBeforeRoute => "scale-stops-before-route",
            Self::ScaleWithoutProbe => "scale-without-probe",
            Self::OldReportCounts => "old-report-counts",
        }
    }
}

#[cfg(planted)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on for this thread, or all off.
#[cfg(planted)]
pub fn plant(bug: Option<Bug>) {
    ACTIVE.set(bug);
}

/// Whether the bug is on in this thread.
#[cfg(planted)]
pub fn is_active(bug: Bug) -> bool {
    ACTIVE.get() == Some(bug)
}

/// Whether a bug is planted here; the constant `false` without `--cfg planted`.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(planted)]
        {
            $crate::planted::is_active($crate::planted::Bug::$bug)
        }
        #[cfg(not(planted))]
        {
            false
        }
    }};
}
pub(crate) use planted;
