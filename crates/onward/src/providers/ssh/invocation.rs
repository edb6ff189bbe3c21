//! The command line of `ssh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use onward_core::model::ServerName;

use super::pins::ALIAS;
use crate::project::Reach;

/// The time that a connection may take, in seconds.
const CONNECTS_WITHIN_S: u32 = 10;
/// After so many seconds of silence the server is asked whether it is there.
const ASKED_AFTER_S: u32 = 4;
/// So many questions without an answer end the connection.
const QUESTIONS_MAX: u32 = 3;
/// The program, unless the environment names another one.
const PROGRAM: &str = "ssh";
/// The program of a server.
const ONWARD: &str = "/var/lib/onward/bin/current";
/// The variable that names another `ssh`, for example a wrapper that signs certificates.
const VARIABLE: &str = "ONWARD_SSH";
/// The first line of what a server says about itself when onward is not there.
pub(super) const BARE: &str = "onward-bare 1";
/// The last line of that.
pub(super) const FACTS_END: &str = "onward-facts-end";
/// What a line begins with that says why onward could not be put there.
pub(super) const FAILED: &str = "onward-failed ";
/// The line of somebody who may not become root.
pub(super) const NO_SUDO: &str = "onward-no-sudo";

/// Which key a server has to show.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// The one in this file.
    Pinned(PathBuf),
    /// Any that the person's own `known_hosts` vouches for.
    Own,
}

/// One call of `ssh`.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    pub(super) reach: &'a Reach,
    /// A key to log in with, when it is not the person's own.
    pub(super) identity: Option<&'a Path>,
    pub(super) trust: Trust,
    /// Where the key that the server shows is written down, by this program.
    pub(super) shown: Option<(&'a Path, &'a Path)>,
}

impl Invocation<'_> {
    /// The command up to the host, without what shall run there.
    pub(super) fn command(&self) -> Command {
        let mut command = self.options("no");
        command.arg("-T").arg("--").arg(&self.reach.address);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What tells where the command would go, without going there.
    pub(super) fn asked(&self) -> Command {
        let mut command = self.options("no");
        command.args(["-G", "--"]).arg(&self.reach.address).stdin(Stdio::null());
        command
    }

    /// The command for a person: a shell, or what shall run there, with the input and output of
    /// this program.
    pub(super) fn shell(&self, in_terminal: bool, line: Option<&str>) -> Command {
        let mut command = self.options(if in_terminal { "yes" } else { "no" });
        command.arg("--").arg(&self.reach.address).args(line);
        command
    }

    fn options(&self, terminal: &str) -> Command {
        let program = std::env::var_os(VARIABLE).filter(|own| !own.is_empty());
        let mut command = Command::new(program.unwrap_or_else(|| PROGRAM.into()));
        let mut option = |text: String| {
            command.arg("-o").arg(text);
        };
        option("BatchMode=yes".into());
        option("StrictHostKeyChecking=yes".into());
        option("UpdateHostKeys=no".into());
        option("CheckHostIP=no".into());
        option(format!("ConnectTimeout={CONNECTS_WITHIN_S}"));
        option(format!("ServerAliveInterval={ASKED_AFTER_S}"));
        option(format!("ServerAliveCountMax={QUESTIONS_MAX}"));
        // A connection that somebody else opened was not checked against the pin.
        option("ControlMaster=no".into());
        option("ControlPath=none".into());
        option("ClearAllForwardings=yes".into());
        option("ForwardAgent=no".into());
        option("PermitLocalCommand=no".into());
        option(format!("RequestTTY={terminal}"));
        option("LogLevel=ERROR".into());
        if let Trust::Pinned(file) = &self.trust {
            option(format!("UserKnownHostsFile=\"{}\"", file.display()));
            option("GlobalKnownHostsFile=/dev/null".into());
            option(format!("HostKeyAlias={ALIAS}"));
            option("VerifyHostKeyDNS=no".into());
        }
        if let Some((shown, onward)) = self.shown {
            // It adds no key; it only sees the one that is shown.
            let (onward, shown) = (quoted(onward), quoted(shown));
            option(format!("KnownHostsCommand={onward} agent shown-key {shown} %I %t %K"));
        }
        if let Some(identity) = self.identity {
            option(format!("IdentityFile=\"{}\"", identity.display()));
            option("IdentitiesOnly=yes".into());
        }
        if let Some(port) = self.reach.port {
            option(format!("Port={port}"));
        }
        if let Some(user) = &self.reach.user {
            option(format!("User={user}"));
        }
        command
    }
}

/// A path as a word of an option that is split at spaces, with `%` as itself.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    if text.contains([' ', '"', '\\', '\'']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text
    }
}

/// The line that runs the onward of a server there, as root, for whatever shell the account has.
pub(super) fn onward(words: &str) -> String {
    debug_assert!(!words.contains('\''), "they stand between such quotes");
    format!(
        "exec /bin/sh -c 'if [ \"$(id -u)\" = 0 ]; then exec {ONWARD} {words}; fi; \
         exec sudo -n {ONWARD} {words}'"
    )
}

/// What runs on the server, as one word for whatever shell the account has: as root, through sudo
/// where the account is not root.
pub(super) fn remote(server: &ServerName, replace: bool) -> String {
    let script = script(server, replace);
    debug_assert!(!script.contains('\''), "it stands between such quotes");
    format!(
        "exec /bin/sh -c 'if [ \"$(id -u)\" = 0 ]; then exec /bin/sh -c \"$0\"; fi; \
         sudo -n true 2>/dev/null || {{ echo {NO_SUDO} \"$(id -un)\"; exit 1; }}; \
         exec sudo -n /bin/sh -c \"$0\"' '{script}'"
    )
}

/// Speaks for the agent when it is there and shall not be replaced. Otherwise says what kind of machine this is, and waits for
/// a copy of onward.
fn script(server: &ServerName, replace: bool) -> String {
    let stays = if replace { "" } else { "yes" };
    format!(
        r#"R=/var/lib/onward; B=$R/bin; U=/run/onward
if [ -n "{stays}" ] && [ -x $B/current ]; then
  [ -S $U/agent.sock ] || $B/current agent install --server {server} >&2
  exec $B/current agent stdio --runtime $U
fi
umask 022
echo "{BARE}"
echo "system $(uname -s)"; echo "machine $(uname -m)"
( . /etc/os-release; echo "os $ID $VERSION_ID" ) 2>/dev/null
echo "systemd $(systemctl --version 2>/dev/null | head -n 1)"
echo "running $(systemctl is-system-running 2>/dev/null)"
echo "free $(df -Pk /var/lib | tail -n 1)"
for P in gzip sha256sum; do command -v $P >/dev/null || echo "lacks $P"; done
echo "{FACTS_END}"
read WORD SIZE SUM NAME || exit 0
[ "$WORD" = install ] || exit 0
fail() {{ rm -f $T $T.gz; echo "{FAILED}$1"; exit 1; }}
mkdir -p $B || {{ echo "{FAILED}$B cannot be made"; exit 1; }}
T=$B/.new.$$
head -c $SIZE > $T.gz && gzip -dc < $T.gz > $T || fail "the copy of onward cannot be written to $B"
echo "$SUM  $T" | sha256sum -c --status || fail "the copy of onward arrived damaged"
chmod 755 $T; rm -f $T.gz
$T --version > /dev/null || fail "this machine cannot run it"
sync $T 2>/dev/null; mv -f $T $B/$NAME
ln -sfn $NAME $B/current.new && mv -Tf $B/current.new $B/current
$B/current agent install --server {server} >&2 || {{ echo "{FAILED}the agent cannot be installed"; exit 1; }}
exec $B/current agent stdio --runtime $U
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_fits_between_quotes_and_is_a_script() {
        let script = script(&"one".parse().expect("a name"), false);
        assert!(!script.contains('\''));
        let checked = Command::new("/bin/sh").args(["-n", "-c", &script]).status();
        assert!(checked.expect("sh runs").success());
    }

    #[test]
    fn paths_are_words() {
        assert_eq!(quoted(Path::new("/a/b")), "/a/b");
        assert_eq!(quoted(Path::new("/a b/50%")), "\"/a b/50%%\"");
    }
}
