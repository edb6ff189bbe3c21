//! Tests of the whole project file: texts in, drawings and typed values out.

mod any_files;
mod diagnostics;
mod files;
mod frameworks;
mod init;
mod load;
mod properties;
mod reference;
mod resolve;
mod variants;

use std::path::PathBuf;

use super::{Colour, Diagnostic, Findings};

/// A directory of this module's test data.
fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/project/tests/data").join(name)
}

/// The files of a directory of test data by name, sorted.
fn files_in(name: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = std::fs::read_dir(data(name))
        .expect("test data")
        .map(|entry| entry.expect("a file").path())
        .map(|path| {
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (stem, std::fs::read_to_string(&path).expect("a text"))
        })
        .collect();
    files.sort();
    files
}

fn drawn(text: &str, diagnostics: Vec<Diagnostic>) -> String {
    findings(text, diagnostics).render(Colour::Off)
}

fn findings(text: &str, diagnostics: Vec<Diagnostic>) -> Findings {
    Findings { file: "onward.toml".to_owned(), text: text.to_owned(), diagnostics }
}
