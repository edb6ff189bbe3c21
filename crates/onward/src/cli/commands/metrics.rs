//! `onward metrics`: what the proxy of this machine counts.

use onward_core::engine::Refusal;
use onward_proxy::Client;

use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;

/// Prints the metrics as Prometheus reads them, or as one JSON document.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    if context.local.running_agent().is_none() {
        return Err(Refusal::NothingReleased.into());
    }
    let status = Client::connect(&context.local.proxy_socket())
        .and_then(|mut client| client.status())
        .map_err(|error| {
            Complaint::new(
                Exit::Failed,
                format!("the proxy of this machine does not answer: {error}"),
            )
            .hint("`onward doctor` looks for the reason")
        })?;
    if screen.is_json() {
        screen.document(&serde_json::to_value(&status).unwrap_or_default());
    } else {
        print!("{}", status.metrics());
    }
    Ok(Exit::Done)
}
