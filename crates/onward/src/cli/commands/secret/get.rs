//! `onward secret get`: one value, to whoever asks for it by name.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};

use onward_secret::open_value;

use super::names;
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::cli::secret_problem::SecretProblem;
use crate::cli::secrets;

/// Prints the value and nothing else; in a terminal with a line end.
pub(super) fn run(context: &Context, name: &OsStr, screen: &Screen) -> Result<Exit, Complaint> {
    if screen.is_json() {
        return Err(SecretProblem::GetAsJson.into());
    }
    let name = names::one(name, 1)?;
    let stored = context.look()?;
    let known = stored.as_ref().and_then(|stored| stored.document.secrets.as_ref());
    let found = known.and_then(|known| Some((known, known.current(&name)?)));
    let Some((known, (version, value))) = found else {
        return Err(unknown(context, name));
    };
    let identity = secrets::opened(context, known)?;
    let value = open_value(&identity, &name, version, &value.sealed.text)
        .map_err(|why| SecretProblem::Damaged { name, why })?;
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if out.is_terminal() { b"\n" } else { b"" };
    let written = out.write_all(value.expose()).and_then(|()| out.write_all(end));
    written
        .and_then(|()| out.flush())
        .map_err(|error| complaint::system("/dev/stdout".as_ref(), error))?;
    Ok(Exit::Done)
}

/// There is no such secret.
pub(super) fn unknown(context: &Context, name: onward_core::secrets::SecretName) -> Complaint {
    SecretProblem::Unknown { name, environment: context.environment().to_string() }.into()
}
