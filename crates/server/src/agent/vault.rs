//! The secrets of one app on this server: the keys that open them, their values, and the files in
//! which apps find them.
//!
//! # What is kept where
//! The private key of the environment is in `secrets.key`, readable by the agent's user alone. So a
//! server starts its apps after a reboot without anybody. Sealed values come with the order and are
//! kept in it. Opened values are in memory, in the environment of the processes that get them, and
//! in `secrets/N/`, one directory for each release that runs, removed when nothing of the release
//! runs any more.
//!
//! # Guarantees
//! An order whose secrets cannot be opened is not accepted, so that what serves can always be
//! started again. A key is durable before it is confirmed, and an older one is forgotten only when
//! the order that needed it was replaced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use onward_core::document::Failure;
use onward_core::model::{Config, Digest, ReleaseNumber};
use onward_core::order::{Order, OrderCertificate};
use onward_core::secrets::{OrderSecrets, OrderValue, PublicKey, SecretName, SecretVersion};
use onward_proxy::{Certificate, PrivateKey};
use onward_secret::{Identity, Masker, Secret, open_value};

use super::event::AppKey;
use super::note::note;
use crate::layout::AppTree;
use crate::systemd::transient::SECRETS_VARIABLE;
use crate::template::Hidden;

/// How many keys are kept: the one in use, and those that are on their way in.
const KEYS_MAX: usize = 8;

/// What takes the secrets of each app out of what it printed.
#[derive(Debug, Clone, Default)]
pub(super) struct Maskers(Arc<Mutex<BTreeMap<AppKey, Arc<Masker>>>>);

impl Maskers {
    /// That of one app.
    pub(super) fn of(&self, key: &AppKey) -> Arc<Masker> {
        let maskers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        maskers.get(key).cloned().unwrap_or_default()
    }

    /// From now on it is this one.
    pub(super) fn set(&self, key: AppKey, masker: Arc<Masker>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, masker);
    }
}

/// The secrets of one app.
pub(super) struct Vault {
    tree: AppTree,
    keys: BTreeMap<PublicKey, Identity>,
    /// Why the file of the keys cannot be used.
    problem: Option<String>,
    opened: Opened,
    masker: Arc<Masker>,
}

/// Values that were opened.
#[derive(Default)]
pub(super) struct Opened(BTreeMap<SecretVersion, OpenedValue>);

#[derive(Clone)]
struct OpenedValue {
    name: SecretName,
    /// Digest of the sealed text, which another key makes another one.
    sealed: Digest,
    value: Secret,
}

impl Vault {
    /// The vault of an app as an earlier agent left it.
    pub(super) fn load(tree: AppTree) -> Self {
        let (keys, problem) = match read_keys(&tree.key_file()) {
            Ok(keys) => (keys, None),
            Err(why) => (BTreeMap::new(), Some(why)),
        };
        Self { tree, keys, problem, opened: Opened::default(), masker: Arc::default() }
    }

    /// Whether the private half of a key is here.
    pub(super) fn holds(&self, key: &PublicKey) -> bool {
        self.keys.contains_key(key)
    }

    /// What takes the opened values out of text.
    pub(super) fn masker(&self) -> Arc<Masker> {
        Arc::clone(&self.masker)
    }

    /// Keeps a key, durably. Those that are there stay, because the present order needs one.
    pub(super) fn take(&mut self, identity: Identity) -> Result<(), String> {
        if self.holds(identity.public()) {
            return Ok(());
        }
        let mut keys = self.keys.clone();
        if keys.len() >= KEYS_MAX {
            return Err(format!("the server holds {KEYS_MAX} keys of this environment already"));
        }
        keys.insert(identity.public().clone(), identity);
        self.keep(keys)
    }

    fn keep(&mut self, keys: BTreeMap<PublicKey, Identity>) -> Result<(), String> {
        let path = self.tree.key_file();
        write_keys(&path, &keys).map_err(|error| format!("{}: {error}", path.display()))?;
        self.keys = keys;
        self.problem = None;
        Ok(())
    }

    /// Opens the secrets of an order. Without any release nothing has to be opened, and what cannot
    /// be is left out.
    pub(super) fn open(&self, order: &Order) -> Result<Opened, String> {
        let Some(secrets) = &order.secrets else { return Ok(Opened::default()) };
        let of_app = order.releases.values().any(|release| !release.config.secrets.is_empty());
        let needed = of_app || order.https.as_ref().is_some_and(|own| !own.certificates.is_empty());
        match self.open_all(secrets) {
            Ok(opened) => Ok(opened),
            Err(why) if needed => Err(why),
            // They still mask what was printed.
            Err(_) => Ok(Opened(self.opened.0.clone())),
        }
    }

    fn open_all(&self, secrets: &OrderSecrets) -> Result<Opened, String> {
        let Some(identity) = self.keys.get(&secrets.key) else {
            return Err(match &self.problem {
                Some(why) => format!("the key of the environment cannot be read: {why}"),
                None => "the key of the environment is not on this server".to_owned(),
            });
        };
        let open = |(version, sealed): (&SecretVersion, &OrderValue)| {
            let digest = Digest::of(sealed.sealed.as_bytes());
            let known = self.opened.0.get(version);
            if let Some(known) = known.filter(|own| own.sealed == digest && own.name == sealed.name)
            {
                return Ok((*version, known.clone()));
            }
            let value = open_value(identity, &sealed.name, *version, &sealed.sealed)
                .map_err(|error| format!("the secret {} cannot be used: {error}", sealed.name))?;
            Ok((*version, OpenedValue { name: sealed.name.clone(), sealed: digest, value }))
        };
        let opened: Result<BTreeMap<_, _>, String> = secrets.versions.iter().map(open).collect();
        Ok(Opened(opened?))
    }

    /// Goes over to the secrets of the order that was accepted.
    pub(super) fn adopt(&mut self, opened: Opened) {
        let values = opened.0.values();
        self.masker = Arc::new(Masker::new(values.map(|own| (&own.name, &own.value))));
        self.opened = opened;
    }

    /// Forgets the keys that only earlier orders than this one needed.
    pub(super) fn forget_old_keys(&mut self, order: &Order) {
        let Some(secrets) = &order.secrets else { return };
        let Some(current) = self.keys.get(&secrets.key).cloned() else { return };
        if self.keys.len() > 1
            && let Err(why) = self.keep(BTreeMap::from([(secrets.key.clone(), current)]))
        {
            note(format_args!("an old key is not forgotten yet: {why}"));
        }
    }

    /// The secrets that a release was made with, as variables; their files are made when they are
    /// not there.
    ///
    /// # Errors
    /// A sentence about the secret that cannot be had.
    pub(super) fn environment(
        &self,
        release: ReleaseNumber,
        config: &Config,
    ) -> Result<BTreeMap<String, OsString>, String> {
        if config.secrets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut values: BTreeMap<&str, &Secret> = BTreeMap::new();
        for (name, version) in &config.secrets {
            let known = self.opened.0.get(version).filter(|own| own.name == *name);
            let why = || format!("the secret {name} (version {version}) cannot be read here");
            values.insert(name.as_str(), &known.ok_or_else(why)?.value);
        }
        let directory = self.tree.secrets_of(release);
        write_files(&directory, &values)
            .map_err(|error| format!("the files of its secrets cannot be made: {error}"))?;
        let variable = |(name, value): (&str, &Secret)| {
            (name.to_owned(), OsString::from_vec(value.expose().to_vec()))
        };
        let mut all: BTreeMap<_, _> = values.into_iter().map(variable).collect();
        all.insert(SECRETS_VARIABLE.to_owned(), directory.into_os_string());
        Ok(all)
    }

    /// The certificates of an order, with their keys as far as they are opened.
    pub(super) fn certificates(&self, order: &Order) -> Vec<Certificate> {
        let wanted = order.https.iter().flat_map(|own| &own.certificates);
        let with_key = |own: &OrderCertificate| {
            let key = self.opened.0.get(&own.key).filter(|known| known.name.is_of_onward())?;
            let pem = zeroize::Zeroizing::new(String::from_utf8(key.value.expose().to_vec()).ok()?);
            let (names, chain) = (own.names.clone(), own.chain.clone());
            Some(Certificate { names, chain, key: PrivateKey::new(pem) })
        };
        wanted.filter_map(with_key).collect()
    }

    /// The secrets that a release was made with and that are text, for its templates.
    pub(super) fn texts(&self, config: &Config) -> BTreeMap<String, Hidden> {
        let text = |(name, version): (&SecretName, &SecretVersion)| {
            let known = self.opened.0.get(version).filter(|own| own.name == *name)?;
            let text = std::str::from_utf8(known.value.expose()).ok()?;
            Some((name.to_string(), Hidden::new(text.to_owned())))
        };
        config.secrets.iter().filter_map(text).collect()
    }

    /// Removes the files of every release but those that are kept.
    pub(super) fn remove_files(&self, is_kept: impl Fn(ReleaseNumber) -> bool) {
        for entry in fs::read_dir(self.tree.secrets()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok()).map(ReleaseNumber);
            if !number.is_some_and(&is_kept)
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                note(format_args!("{} cannot be removed: {error}", entry.path().display()));
            }
        }
    }

    /// A failure without the secrets that the app may have printed.
    pub(super) fn masked(&self, failure: Failure) -> Failure {
        let mask = |text: &String| self.masker.mask(text).into_owned();
        Failure {
            reason: mask(&failure.reason),
            answer: failure.answer.as_ref().map(mask),
            lines: failure.lines.iter().map(mask).collect(),
            server: failure.server,
        }
    }
}

fn read_keys(path: &Path) -> Result<BTreeMap<PublicKey, Identity>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let keys = Identity::read_all(&text)
        .map_err(|_| format!("{} is damaged: a line in it is not a private key", path.display()))?;
    Ok(keys.into_iter().map(|key| (key.public().clone(), key)).collect())
}

/// Replaces the file of the keys: after a crash there are the old ones or the new ones.
fn write_keys(path: &Path, keys: &BTreeMap<PublicKey, Identity>) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let passing = path.with_extension("key.new");
    let mut file = private(&passing)?;
    for (public, identity) in keys {
        file.write_all(format!("# public key: {public}\n").as_bytes())?;
        file.write_all(identity.text().expose())?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    fs::rename(&passing, path)?;
    File::open(parent)?.sync_all()
}

/// A new file that nobody else can read.
fn private(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a directory with exactly these files. One that has them already is left as it is, because
/// processes may read from it.
fn write_files(directory: &Path, values: &BTreeMap<&str, &Secret>) -> io::Result<()> {
    if is_whole(directory, values) {
        return Ok(());
    }
    let passing = directory.with_extension("new");
    remove(&passing)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&passing)?;
    for (name, value) in values {
        let path: PathBuf = passing.join(name);
        let mut file = File::options().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(value.expose())?;
    }
    remove(directory)?;
    fs::rename(&passing, directory)
}

fn is_whole(directory: &Path, values: &BTreeMap<&str, &Secret>) -> bool {
    let entries = fs::read_dir(directory).map(Iterator::count);
    entries.is_ok_and(|count| count == values.len())
        && values.iter().all(|(name, value)| {
            let found = fs::read(directory.join(name)).map(Secret::new);
            found.is_ok_and(|found| found.expose() == value.expose())
        })
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
