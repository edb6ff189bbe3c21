//! Where an environment answers, and whether somebody else does there already.

use onward_core::document::Document;
use onward_core::model::Routing;
use onward_core::ports::StateStore;

use super::context::Context;
use super::fleet;
use super::problem::Problem;
use super::screen::Screen;
use crate::providers::Server;

/// The address that people type: the proxy's own, under the name and path of what serves, with TLS
/// once there is a certificate for the name.
pub fn of(
    context: &Context,
    document: Option<&Document>,
    proxy: &str,
    https_port: Option<u16>,
) -> String {
    let serving = document
        .and_then(|document| Some(document.release(document.serving?)?.config.routing.clone()));
    let routing = serving.unwrap_or_else(|| context.resolved.routing.clone());
    if let Some(address) = document.and_then(|own| with_tls(own, &routing, https_port?)) {
        return address;
    }
    let (scheme, place) = proxy.split_once("://").unwrap_or(("http", proxy));
    let (host, port) = place.rsplit_once(':').map_or((place, ""), |(host, port)| (host, port));
    let canonical = routing.hosts.iter().find(|name| !name.starts_with('*'));
    let name = match canonical {
        Some(name) => name.clone(),
        // Another project may have "any name" in a home that both use.
        None if context.local.is_shared() && routing.hosts.is_empty() => {
            format!("{}.{}.localhost", context.environment(), context.app())
        }
        None => host.to_owned(),
    };
    let port = if (scheme, port) == ("http", "80") { "" } else { port };
    let path = &routing.path;
    if port.is_empty() {
        format!("{scheme}://{name}{path}")
    } else {
        format!("{scheme}://{name}:{port}{path}")
    }
}

fn with_tls(document: &Document, routing: &Routing, port: u16) -> Option<String> {
    let name = routing.hosts.iter().find(|name| !name.starts_with('*'))?;
    routing.https.as_ref()?;
    document.https.as_ref()?.certificate(name)?;
    let path = &routing.path;
    Some(match port {
        443 => format!("https://{name}{path}"),
        port => format!("https://{name}:{port}{path}"),
    })
}

/// Who answers at the address of a server instead of an environment that has no name: another one
/// that has none was there first.
pub fn taken_by(context: &Context, document: Option<&Document>, server: &Server) -> Option<String> {
    let document = document?;
    let routing = &document.release(document.serving?)?.config.routing;
    if !routing.hosts.is_empty() || !routing.path.is_empty() {
        return None;
    }
    let own = format!("{}/{}", context.app(), context.environment());
    server.ssh()?.last_greeting()?.unnamed.filter(|holder| *holder != own)
}

/// Says that visitors reach somebody else, when that is so.
pub fn remind(context: &Context, document: &Document, screen: &Screen) {
    for server in fleet::entries(context, Some(document)) {
        let Some(holder) = taken_by(context, Some(document), &server) else { continue };
        let Some(known) = document.server(server.name()) else { continue };
        screen.warn(&format!(
            "at {} {holder} answers, which was there first: give this environment a `domain` or a \
             `path`, and `onward -e {} up`",
            known.address.trim_end_matches(":80"),
            context.environment()
        ));
    }
}

/// Refuses names that another environment on this machine answers to. The agent refuses them too;
/// here it is said before anything is built.
pub fn is_free(context: &Context) -> Result<(), Problem> {
    let own = &context.resolved.routing;
    for documents in context.local.documents() {
        let Ok(Some(stored)) = documents.read() else { continue };
        let document = &stored.document;
        if document.app == *context.app() && document.environment == *context.environment() {
            continue;
        }
        if let Some(what) = claims(document).find_map(|theirs| own.conflict(theirs)) {
            let owner = format!("{}/{}", document.app, document.environment);
            return Err(Problem::Taken { what, owner });
        }
    }
    Ok(())
}

/// What an environment answers to, or is about to.
fn claims(document: &Document) -> impl Iterator<Item = &Routing> {
    let coming = document.operation.as_ref().and_then(|operation| operation.release);
    let alive = [document.serving, coming].into_iter().flatten();
    alive.filter_map(|number| document.release(number)).map(|release| &release.config.routing)
}
