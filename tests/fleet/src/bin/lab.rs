//! A lab by hand, and for the tests that kill the one who makes it.
//!
//! ```text
//! lab PLACE up NAME …     boots servers, prints how they are reached
//! lab PLACE down          removes them
//! ```

use std::path::Path;
use std::process::ExitCode;

use onward::providers::nspawn::{Lab, LabError, ServerSpec};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [place, "up", ref names @ ..] if !names.is_empty() => up(place, names),
        [place, "down"] => Lab::of(Path::new(place), "lab").down(),
        _ => {
            eprintln!("usage: lab PLACE up NAME … | lab PLACE down");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn up(place: &str, names: &[&str]) -> Result<(), LabError> {
    let specs: Vec<_> = names
        .iter()
        .filter_map(|name| match name.parse() {
            Ok(name) => Some(ServerSpec::of(name)),
            Err(error) => {
                eprintln!("{error}");
                None
            }
        })
        .collect();
    let lab = Lab::of(Path::new(place), "lab");
    for machine in lab.up(&specs, &|event| eprintln!("{event:?}"))? {
        let key = lab.key_file();
        println!("{}: ssh -i {} root@{}", machine.name, key.display(), machine.address);
        println!("  {}", machine.host_key);
    }
    Ok(())
}
