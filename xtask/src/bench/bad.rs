//! Bad releases: one that fails its probe gets no request at all, one that fails its watch is taken
//! back, and in both cases the terminal says what happened, truly.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::figure::Figures;
use super::place::{self, Place, Ran, signal};
use super::{Mode, Outcome};
use onward_load::{Sampler, Seen};

/// One bad release.
struct Bad {
    /// What `test-app` is told to do.
    mode: &'static str,
    /// Whether it fails before it gets traffic.
    never_serves: bool,
    /// What the terminal must say besides what serves now.
    says: &'static [&'static str],
}

/// The bundle's checksum is tried apart. A process that the kernel kills for want of memory is
/// simulated by one that kills itself with the same signal.
const BAD: [Bad; 8] = [
    Bad {
        mode: "exits",
        never_serves: true,
        says: &[
            "web exited with status 3 before it was ready",
            "| test-app: the configuration is missing",
        ],
    },
    Bad {
        mode: "silent",
        never_serves: true,
        says: &[
            "did not answer its probe in time: nothing listens on port",
            "| test-app: mode silent",
        ],
    },
    Bad {
        mode: "wrong-port",
        never_serves: true,
        says: &["did not answer its probe in time: it listens on port", "| test-app: listening on"],
    },
    Bad {
        mode: "errors",
        never_serves: true,
        says: &[
            "did not answer its probe in time: it answered with status 500",
            "Last answer of the probe: HTTP 500: the database is away",
        ],
    },
    Bad {
        mode: "slow",
        never_serves: true,
        says: &[
            "did not answer its probe in time: nothing listens on port",
            "| test-app: mode slow",
        ],
    },
    Bad {
        mode: "killed",
        never_serves: true,
        says: &["web was killed by signal 9 (SIGKILL)", "| test-app: taking more and more memory"],
    },
    Bad {
        mode: "dies",
        never_serves: false,
        says: &["web exited with status 1", "| test-app: an assertion failed"],
    },
    Bad {
        mode: "hog",
        never_serves: false,
        says: &["web was killed by signal 9 (SIGKILL)", "| test-app: taking more and more memory"],
    },
];

/// How often each connection of the client asks.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// Its connections; the last opens one for each request.
const CONNECTIONS: usize = 5;

/// Runs the gate, or with `control` only shows that the recorder records.
pub fn run(mode: &Mode) -> Outcome<bool> {
    let app = place::test_app()?;
    let place = Place::new(&place::release_binary()?)?;
    fs::copy(app, place.path().join("test-app"))?;
    let trial = Trial { record: place.directory().join("record"), place };
    let mut figures = Figures::default();
    trial.release("good", 0)?;
    trial.place.run(&["up"])?.done()?;
    trial.good(&mut figures)?;
    if mode.control {
        return Ok(figures.kept());
    }
    for (number, bad) in BAD.iter().enumerate() {
        trial.bad(bad, number, &mut figures)?;
    }
    trial.damaged_pack(&mut figures)?;
    trial.damaged_files(&mut figures)?;
    trial.place.run(&["down", "-y"])?.done()?;
    Ok(figures.kept())
}

/// One project whose app behaves badly.
struct Trial {
    place: Place,
    record: PathBuf,
}

impl Trial {
    /// Writes the project file of a release that behaves so.
    fn release(&self, mode: &str, number: usize) -> Outcome<()> {
        let record = self.record.display();
        let file = format!(
            "app = \"trial\"\n[process.web]\nrun = \"./test-app {mode} {record}\"\n\
             probe = {{ path = \"/up\", within = \"1s\" }}\n[release]\nwatch = \"1s\"\nwarm = \"0s\"\n"
        );
        self.place.write("number.txt", &format!("{mode} {number}\n"))?;
        Ok(self.place.write("onward.toml", &file)?)
    }

    /// How many requests were recorded that releases of this mode got.
    fn recorded(&self, mode: &str) -> u64 {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        text.lines().filter(|line| line.split(' ').next() == Some(mode)).count() as u64
    }

    fn sampled(&self, command: impl FnOnce() -> Outcome<Ran>) -> Outcome<(Ran, Seen)> {
        let sampler = Sampler::start(&self.place.address()?, CONNECTIONS - 1, 1, ASK_EVERY);
        sleep(Duration::from_millis(100));
        let ran = command()?;
        sleep(Duration::from_millis(100));
        Ok((ran, sampler.end()))
    }

    /// The control: a good release is recorded.
    fn good(&self, figures: &mut Figures) -> Outcome<()> {
        println!("bad: control, a good release");
        self.release("good", 1)?;
        let (ran, seen) = self.sampled(|| Ok(self.place.run(&["deploy"])?))?;
        ran.done()?;
        figures.none("requests lost", seen.losses.len() as u64);
        let (recorded, answered) = (self.recorded("good"), seen.answers.len() as u64);
        figures.tell(
            "requests that its recorder has",
            recorded,
            &answered.to_string(),
            recorded == answered,
        );
        Ok(())
    }

    fn bad(&self, bad: &Bad, number: usize, figures: &mut Figures) -> Outcome<()> {
        println!("bad: {}", bad.mode);
        let before = self.place.status()?["release"].clone();
        self.release(bad.mode, number)?;
        let (ran, seen) = self.sampled(|| Ok(self.place.run(&["deploy"])?))?;
        figures.tell("exit code", format!("{:?}", ran.code), "1", ran.code == Some(1));
        self.tell_text(&ran, bad.says, figures)?;
        let recorded = self.recorded(bad.mode);
        if bad.never_serves {
            figures.none("requests that reached it", recorded);
            figures.none("requests lost", seen.losses.len() as u64);
        } else {
            // What was inside it died with it; what no proxy may send twice cannot be saved.
            figures.at_least("requests that reached it", recorded, 1);
            println!("    {} answered, {} lost inside it", seen.answers.len(), seen.losses.len());
            for loss in &seen.losses {
                println!("    lost: {}", loss.why);
            }
            let within = seen.losses.len() <= CONNECTIONS;
            figures.holds("no more lost than one on each connection", within);
        }
        let serves = self.place.status()?["release"] == before;
        figures.holds("the old version serves", serves);
        Ok(())
    }

    /// The error says all that it must, and its last line what serves now.
    fn tell_text(&self, ran: &Ran, says: &[&str], figures: &mut Figures) -> Outcome<()> {
        let status = self.place.status()?;
        let number = status["release"]["number"].to_string();
        let (label, url) = (status["release"]["label"].as_str(), status["url"].as_str());
        let truth = format!(
            "Still serving: release {number} ({}) at {}",
            label.unwrap_or_default(),
            url.unwrap_or_default()
        );
        let last = ran.stderr.lines().last().unwrap_or_default();
        figures.holds("the last line says what serves", last == truth);
        let missing: Vec<_> = says.iter().filter(|text| !ran.stderr.contains(**text)).collect();
        figures.holds("it says what happened", missing.is_empty());
        if last != truth || !missing.is_empty() {
            println!("    missing {missing:?} or {truth:?} in:\n{}{}", ran.stdout, ran.stderr);
        }
        Ok(())
    }

    /// A byte of the bundle store is another one when a release is staged from it again.
    fn damaged_pack(&self, figures: &mut Figures) -> Outcome<()> {
        println!("bad: checksum, a pack of the bundle store is damaged");
        let packs = self.place.path().join(".onward/bundles/packs");
        let before = files_below(&packs)?;
        self.release("good", 100)?;
        self.place.run(&["deploy"])?.done()?;
        let damaged = self.place.status()?["release"]["number"].to_string();
        let after = files_below(&packs)?;
        let new = after.iter().find(|pack| !before.contains(pack)).ok_or("no new pack")?;
        flip_a_byte(new)?;
        self.release("good", 101)?;
        self.place.run(&["deploy"])?.done()?;
        self.refused(&["deploy", "--release", &damaged], figures)
    }

    /// A file of a release that lies staged is another one when the release is started.
    fn damaged_files(&self, figures: &mut Figures) -> Outcome<()> {
        println!("bad: checksum, a staged file is damaged");
        self.release("good", 101)?;
        self.place.run(&["deploy"])?.done()?;
        let old = self.place.status()?["release"]["number"].to_string();
        self.release("good", 102)?;
        self.place.run(&["deploy"])?.done()?;
        let place = self.place.path();
        let file = place.join(".onward/apps/trial/local/releases").join(&old).join("number.txt");
        let text = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        fs::write(&file, text.replace("good", "evil"))?;
        // What an agent verified it does not verify again; another agent does.
        signal(self.place.pid_of("agent").ok_or("no agent runs")?, "KILL");
        let healed = self.place.run(&["rollback", &old])?;
        let damaged = fs::read_to_string(&file).is_ok_and(|text| text.contains("evil"));
        println!("    the rollback ended with {:?}", healed.code);
        let true_end = if healed.code == Some(0) { !damaged } else { healed.code == Some(1) };
        figures.holds("it is restored before it runs, or refused", true_end);
        if !true_end {
            println!("{}{}", healed.stdout, healed.stderr);
        }
        Ok(())
    }

    fn refused(&self, arguments: &[&str], figures: &mut Figures) -> Outcome<()> {
        let before = self.place.status()?["release"].clone();
        let (ran, seen) = self.sampled(|| Ok(self.place.run(arguments)?))?;
        figures.tell("exit code", format!("{:?}", ran.code), "1", ran.code == Some(1));
        self.tell_text(&ran, &["cannot be used: ", "is damaged: "], figures)?;
        figures.none("requests lost", seen.losses.len() as u64);
        let number = before["number"].as_u64();
        let others = seen.answers.iter().filter(|answer| Some(answer.release) != number).count();
        figures.none("requests that another than the old version answered", others as u64);
        figures.holds("the old version serves", self.place.status()?["release"] == before);
        Ok(())
    }
}

fn files_below(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files_below(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

fn flip_a_byte(path: &Path) -> Outcome<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).ok_or("the pack is empty")? ^= 0xff;
    fs::remove_file(path)?;
    Ok(fs::write(path, bytes)?)
}
