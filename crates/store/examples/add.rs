//! `add STORE TREE` makes a bundle of a directory and prints its digest, `import STORE ARCHIVE` of an archive; `stage STORE DIGEST DEST` makes a directory of
//! it. For tests that kill a process at every system call, and for measuring.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onward_store::bundle::{AddOptions, Source, StageMode, Store, TreeSource};

fn main() -> Result<(), Box<dyn Error>> {
    let options = AddOptions { now: SystemTime::now(), progress: None };
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["add", store, tree] => {
            let source = TreeSource { root: PathBuf::from(tree), include: Vec::new() };
            println!("{}", Store::open(store)?.add(&Source::Tree(source), options)?.digest);
        }
        ["import", store, archive] => {
            let source = Source::Archive(PathBuf::from(archive));
            println!("{}", Store::open(store)?.add(&source, options)?.digest);
        }
        ["stage", store, digest, dest] => {
            Store::open(store)?.stage(digest.parse()?, Path::new(dest), StageMode::Copy, None)?;
        }
        ["link", store, digest, dest] => {
            Store::open(store)?.stage(digest.parse()?, Path::new(dest), StageMode::Link, None)?;
        }
        ["verify", store, digest] => {
            Store::open(store)?.verify(digest.parse()?)?;
        }
        _ => {
            return Err(
                "usage: add STORE TREE | import STORE ARCHIVE | stage|link STORE DIGEST DEST | verify STORE DIGEST".into(),
            );
        }
    }
    Ok(())
}
