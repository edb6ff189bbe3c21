//! The `onward` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    onward::cli::main()
}
