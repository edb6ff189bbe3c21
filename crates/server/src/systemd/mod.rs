//! onward as services of systemd: the units of agent and proxy, and how they are put on a machine.
//!
//! ```text
//!  systemd ── onward-agent.service                      one agent, restarted for ever
//!     │
//!     ├─ onward-http.socket   (port 80)  ──┐
//!     ├─ onward-https.socket  (port 443) ──┤ held by systemd, whoever lives or dies
//!     │                                    ▼
//!     └─ onward-proxy@1.service … @N       the proxy; two of them while one takes over from the other
//! ```
//! The units are texts made by pure functions ([`units`]); [`install`] makes a machine have them and
//! [`remove`] takes every trace away. Nothing here is used where systemd is not the first process.

mod account;
mod install;
mod manager;
mod names;
mod notify;
mod remove;
pub mod transient;
pub mod units;

pub use account::{Account, outside};
pub use install::{Error, Install, install};
pub use manager::{Manager, Refused, Shown, is_running_here, unit_of};
pub use names::Names;
pub use notify::ready;
pub use remove::{Left, leave, remove};
