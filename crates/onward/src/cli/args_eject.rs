//! The command line of `onward eject`.

use std::path::PathBuf;

use clap::Args;

/// What `eject` takes.
#[derive(Debug, Clone, Args)]
pub struct EjectArgs {
    /// The directory to write into; it is empty or not there. What runs on this machine uses it from there
    /// on; for servers behind SSH it has a directory for each, which is brought there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Copy the release's files and what survives releases there too; servers behind SSH have them
    #[arg(long)]
    pub copy: bool,
    /// The port that nginx shall listen on
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub listen: u16,
    /// The port of the first instance with traffic; each other gets the next one. Of several servers, the
    /// balancers reach the others at the port below it
    #[arg(long, value_name = "PORT", default_value_t = 21_001)]
    pub first_port: u16,
}
