//! A project of its own in a temporary directory, and the release binary run in it.
//!
//! Whatever ends the program, also Ctrl-C, a panic or `kill -9`: a small shell, the janitor, notices
//! and ends what was started there, by process id, and removes the directory.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Outcome;
use crate::steps::{cargo, root, target};

/// Waits until its input ends, then ends every process of the directory and removes it. The mark
/// is never on a command line of its own, where it would find itself.
const JANITOR: &str = r#"
cat >/dev/null
for round in 1 2 3 4 5 6 7 8; do
  pids=$({
    printf '%s' "$MARK" | grep -lsaFf - /proc/[0-9]*/cmdline
    ls -ld /proc/[0-9]*/cwd 2>/dev/null | grep -F -- "-> $MARK"
  } | sed -n 's,.*/proc/\([0-9]*\)/.*,\1,p')
  [ -z "$pids" ] && break
  kill -9 $pids 2>/dev/null
done
rm -rf "$MARK"
"#;

/// How a command of the binary ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// When it was started.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// The one JSON document, or the last line of several.
    pub fn json(&self) -> Outcome<Value> {
        serde_json::from_str(&self.stdout)
            .or_else(|_| serde_json::from_str(self.stdout.lines().last().unwrap_or_default()))
            .map_err(|error| format!("no JSON ({error}): {}{}", self.stdout, self.stderr).into())
    }

    /// The same, if it ended with 0.
    pub fn done(self) -> Outcome<Self> {
        if self.code == Some(0) { Ok(self) } else { Err(format!("{self:?}").into()) }
    }
}

/// A project in a temporary directory.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    binary: PathBuf,
    janitor: Child,
}

impl Place {
    /// An empty project for a binary.
    pub fn new(binary: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("onward-bench-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("project"))?;
        fs::create_dir_all(directory.join("run"))?;
        // A process group of its own, so that Ctrl-C does not reach it.
        let janitor = Command::new("sh")
            .args(["-c", JANITOR])
            .env("MARK", &directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { directory, binary: binary.to_owned(), janitor })
    }

    /// The compiled `hello` as a project without a build, with `extra` at the end of its file.
    pub fn hello(binary: &Path, extra: &str) -> Outcome<Self> {
        let place = Self::new(binary)?;
        fs::copy(hello()?, place.path().join("hello"))?;
        let file = "app = \"hello\"\n[process.web]\nrun = \"./hello\"\nprobe = { path = \"/\" }\n";
        place.write("onward.toml", &format!("{file}{extra}"))?;
        Ok(place)
    }

    /// The project's directory.
    pub fn path(&self) -> PathBuf {
        self.directory.join("project")
    }

    /// The directory that is removed at the end.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.path().join(name), text)
    }

    /// Makes a program run in the project, with an environment of its own.
    pub fn within(&self, mut command: Command) -> Command {
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.directory)
            .env("USER", "ana")
            .env("XDG_RUNTIME_DIR", self.directory.join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A command of the binary, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        self.within(command)
    }

    /// The binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs a command of the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Ran> {
        let began = Instant::now();
        let output = self.command(arguments).output()?;
        Ok(ran(&output, began))
    }

    /// `status --json`.
    pub fn status(&self) -> Outcome<Value> {
        self.run(&["status", "--json"])?.done()?.json()
    }

    /// The address as `HOST:PORT`.
    pub fn address(&self) -> Outcome<String> {
        let status = self.status()?;
        let url = status["url"].as_str().ok_or_else(|| format!("no address: {status}"))?;
        Ok(url.trim_start_matches("http://").trim_end_matches('/').to_owned())
    }

    /// The processes that were started here, with their command lines.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mark = self.directory.to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let bytes = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
            let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            // A process that has ended and was not waited for has no command line any more.
            if !line.is_empty() && (line.contains(&mark) || cwd.starts_with(&self.directory)) {
                found.push((pid, line));
            }
        }
        found
    }

    /// The process id of the `agent` or the `proxy`.
    pub fn pid_of(&self, role: &str) -> Option<u32> {
        let mark = format!(" {role} run ");
        self.processes().into_iter().find(|(_, line)| line.contains(&mark)).map(|(pid, _)| pid)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// How a command ended that began then.
pub fn ran(output: &Output, began: Instant) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        began,
        took: began.elapsed(),
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid} 2>/dev/null")]).status();
}

/// The binary under test: `ONWARD_BIN`, else the release build, made now.
pub fn release_binary() -> Outcome<PathBuf> {
    if let Some(given) = std::env::var_os("ONWARD_BIN") {
        return Ok(given.into());
    }
    build(&mut cargo(&["build", "--quiet", "--release", "--locked"]))?;
    Ok(target().join("release/onward"))
}

/// The app that behaves as it is told, built.
pub fn test_app() -> Outcome<PathBuf> {
    let bin = ["-p", "onward-cli-tests", "--bin", "test-app"];
    build(cargo(&["build", "--quiet", "--release", "--locked"]).args(bin))?;
    Ok(target().join("release/test-app"))
}

/// The compiled `hello`.
pub fn hello() -> Outcome<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    let directory = target().join("example-hello");
    let manifest = root().join("examples/hello/Cargo.toml");
    let mut command = cargo(&["build", "--quiet", "--release", "--locked", "--manifest-path"]);
    build(command.arg(manifest).arg("--target-dir").arg(&directory))?;
    Ok(BUILT.get_or_init(|| directory.join("release/hello")))
}

fn build(command: &mut Command) -> Outcome<()> {
    if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

/// The process ids of the app's instances, as `status --json` says.
pub fn app_pids(status: &Value) -> Vec<u32> {
    let processes = status["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pids = processes.iter().filter_map(|process| process["pid"].as_u64());
    let mut pids: Vec<u32> = pids.filter_map(|pid| u32::try_from(pid).ok()).collect();
    pids.sort_unstable();
    pids
}
