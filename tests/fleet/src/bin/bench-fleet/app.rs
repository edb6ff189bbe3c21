//! The app that is released: 2,000 files, 24 MB, and a program that answers with the version that
//! one line of one of them says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;

/// How many files there are besides the program.
const FILES: usize = 2_000;
/// The length of each, in bytes.
const FILE_BYTES: usize = 12_000;
/// The file with the version.
const VERSION: &str = "lib/d7/version.txt";

/// The app as a directory.
#[derive(Debug)]
pub struct App {
    directory: PathBuf,
}

impl App {
    /// Makes it below `place`.
    pub fn make(place: &Path) -> Outcome<Self> {
        let app = Self { directory: place.join("app") };
        app.fill(1)?;
        app.set_version("v0")?;
        let hello = std::env::var_os("ONWARD_HELLO").ok_or("ONWARD_HELLO names no program")?;
        fs::copy(hello, app.directory.join("hello"))?;
        Ok(app)
    }

    /// Writes all files anew: nothing of an earlier content is left.
    pub fn fill(&self, seed: u64) -> Outcome<()> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for number in 0..FILES {
            let directory = self.directory.join(format!("lib/d{}", number % 40));
            fs::create_dir_all(&directory)?;
            let mut text = String::with_capacity(FILE_BYTES + 40);
            while text.len() < FILE_BYTES {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push_str(&format!("export const v{} = {};\n", text.len(), state >> 20));
            }
            fs::write(directory.join(format!("module-{number}.js")), text)?;
        }
        Ok(())
    }

    /// Changes the one line.
    pub fn set_version(&self, version: &str) -> Outcome<()> {
        Ok(fs::write(self.directory.join(VERSION), format!("{version}\n"))?)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The command that runs it.
    pub fn command() -> String {
        format!("GREETING=\"$(cat {VERSION})\" exec ./hello")
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        FILES + 2
    }

    /// Its size.
    pub fn kib(&self) -> usize {
        FILES * FILE_BYTES / 1024
    }
}
