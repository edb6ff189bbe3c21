//! Which registry npm asks: the one that it is told, else its own default, which it knows itself.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::npm::NpmError;

/// Larger configuration files of npm say nothing here.
const NPMRC_BYTES_MAX: u64 = 1 << 20;

/// Where packages are asked for. Nobody is asked before one is needed.
#[derive(Debug)]
pub(super) enum Registry {
    /// Here.
    #[cfg(test)]
    At(String),
    /// Where npm asks in this project.
    OfProject(PathBuf),
}

impl Registry {
    /// Its address, without `/` at its end.
    ///
    /// # Errors
    /// [`NpmError::NoRegistry`].
    pub(super) fn address(&self) -> Result<String, NpmError> {
        let address = match self {
            #[cfg(test)]
            Self::At(address) => Some(address.clone()),
            Self::OfProject(project) => told(project).or_else(|| default(project)),
        };
        let address = address.ok_or(NpmError::NoRegistry)?;
        Ok(address.trim_end_matches('/').to_owned())
    }
}

fn told(project: &Path) -> Option<String> {
    let given = ["npm_config_registry", "NPM_CONFIG_REGISTRY"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    let home = || env::home_dir().and_then(|home| named_in(&home.join(".npmrc")));
    given.or_else(|| named_in(&project.join(".npmrc"))).or_else(home)
}

/// What npm says itself: it also reads configuration that is not read here.
fn default(project: &Path) -> Option<String> {
    let output = Command::new("npm")
        .args(["config", "get", "registry"])
        .current_dir(project)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let address = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    address.starts_with("http").then_some(address)
}

/// The registry that a configuration file of npm names. One that is put together from variables is
/// npm's own business.
fn named_in(npmrc: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(npmrc).ok()?.take(NPMRC_BYTES_MAX).read_to_string(&mut text).ok()?;
    let named = text.lines().rev().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "registry").then(|| value.trim().trim_matches('"').to_owned())
    });
    named.filter(|address| address.starts_with("http") && !address.contains("${"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_registry_is_the_one_that_npm_asks() {
        let directory = tempfile::tempdir().unwrap();
        let npmrc = directory.path().join(".npmrc");
        assert_eq!(named_in(&npmrc), None);
        for (text, expected) in [
            (
                "fund=false\nregistry = https://npm.example.com/a/\n",
                Some("https://npm.example.com/a/"),
            ),
            ("@scope:registry=https://other.example.com\n", None),
            ("registry=${REGISTRY}\n", None),
        ] {
            fs::write(&npmrc, text).unwrap();
            assert_eq!(named_in(&npmrc).as_deref(), expected, "{text}");
        }
    }
}
