//! Which store has the state of an environment, and that there is only one.

use std::sync::Arc;

use onward_core::model::Generation;
use onward_core::ports::StateStore;
use onward_server::remote_state;
use onward_store::state::{Address, Documents, Sign, StoreUrl};

use super::complaint::Complaint;
use super::place_problem::PlaceProblem;
use super::ways::Ways;
use crate::project::Resolved;
use crate::providers::local::Local;
use crate::providers::ssh::SshServer;

/// The documents of the environment, where the project file says.
///
/// # Errors
/// When this build cannot use the store, and when there is a state on this machine that is not
/// the one of the store: two truths.
pub fn of(resolved: &Resolved, local: &Local, ways: Option<&Ways>) -> Result<Documents, Complaint> {
    if let (Some(ways), None) = (ways, &resolved.store) {
        return Ok(of_manager(resolved, ways));
    }
    let here = local.store(&resolved.app, &resolved.environment);
    let Some(url) = &resolved.store else { return Ok(Documents::Directory(here)) };
    let there = in_cloud(url, resolved)?;
    match here.sign()? {
        Some(Sign::Moved { to, .. }) if to == there.address() => {}
        Some(Sign::Moved { generation, digest, .. }) => {
            // Moved on since: whatever has that very generation is the same truth.
            let found = there.read_generation(generation)?;
            if found.is_none_or(|stored| stored.digest != digest) {
                return Err(two(url, here.address().as_str(), generation));
            }
        }
        Some(Sign::Arriving { .. }) => {
            here.read()?;
        }
        None => {
            if let Some(last) = here.generations()?.last() {
                return Err(two(url, here.address().as_str(), *last));
            }
        }
    }
    Ok(there)
}

/// The documents that the manager of an environment keeps.
fn of_manager(resolved: &Resolved, ways: &Ways) -> Documents {
    of_server(resolved, &ways.manager())
}

/// The documents of the environment that a server keeps.
pub fn of_server(resolved: &Resolved, server: &SshServer) -> Documents {
    let place = format!("{} ({})", server.name(), server.place());
    let (app, environment) = (&resolved.app, &resolved.environment);
    let store = remote_state::documents(server.dial(), app, environment, place);
    Documents::Remote(Arc::new(store.at(Address::of_server(server.name()))))
}

fn two(url: &StoreUrl, here: &str, generation: Generation) -> Complaint {
    let (url, here) = (url.to_string(), here.to_owned());
    PlaceProblem::TwoStates { url, here, generation }.into()
}

/// The documents in a store of a cloud.
///
/// # Errors
/// When this build cannot use the store, or no credentials can be found.
#[cfg(feature = "cloud")]
pub fn in_cloud(url: &StoreUrl, resolved: &Resolved) -> Result<Documents, Complaint> {
    use onward_store::state::cloud::CloudStore;
    let store = CloudStore::open(url, &resolved.app, &resolved.environment)?;
    Ok(Documents::Cloud(Arc::new(store)))
}

/// Refuses: this build has no cloud.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cloud"))]
pub fn in_cloud(url: &StoreUrl, _: &Resolved) -> Result<Documents, Complaint> {
    Err(super::problem::Problem::NoCloud(url.to_string()).into())
}
