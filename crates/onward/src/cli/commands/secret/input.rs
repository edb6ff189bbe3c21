//! Where values come from: a terminal, standard input, a file. Never the arguments.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use onward_core::secrets::{SecretName, VALUE_BYTES_MAX};
use onward_secret::Secret;
use zeroize::Zeroizing;

use super::prompt::Prompt;
use super::{dotenv, names};
use crate::cli::args::Global;
use crate::cli::args_secret::SetArgs;
use crate::cli::context::Context;
use crate::cli::screen::Screen;
use crate::cli::secret_problem::SecretProblem;

/// The longest file of `NAME=value` lines, in bytes.
const ENV_FILE_BYTES_MAX: u64 = 1 << 20;

/// The values that the person gives.
pub(super) fn values(
    context: &Context,
    args: &SetArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Vec<(SecretName, Secret)>, SecretProblem> {
    let names = names::read(context, &args.names)?;
    if let Some(path) = &args.env_file {
        return env_file(path, &names, screen);
    }
    if names.is_empty() {
        return Err(SecretProblem::NoName);
    }
    let asks = args.file.is_none() && io::stdin().is_terminal();
    if !asks && names.len() > 1 {
        return Err(SecretProblem::OneValueForSeveral);
    }
    let mut prompt = None;
    let mut values = Vec::new();
    for name in names {
        let value = match &args.file {
            Some(path) => read_file(path, VALUE_BYTES_MAX as u64)?,
            None if asks => asked(&name, global, &mut prompt)?,
            None => from_stdin()?,
        };
        values.push(checked(name, value)?);
    }
    Ok(values)
}

/// Asks a person for the values of these.
///
/// # Errors
/// When nobody can be asked, or none is given.
pub fn ask_values(
    names: impl IntoIterator<Item = SecretName>,
    global: &Global,
) -> Result<Vec<(SecretName, Secret)>, SecretProblem> {
    let mut prompt = None;
    let ask = |name: SecretName| {
        let value = asked(&name, global, &mut prompt)?;
        checked(name, value)
    };
    names.into_iter().map(ask).collect()
}

/// Asks a person. Scripts that forgot to pass a value are refused instead of waiting for ever.
fn asked(
    name: &SecretName,
    global: &Global,
    prompt: &mut Option<Prompt>,
) -> Result<Secret, SecretProblem> {
    let nobody = || SecretProblem::NobodyToAsk(name.clone());
    if global.no_input || global.json {
        return Err(nobody());
    }
    if prompt.is_none() {
        *prompt = Some(Prompt::open().map_err(|_| nobody())?);
    }
    let prompt = prompt.as_mut().expect("it was opened just now when it was not");
    let asked = prompt.ask(&format!("Value of {name} (it is not shown): "));
    let asked = asked.map_err(|_| nobody())?;
    asked.ok_or(SecretProblem::NotGiven)
}

/// All of standard input, without the one line end that `echo` and editors add.
fn from_stdin() -> Result<Secret, SecretProblem> {
    let value = read(io::stdin().lock(), VALUE_BYTES_MAX as u64 + 2);
    let value =
        value.map_err(|source| SecretProblem::File { path: "/dev/stdin".into(), source })?;
    let bytes = value.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    Ok(Secret::new(bytes.to_vec()))
}

fn read_file(path: &Path, bytes_max: u64) -> Result<Secret, SecretProblem> {
    let file = File::open(path).and_then(|file| read(file, bytes_max));
    file.map_err(|source| SecretProblem::File { path: path.to_owned(), source })
}

/// Reads one byte more than is allowed, so that too much is found out.
fn read(from: impl Read, bytes_max: u64) -> io::Result<Secret> {
    let capacity = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(Secret::new(bytes.to_vec()))
}

fn checked(name: SecretName, value: Secret) -> Result<(SecretName, Secret), SecretProblem> {
    if value.is_empty() {
        return Err(SecretProblem::Empty(name));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(SecretProblem::TooLong(name));
    }
    if value.expose().contains(&0) {
        return Err(SecretProblem::Nul(name));
    }
    Ok((name, value))
}

/// The values of a file: those of the names, else all that can be secrets.
fn env_file(
    path: &Path,
    names: &[SecretName],
    screen: &Screen,
) -> Result<Vec<(SecretName, Secret)>, SecretProblem> {
    let bytes = read_file(path, ENV_FILE_BYTES_MAX)?;
    let wrong = |wrong: dotenv::Wrong| {
        let dotenv::Wrong { line, column, what } = wrong;
        SecretProblem::EnvFile { path: path.to_owned(), line, column, what }
    };
    let beginning = |what: &str| wrong(dotenv::Wrong { line: 1, column: 1, what: what.to_owned() });
    if bytes.len() as u64 > ENV_FILE_BYTES_MAX {
        return Err(beginning("longer than 1 MiB"));
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| beginning("not UTF-8"))?;
    let mut values = Vec::new();
    for entry in dotenv::read(text).map_err(wrong)? {
        let name = match entry.name.parse::<SecretName>() {
            Ok(name) if names.is_empty() || names.contains(&name) => name,
            Ok(_) => continue,
            Err(why) if names.is_empty() => {
                screen.note(&format!("  line {} is left out: {why}", entry.line));
                continue;
            }
            Err(_) => continue,
        };
        if names.is_empty() && entry.value.is_empty() {
            screen.note(&format!("  {name} is left out: it is empty"));
            continue;
        }
        values.push(checked(name, entry.value)?);
    }
    let has = |name: &SecretName| values.iter().any(|(own, _)| own == name);
    let missing: Vec<_> = names.iter().filter(|name| !has(name)).map(SecretName::as_str).collect();
    if missing.is_empty() {
        return Ok(values);
    }
    Err(SecretProblem::NotInEnvFile { path: path.to_owned(), names: missing.join(", ") })
}
