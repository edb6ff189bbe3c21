//! The command line of `onward certificate`.

use clap::Subcommand;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum CertificateVerb {
    /// Show the certificates, until when they are good, and what was tried in vain
    Show,
    /// Ask the authority now for what is missing or ends soon
    Renew {
        /// Only for these names
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}
