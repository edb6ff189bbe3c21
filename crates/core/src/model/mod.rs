//! The words that everybody shares: names, numbers, digests, releases.

mod digest;
mod limits;
mod name;
mod number;
mod release;
mod routing;
mod runtime;
mod schedule;
mod strategy;

pub use digest::{Digest, InvalidDigest};
pub use limits::Limits;
pub use name::{
    AppName, EnvironmentName, InvalidName, NAME_BYTES_MAX, ProcessName, Role, ServerName,
};
pub use number::{Generation, OperationNumber, ReleaseNumber, RequestId, WriteId};
pub use release::{BundleRef, Config, Probe, ProbeKind, Process, Release, RenderedFile, Run, Stop};
pub use routing::{HttpsRules, Maintenance, PAGE_BYTES_MAX, RETRY_AFTER_S_MAX, Routing, SiteRules};
pub use runtime::{Runtime, RuntimeSource};
pub use schedule::{Schedule, When};
pub use strategy::{Part, Strategy};
