//! Other tools on the same servers, doing what their users do: a directory for each release, a link,
//! a restart of the unit. None of them takes care of requests, so what they lose is counted and not
//! held against them; the times are.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use onward_fleet_tests::Fleet;

use crate::Outcome;
use crate::app::App;
use crate::figures::Figures;
use crate::probe;

/// The port at which the plain unit answers.
const PORT: u16 = 8080;

/// How often the servers are tried to be made ready for the tools.
const TRIES: u32 = 3;

/// A tool beside onward.
#[derive(Debug)]
pub struct Other {
    /// Its name.
    pub name: &'static str,
    /// How many times faster onward has to be.
    pub factor: f64,
    release: fn(&Fleet, &App, &str) -> Outcome<()>,
}

/// All of them.
pub const OTHERS: [Other; 3] = [
    Other { name: "a bare loop of tar, zstd and ssh", factor: 1.0, release: bare },
    Other { name: "pyinfra", factor: 2.5, release: pyinfra },
    Other { name: "Ansible", factor: 8.0, release: ansible },
];

/// What the plain unit needs on each server. systemd hands connections on, because the app listens
/// on the loopback alone.
const PLAIN: &str = "\
set -e
mkdir -p /srv/app/releases
cat > /etc/systemd/system/plain.service <<'E'
[Service]
Environment=PORT=8081
WorkingDirectory=/srv/app/current
ExecStart=/bin/sh -c 'GREETING=\"$(cat lib/d7/version.txt)\" exec ./hello'
E
cat > /etc/systemd/system/plain-in.socket <<'E'
[Socket]
ListenStream=8080
[Install]
WantedBy=sockets.target
E
cat > /etc/systemd/system/plain-in.service <<'E'
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:8081
E
systemctl daemon-reload
systemctl start plain-in.socket
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
apt-get install -qq -y --no-install-recommends zstd python3 >/dev/null
";

/// Puts the unit and what the tools need on every server.
pub fn prepare(fleet: &Fleet) -> Outcome<()> {
    on_all(fleet, |index| {
        let mut last = String::new();
        // A mirror of packages may fail once.
        for _ in 0..TRIES {
            let answer = fleet.ssh(index).run(PLAIN);
            if answer.is_success() {
                return Ok(());
            }
            last = format!("{answer:?}");
        }
        Err(last)
    })
}

impl Other {
    /// Measures one changed line; returns its seconds.
    pub fn measure(
        &self,
        fleet: &Fleet,
        app: &App,
        rounds: usize,
        figures: &mut Figures,
    ) -> Outcome<f64> {
        let addresses = probe::addresses(fleet, PORT);
        app.set_version("before")?;
        (self.release)(fleet, app, "before")?;
        let (mut line, mut lost, mut answered) = (Vec::new(), 0, 0);
        for round in 1..=rounds {
            let version = format!("{}{round}", self.name.split(' ').next_back().unwrap_or("x"));
            app.set_version(&version)?;
            let marked = format!("{version} ");
            let seen = probe::until(&addresses, &marked, || (self.release)(fleet, app, &version))?;
            line.push(seen.seconds);
            lost += seen.lost;
            answered += seen.answered;
        }
        let middle = figures.yardstick(&format!("{}: one changed line", self.name), &line);
        figures.count(&format!("{}: lost of {answered} requests", self.name), lost);
        Ok(middle)
    }
}

/// `tar | zstd | ssh` to all servers at once.
fn bare(fleet: &Fleet, app: &App, version: &str) -> Outcome<()> {
    on_all(fleet, |index| {
        let ssh = fleet.ssh(index).command();
        let words: Vec<String> = std::iter::once(ssh.get_program())
            .chain(ssh.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let there = format!(
            "mkdir -p /srv/app/releases/{version} && zstd -dc | tar -x -C /srv/app/releases/{version} \
             && ln -sfn releases/{version} /srv/app/current.new && mv -T /srv/app/current.new \
             /srv/app/current && systemctl restart plain"
        );
        let line = format!(
            "tar -c -C {} . | zstd -q -3 -T0 | {} '{there}'",
            app.path().display(),
            words.join(" ")
        );
        // The connection reads the archive, and not nothing.
        let status = Command::new("sh").args(["-c", &line]).status();
        let status = status.map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the loop ended with {status}")) }
    })
}

fn pyinfra(fleet: &Fleet, app: &App, version: &str) -> Outcome<()> {
    let place = fleet.directory().join("pyinfra");
    fs::create_dir_all(&place)?;
    archive(app, &place)?;
    let hosts: Vec<String> = fleet
        .machines()
        .iter()
        .map(|machine| {
            let key = fleet.lab().key_file();
            format!(
                "    (\"{}\", {{\"ssh_user\": \"root\", \"ssh_key\": \"{}\", \
                 \"ssh_strict_host_key_checking\": \"off\"}}),\n",
                machine.address,
                key.display()
            )
        })
        .collect();
    fs::write(place.join("inventory.py"), format!("servers = [\n{}]\n", hosts.concat()))?;
    fs::write(
        place.join("deploy.py"),
        format!(
            "from pyinfra.operations import files, server, systemd\n\
             files.put(src='app.tar.gz', dest='/srv/app/{version}.tar.gz')\n\
             server.shell(commands=['mkdir -p /srv/app/releases/{version} && tar -xzf \
             /srv/app/{version}.tar.gz -C /srv/app/releases/{version}'])\n\
             files.link(path='/srv/app/current', target='/srv/app/releases/{version}')\n\
             systemd.service(service='plain', restarted=True)\n"
        ),
    )?;
    finish(tool("pyinfra")?.args(["-y", "inventory.py", "deploy.py"]).current_dir(&place))
}

fn ansible(fleet: &Fleet, app: &App, version: &str) -> Outcome<()> {
    let place = fleet.directory().join("ansible");
    fs::create_dir_all(&place)?;
    archive(app, &place)?;
    let key = fleet.lab().key_file();
    let hosts: Vec<String> =
        fleet.machines().iter().map(|machine| format!("{}\n", machine.address)).collect();
    fs::write(
        place.join("inventory"),
        format!(
            "[servers]\n{}[servers:vars]\nansible_user=root\nansible_ssh_private_key_file={}\n\
             ansible_python_interpreter=/usr/bin/python3\n",
            hosts.concat(),
            key.display()
        ),
    )?;
    fs::write(
        place.join("ansible.cfg"),
        "[defaults]\nhost_key_checking = False\nforks = 10\ninventory = inventory\n\
         [ssh_connection]\npipelining = True\n",
    )?;
    fs::write(
        place.join("deploy.yml"),
        format!(
            "- hosts: servers\n  gather_facts: false\n  tasks:\n\
             \x20   - file: {{ path: /srv/app/releases/{version}, state: directory }}\n\
             \x20   - unarchive: {{ src: app.tar.gz, dest: /srv/app/releases/{version} }}\n\
             \x20   - file: {{ src: /srv/app/releases/{version}, dest: /srv/app/current, state: link }}\n\
             \x20   - systemd: {{ name: plain, state: restarted }}\n"
        ),
    )?;
    finish(tool("ansible-playbook")?.arg("deploy.yml").current_dir(&place))
}

/// What both of them send.
fn archive(app: &App, place: &Path) -> Outcome<()> {
    let mut command = Command::new("tar");
    command.arg("-czf").arg(place.join("app.tar.gz")).arg("-C").arg(app.path()).arg(".");
    finish(&mut command)
}

/// A program of the Python environment that `cargo xtask bench fleet` makes.
fn tool(name: &str) -> Outcome<Command> {
    let tools = std::env::var_os("ONWARD_TOOLS").ok_or("ONWARD_TOOLS names no directory")?;
    let mut command = Command::new(Path::new(&tools).join(name));
    command.env("HOME", std::env::temp_dir());
    Ok(command)
}

fn finish(command: &mut Command) -> Outcome<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{command:?}: {}{}", said(&output.stdout), said(&output.stderr)).into())
}

fn on_all(fleet: &Fleet, what: impl Fn(usize) -> Result<(), String> + Sync) -> Outcome<()> {
    let results: Vec<Result<(), String>> = thread::scope(|scope| {
        let what = &what;
        let threads: Vec<_> =
            (0..fleet.machines().len()).map(|index| scope.spawn(move || what(index))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("it panicked".to_owned())))
            .collect()
    });
    for result in results {
        result?;
    }
    Ok(())
}
