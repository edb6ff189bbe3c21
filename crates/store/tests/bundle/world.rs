//! A place for one test: a source tree, a store, and ways to look at both.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use onward_store::bundle::{AddOptions, Added, Error, Source, Store, TreeSource};

/// A temporary directory with `tree/` and `store/`.
pub struct World {
    dir: tempfile::TempDir,
    pub store: Store,
}

/// What is at a path: a file's content and whether it is executable, a link's target, or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>, bool),
    Link(String),
    Dir,
}

/// A whole tree by path.
pub type Tree = BTreeMap<String, Node>;

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// Writes a file of the source tree, with its directories.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn add(&self) -> Added {
        self.try_add(&[]).unwrap()
    }

    pub fn try_add(&self, include: &[&str]) -> Result<Added, Error> {
        let include = include.iter().map(|path| (*path).to_owned()).collect();
        let source = Source::Tree(TreeSource { root: self.tree(), include });
        self.store.add(&source, now())
    }

    /// The paths of the bundle that the source tree makes.
    pub fn bundled(&self, include: &[&str]) -> Vec<String> {
        self.bundled_from(&self.tree(), include)
    }

    /// The paths of the bundle that another tree makes.
    pub fn bundled_from(&self, root: &Path, include: &[&str]) -> Vec<String> {
        let include = include.iter().map(|path| (*path).to_owned()).collect();
        let source = Source::Tree(TreeSource { root: root.to_owned(), include });
        let added = self.store.add(&source, now()).unwrap();
        let manifest = self.store.manifest(added.digest).unwrap();
        manifest.entries().iter().map(|entry| entry.path.to_string()).collect()
    }
}

/// A fixed time, so that nothing depends on the clock.
pub fn now() -> AddOptions<'static> {
    at(1_000_000)
}

/// So many seconds after the epoch.
pub fn at(seconds: u64) -> AddOptions<'static> {
    AddOptions { now: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), progress: None }
}

/// Everything below a directory.
pub fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::new();
    fill(root, "", &mut tree);
    tree
}

fn fill(directory: &Path, above: &str, tree: &mut Tree) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{above}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        let node = if kind.is_symlink() {
            Node::Link(fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned())
        } else if kind.is_dir() {
            fill(&entry.path(), &format!("{name}/"), tree);
            Node::Dir
        } else {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            Node::File(fs::read(entry.path()).unwrap(), executable)
        };
        tree.insert(name, node);
    }
}

/// Makes a tree on disk.
pub fn plant(root: &Path, tree: &Tree) {
    for (path, node) in tree {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::Dir => fs::create_dir_all(path).unwrap(),
            Node::Link(target) => symlink(target, path).unwrap(),
            Node::File(content, executable) => {
                fs::write(&path, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Runs Git as nobody in particular, whatever the machine's configuration says.
pub fn git(directory: &Path, args: &[&str]) {
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
