//! Processes of this machine: started in groups of their own, found again, ended whole.
//!
//! This supervisor is for development: it has no users, no sandbox and no limits of memory. What
//! it knows of a process it reads in `/proc`, so it runs on Linux only.

mod exit;
mod group;
pub mod journal;
pub mod logs;
mod ports;
mod procfs;
mod spawn;
mod supervisor;
pub mod terminal;

pub use exit::{Exit, signal_by_name, signal_name};
pub use group::{End, end_group, kill_group, signal_session, wait_for_exit};
pub use ports::{free_port, listening_ports, owner_of_port};
pub use procfs::{
    Identity, available_memory, boot_id, environment, is_running, members, memory_kills,
    own_groups, resident_memory, session_members,
};
pub use spawn::{Program, Spawn, Spawned, command, inherited_environment, with_exec};
pub(crate) use supervisor::with_unit;
pub use supervisor::{
    APP_FIELD, Confine, Group, LOG_FIELD, RELEASE_FIELD, SOURCE_FIELD, Started, Supervisor,
    log_name,
};
