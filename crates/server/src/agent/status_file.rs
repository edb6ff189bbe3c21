//! The file that says how a command ended.
//!
//! A wrapper keeps beside the app's files that a command began, and its exit status, so that an agent
//! that was restarted meanwhile still learns both.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::process::{self, Program};

/// Writes a mark beside `$1`, runs the rest, and writes its exit status to `$1`. The wrapper outlives
/// a signal to its group, so that the status is written also then.
const WRAPPER: &str = r#"trap : TERM INT HUP QUIT USR1 USR2
file=$1
shift
: > "$file.begun"
"$@"
status=$?
echo "$status" > "$file.new" && mv -f "$file.new" "$file""#;

/// The file of one command.
#[derive(Debug, Clone)]
pub(super) struct StatusFile(pub(super) PathBuf);

impl StatusFile {
    /// The program in its wrapper.
    pub(super) fn wrap(&self, program: &Program) -> Program {
        let (path, rest) = match program {
            Program::Line(line) => {
                ("/bin/sh".into(), vec!["-c".into(), process::with_exec(line).into()])
            }
            Program::Direct(path, arguments) => (path.clone(), arguments.clone()),
        };
        let words = ["-c", WRAPPER, "onward"].map(OsString::from).into_iter();
        let words = words.chain([self.0.clone().into(), path.into_os_string()]).chain(rest);
        Program::Direct("/bin/sh".into(), words.collect())
    }

    /// Makes room for a run.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if let Some(parent) = self.0.parent() {
            fs::create_dir_all(parent)?;
        }
        self.clear()
    }

    /// Removes what a run left: before another one, or once it is kept elsewhere how it ended.
    pub(super) fn clear(&self) -> io::Result<()> {
        for path in [self.0.clone(), self.begun_mark()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the command ever began.
    pub(super) fn has_begun(&self) -> bool {
        self.begun_mark().exists()
    }

    /// The exit status, once the command ended.
    pub(super) fn read(&self) -> Option<i32> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }

    fn begun_mark(&self) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(".begun");
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn run(program: &Program) {
        let Program::Direct(path, arguments) = program else { panic!("a wrapper is no line") };
        // A group of its own, for the case that ends all of it.
        Command::new(path).args(arguments).process_group(0).status().unwrap();
    }

    #[test]
    fn a_command_leaves_that_it_began_and_how_it_ended_until_that_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let file = StatusFile(directory.path().join("commands/one"));
        file.prepare().unwrap();
        assert_eq!((file.has_begun(), file.read()), (false, None));
        let cases = [("true", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill 0; exit 4", 143)];
        for (line, status) in cases {
            run(&file.wrap(&Program::Line(line.to_owned())));
            assert_eq!((file.has_begun(), file.read()), (true, Some(status)), "{line}");
            file.clear().unwrap();
            assert_eq!((file.has_begun(), file.read()), (false, None), "{line}");
        }
        run(&file.wrap(&Program::Direct("/bin/sh".into(), vec!["-c".into(), "exit 5".into()])));
        assert_eq!(file.read(), Some(5));
    }
}
