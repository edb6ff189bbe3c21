//! On which server schedules run: one, and the same for every release.

use std::sync::Arc;

use super::sides::Place;
use crate::document::Document;
use crate::model::{Config, Role, Schedule, ServerName};

/// The first server that carries one of the roles. Without roles that is `worker`, else `manager`,
/// else the first server there is.
fn server_of<'a>(document: &'a Document, on: &[Role]) -> Option<&'a ServerName> {
    let first_with = |wanted: &dyn Fn(&str) -> bool| {
        let mut servers = document.servers.iter();
        servers.find(|(_, own)| own.roles.iter().any(|role| wanted(role.as_str())))
    };
    let found = if on.is_empty() {
        first_with(&|role| role == "worker")
            .or_else(|| first_with(&|role| role == "manager"))
            .or_else(|| document.servers.iter().next())
    } else {
        first_with(&|role| on.iter().any(|own| own.as_str() == role))
    };
    found.map(|(name, _)| name)
}

/// The configuration without the schedules that run on another server.
pub(super) fn schedules_of(config: Arc<Config>, place: Place<'_>) -> Arc<Config> {
    let (document, server) = place.parts();
    let here = |schedule: &Schedule| server_of(document, &schedule.on) == Some(server);
    if config.schedules.values().all(here) {
        return config;
    }
    let mut own = Config::clone(&config);
    own.schedules.retain(|_, schedule| here(schedule));
    Arc::new(own)
}
