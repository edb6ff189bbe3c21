//! Which store has the state of an environment, and that there is only one.

use onward_core::model::Generation;
use onward_core::ports::StateStore;
use onward_store::state::{Documents, Sign, StoreUrl};

use super::complaint::Complaint;
use super::place_problem::PlaceProblem;
use crate::project::Resolved;
use crate::providers::local::Local;

/// The documents of the environment, where the project file says.
///
/// # Errors
/// When this build cannot use the store, and when there is a state on this machine that is not
/// the one of the store: two truths.
pub fn of(resolved: &Resolved, local: &Local) -> Result<Documents, Complaint> {
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
    Ok(Documents::Cloud(std::sync::Arc::new(store)))
}

/// Refuses: this build has no cloud.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cloud"))]
pub fn in_cloud(url: &StoreUrl, _: &Resolved) -> Result<Documents, Complaint> {
    Err(super::problem::Problem::NoCloud(url.to_string()).into())
}
