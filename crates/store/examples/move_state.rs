//! Moves the state of `shop` in `local` from one directory to another. Killed by a test at every
//! system call that changes something.

use std::path::Path;
use std::process::ExitCode;

use onward_store::state::{DirectoryStore, Documents, transfer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &arguments[..] else {
        eprintln!("usage: move_state FROM TO");
        return ExitCode::from(2);
    };
    let place = |root: &str| {
        let app = "shop".parse().expect("a legal name");
        let environment = "local".parse().expect("a legal name");
        Documents::Directory(DirectoryStore::new(Path::new(root), &app, &environment))
    };
    match transfer(&place(from), &place(to)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
