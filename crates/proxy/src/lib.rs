//! The data plane: an HTTP reverse proxy in a process of its own.
//!
//! It knows nothing of deploys. It gets a routing [`Table`], holds exactly one, exchanges it whole
//! and tells what it counted. What it promises:
//!
//! - a switch is one pointer: each request follows the old table or the new one, none is refused;
//! - what was given to an instance finishes there; upgraded connections live on until `cut`;
//! - a table is durable before it is in force, and a proxy that starts again serves it at once;
//! - while no instance can be reached, requests are held instead of failed;
//! - each request is counted exactly once, when its answer is over;
//! - what can be read in two ways is refused (see `framing.rs`).
//!
//! It doesn't start processes, probe them, or decide anything about them.

mod access;
mod answer;
mod asking;
mod certificates;
mod certificates_file;
mod chunks;
mod client;
mod client_side;
mod connection;
mod control;
mod counters;
mod crowd;
mod exchange;
pub mod files;
mod fleet;
mod forward;
mod framing;
mod gate;
mod heritage;
mod histogram;
mod hold;
mod host;
mod http2;
mod inherited;
mod limits;
mod maintenance;
mod matching;
mod metrics;
mod policy;
mod pool;
mod protocol;
mod reading;
mod reception;
mod routing;
mod scratch;
mod serve;
mod shared;
mod slim;
mod sockets;
mod stage;
mod stream;
mod table;
mod table_file;
mod tls;
mod tunnel;
mod upload;
mod upstream;
mod worker;

pub use certificates::{
    BadCertificate, Certificate, Certificates, MAX_CERTIFICATES, MAX_PEM, PrivateKey,
};
pub use certificates_file::{
    CertificatesFileError, beside as certificates_file, load as load_certificates,
    store as store_certificates,
};
pub use client::{Client, ClientError};
pub use counters::Counters;
pub use fleet::Fleet;
pub use heritage::{Entry, Heritage, Ledger};
pub use histogram::Histogram;
pub use host::{BadHost, HostPattern};
pub use inherited::{Inherited, inherited};
pub use limits::Limits;
pub use metrics::{METRICS, Metric};
pub use policy::{
    Challenge, Https, Limited, MAX_PAGE, MAX_RETRY_AFTER_S, Maintenance, Site, SiteRules,
};
pub use protocol::{InstanceStatus, ReleaseStatus, Status, Why};
pub use serve::{
    Config, Error, Stopper, default_workers, https_listener_from_stdout, listener_from_stdin, run,
    run_after, run_until,
};
pub use stage::Stage;
pub use table::{
    Instance, Invalid, MAX_HOLD_MS, MAX_HOSTS, MAX_INSTANCES, MAX_PATH, MAX_ROUTES, Route, Table,
};
pub use table_file::{TableFileError, load as load_table, store as store_table};
