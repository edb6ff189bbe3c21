//! Names that a person typed, some of which may be values by mistake.

use std::ffi::{OsStr, OsString};

use onward_core::secrets::{InvalidSecretName, SecretName};

use crate::cli::context::Context;
use crate::cli::secret_problem::SecretProblem;

/// Reads the names. An error never repeats one.
pub(super) fn read(
    context: &Context,
    given: &[OsString],
) -> Result<Vec<SecretName>, SecretProblem> {
    let mut names = Vec::new();
    for (at, text) in given.iter().enumerate() {
        let name = one(text, at + 1)?;
        let named = &context.resolved.secrets;
        let shouts = name.as_str().bytes().all(|byte| !byte.is_ascii_lowercase());
        // `secret set KEY hunter2`: the second one is a value.
        if given.len() > 1 && !named.contains(&name) && !(shouts && name.as_str().contains('_')) {
            return Err(SecretProblem::UnnamedAmongSeveral { at: at + 1 });
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Reads one name, the `at`th.
pub(super) fn one(text: &OsStr, at: usize) -> Result<SecretName, SecretProblem> {
    let Some(text) = text.to_str() else {
        return Err(SecretProblem::NotAName { at, why: InvalidSecretName::Shape });
    };
    if let Some((name, _)) = text.split_once('=') {
        return Err(SecretProblem::ValueInArgument(name.parse().ok()));
    }
    text.parse().map_err(|why| SecretProblem::NotAName { at, why })
}
