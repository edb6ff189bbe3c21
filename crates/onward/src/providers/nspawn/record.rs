//! What is written down of a lab before anything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use onward_core::model::ServerName;
use serde::{Deserialize, Serialize};

use super::LabError;
use super::faults::Cut;

/// The version of the form.
const FORM: u32 = 1;
/// The name of the file in the directory of a lab.
const FILE: &str = "lab.json";

/// One lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The version of the form.
    form: u32,
    /// The directory that it belongs to.
    pub place: PathBuf,
    /// Which of the labs of that directory it is.
    pub name: String,
    /// Its network is `10.81.NETWORK.0/24`.
    pub network: u8,
    /// `down` has begun: nothing of it may be used again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leaving: bool,
    /// Its servers.
    pub servers: BTreeMap<ServerName, Entry>,
    /// What cannot reach what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Cut>,
}

/// One server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its address is `10.81.NETWORK.NUMBER`.
    pub number: u8,
    /// The root file system that it was made from: the lower directory of an overlay may not change.
    pub rootfs: String,
    /// The size of its disk in MiB, when that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Record {
    /// A lab without servers.
    pub fn new(place: &Path, name: &str, network: u8) -> Self {
        let (place, name) = (place.to_owned(), name.to_owned());
        let (servers, cuts) = (BTreeMap::new(), Vec::new());
        Self { form: FORM, place, name, network, leaving: false, servers, cuts }
    }

    /// What is written down in the directory of a lab.
    pub fn read(directory: &Path) -> Result<Option<Self>, LabError> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(LabError::file(&path))?,
        };
        let broken = |why: String| LabError::Record { path: path.clone(), why };
        let record: Self =
            serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if record.form > FORM {
            let why = format!("it has form {}, and this onward knows {FORM}", record.form);
            return Err(broken(why));
        }
        Ok(Some(record))
    }

    /// Writes it down, durably.
    pub fn write(&self, directory: &Path) -> Result<(), LabError> {
        let text = serde_json::to_string_pretty(self).expect("names and numbers can be written");
        durable(&directory.join(FILE), text.as_bytes())
    }

    /// The smallest number that no server has; 1 is this machine's end of the network.
    pub fn free_number(&self) -> Option<u8> {
        let is_free = |number: &u8| self.servers.values().all(|entry| entry.number != *number);
        (2..=super::error::SERVERS_MAX + 1).find(is_free)
    }
}

/// What is written down of every lab.
pub(super) fn all(labs: &Path) -> Result<Vec<Record>, LabError> {
    let entries = fs::read_dir(labs).into_iter().flatten().flatten();
    entries.filter_map(|entry| Record::read(&entry.path()).transpose()).collect()
}

/// The root file systems that servers were made from.
pub(super) fn rootfs_in(labs: &Path) -> Result<BTreeSet<String>, LabError> {
    let records = all(labs)?.into_iter();
    let servers = records.flat_map(|record| record.servers.into_values());
    Ok(servers.map(|entry| entry.rootfs).collect())
}

/// Replaces a file as a whole: after a crash there is the old content or the new one.
pub(super) fn durable(path: &Path, content: &[u8]) -> Result<(), LabError> {
    let new = path.with_extension("new");
    let written = File::create(&new)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| path.parent().map_or(Ok(()), |above| File::open(above)?.sync_all()));
    written.map_err(LabError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Record::read(directory.path()).unwrap().is_none());
        let mut record = Record::new(Path::new("/srv/shop"), "lab", 7);
        let entry = Entry { number: 2, rootfs: "abc".to_owned(), disk_mib: Some(64) };
        record.servers.insert("one".parse().unwrap(), entry);
        record.write(directory.path()).unwrap();
        let read = Record::read(directory.path()).unwrap().unwrap();
        assert_eq!((read.network, read.leaving, read.free_number()), (7, false, Some(3)));
        assert_eq!(read.servers.values().next().unwrap().disk_mib, Some(64));
        for text in ["{", r#"{"form":9,"place":"/","name":"a","network":1,"servers":{}}"#] {
            fs::write(directory.path().join(FILE), text).unwrap();
            let error = Record::read(directory.path()).unwrap_err().to_string();
            assert!(error.contains("lab.json cannot be understood"), "{error}");
        }
    }

    #[test]
    fn a_lab_that_is_full_has_no_number() {
        let mut record = Record::new(Path::new("/srv/shop"), "lab", 7);
        for number in 2..=201 {
            let entry = Entry { number, rootfs: String::new(), disk_mib: None };
            record.servers.insert(format!("s{number}").parse().unwrap(), entry);
        }
        assert_eq!(record.free_number(), None);
        record.servers.remove(&"s9".parse().unwrap());
        assert_eq!(record.free_number(), Some(9), "the gap is used again");
    }
}
