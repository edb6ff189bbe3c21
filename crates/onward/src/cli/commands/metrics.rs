//! `onward metrics`: what the proxy of a server counts.

use onward_core::engine::Refusal;
use onward_proxy::Client;

use crate::cli::args::MetricsArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::screen::Screen;
use crate::providers::local::Contact;

/// Prints the metrics as Prometheus reads them, or as one JSON document.
pub fn run(context: &Context, args: &MetricsArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let server = match &args.server {
        Some(name) => fleet::named(context, document, name)?,
        None => fleet::entry(context, document).ok_or(Refusal::NothingReleased)?,
    };
    if matches!(server.contact(), Contact::Absent) {
        return Err(Refusal::NothingReleased.into());
    }
    let silent = |error: String| {
        let what = format!("the proxy of {} does not answer: {error}", server.name());
        Complaint::new(Exit::Failed, what).hint("`onward doctor` looks for the reason")
    };
    let status = match server.local() {
        // It counts also while its agent hangs.
        Some(local) => Client::connect(&local.proxy_socket())
            .and_then(|mut client| client.status())
            .map_err(|error| silent(error.to_string()))?,
        None => {
            let mut agent = server.agent().map_err(|error| fleet::complaint(&server, &error))?;
            agent.proxy().map_err(|error| silent(error.to_string()))?
        }
    };
    if screen.is_json() {
        screen.document(&serde_json::to_value(&status).unwrap_or_default());
    } else {
        print!("{}", status.metrics());
    }
    Ok(Exit::Done)
}
