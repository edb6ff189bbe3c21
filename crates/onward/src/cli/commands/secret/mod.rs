//! `onward secret …`: values that nobody sees but the app.

mod dotenv;
mod get;
mod input;
mod list;
mod names;
mod prompt;
mod remove;
mod set;
mod share;

pub use input::ask_values;
pub use set::set_values;

use onward_core::secrets::Secrets;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::args_secret::{SecretVerb, ShareVerb};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::operator;
use crate::cli::screen::Screen;
use crate::cli::secrets;

/// Does what the verb says.
pub fn run(
    context: &Context,
    verb: &SecretVerb,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    match verb {
        SecretVerb::Set(args) => set::run(context, args, global, screen),
        SecretVerb::List => list::run(context, screen),
        SecretVerb::Rm { names } => remove::run(context, names, screen),
        SecretVerb::Get { name } => get::run(context, name, screen),
        SecretVerb::Share { verb: None, key, name } => {
            share::share(context, key.as_deref(), name.as_deref(), screen)
        }
        SecretVerb::Share { verb: Some(ShareVerb::List), .. } => share::list(context, screen),
        SecretVerb::Share { verb: Some(ShareVerb::Revoke { who }), .. } => {
            share::revoke(context, who, screen)
        }
        SecretVerb::Key => key(screen),
    }
}

/// Prints the person's public key.
fn key(screen: &Screen) -> Result<Exit, Complaint> {
    let (own, made) = operator::read_or_make()?;
    secrets::tell_made(made.as_deref(), screen);
    screen.line(own.public().as_str());
    screen.document(&json!({
        "public": own.public(),
        "file": operator::path().map(|path| path.display().to_string()),
        "made": made.is_some(),
    }));
    Ok(Exit::Done)
}

/// Warns while one lost file would lose every secret.
fn warn_alone(secrets: &Secrets, screen: &Screen) {
    if secrets.operators.len() == 1 {
        screen.note(
            "  only one key can read the secrets: `onward secret share PUBLIC_KEY` adds another",
        );
    }
}
