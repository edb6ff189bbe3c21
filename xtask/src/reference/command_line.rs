//! `command-line.md`: as the binary describes itself.

use super::MADE;
use crate::steps::cargo;

pub(super) fn page() -> Result<String, String> {
    let mut command = cargo(&["run", "--quiet", "--package", "onward", "--", "reference"]);
    let output = command.output().map_err(|error| format!("onward reference: {error}"))?;
    if !output.status.success() {
        return Err(format!("onward reference: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let body = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    Ok(format!(
        "# The command line\n\n{MADE}\n`onward --help` and `onward VERB --help` say the same. \
         How a command ends: [exit codes](exit-codes.md).\n\n{body}"
    ))
}
