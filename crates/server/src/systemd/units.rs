//! The units of agent and proxy, as texts. Nothing here touches the machine.
//!
//! Each hardening is there unless the comment in this file says why it is not. Their sum is a figure
//! that tests hold (`systemd-analyze security`).

use std::path::Path;

use onward_core::model::ServerName;

use crate::managers;

/// The agent.
pub const AGENT: &str = "onward-agent.service";
/// What holds the socket of plain HTTP.
pub const HTTP: &str = "onward-http.socket";
/// What holds the socket of TLS.
pub const HTTPS: &str = "onward-https.socket";
/// What each proxy is an instance of.
pub const PROXY: &str = "onward-proxy@.service";
/// The user that proxies run as.
pub const PROXY_USER: &str = "onward-proxy";
/// The file that makes the runtime directories at each start of the system.
pub const RUNTIME: &str = "onward.conf";

/// How many connections wait while no proxy accepts: the system's own limit is mostly lower.
const BACKLOG: u32 = 4096;

/// What the units are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup<'a> {
    /// The server tree.
    pub root: &'a Path,
    /// The directory of the sockets of agent and proxies.
    pub runtime: &'a Path,
    /// The name of the server in documents.
    pub server: &'a ServerName,
    /// The port of plain HTTP.
    pub http: u16,
    /// The port of TLS.
    pub https: u16,
}

/// One file, with the directory that it belongs into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where: a directory of systemd.
    pub directory: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub text: String,
}

/// Where units of the machine's owner belong.
pub const UNITS: &str = "/etc/systemd/system";
/// Where the owner says which directories are made at each start.
pub const TMPFILES: &str = "/etc/tmpfiles.d";

/// The unit of a proxy: one takes over from another, so there may be several.
pub fn proxy(number: u32) -> String {
    format!("onward-proxy@{number}.service")
}

/// All files of a server.
pub fn files(setup: &Setup<'_>) -> Vec<File> {
    let unit = |name, text| File { directory: UNITS, name, text };
    let sockets = [(HTTP, "http", setup.http), (HTTPS, "https", setup.https)];
    let mut all = vec![unit(AGENT, agent(setup)), unit(PROXY, proxies(setup))];
    all.extend(sockets.map(|(name, word, port)| unit(name, socket(word, port))));
    all.push(File { directory: TMPFILES, name: RUNTIME, text: directories(setup) });
    all
}

/// The agent. Apps and proxy are units of their own, so its end and its restart stop nothing.
fn agent(setup: &Setup<'_>) -> String {
    let (root, runtime) = (path(setup.root), path(setup.runtime));
    let Setup { server, http, .. } = setup;
    let hardening = HARDENING;
    format!(
        "\
[Unit]
Description=onward: the agent of this server
After=network.target {HTTP} {HTTPS}
Wants={HTTP} {HTTPS}
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={root}/bin/current agent run --root {root} --runtime {runtime} --server {server} --home {root} --systemd {http}
Restart=always
RestartSec=100ms
TimeoutStopSec=10s
OOMScoreAdjust=-900
LimitNOFILE=65536
TasksMax=1024

{hardening}# It is root to be obeyed by systemd, and has none of root's rights over what is another user's. What
# needs them is done by units of its own.
CapabilityBoundingSet=
PrivateUsers=yes
RestrictSUIDSGID=yes
# It looks after processes of other users.
ProtectProc=default
# It asks the apps of this server whether they are well, and speaks to nobody else.
IPAddressAllow=localhost
IPAddressDeny=any
ReadWritePaths={root} {runtime}
UMask=0077

[Install]
WantedBy=multi-user.target
"
    )
}

/// A socket that systemd holds. It is given to every proxy; a connection that finds none starts one.
fn socket(word: &str, port: u16) -> String {
    let first = proxy(1);
    format!(
        "\
[Unit]
Description=onward: the socket of {word}, held for its proxies

[Socket]
ListenStream={port}
BindIPv6Only=both
Backlog={BACKLOG}
FileDescriptorName={word}
Service={first}
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"
    )
}

/// A proxy. It starts again when it dies, and not when it ends by itself: then another one has taken
/// over from it.
fn proxies(setup: &Setup<'_>) -> String {
    let (root, runtime) = (path(setup.root), path(setup.runtime));
    let hardening = HARDENING;
    format!(
        "\
[Unit]
Description=onward: proxy %i
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={root}/bin/current proxy run --table {root}/proxy/table.json --control {runtime}/proxy/proxy.sock --beside
Sockets={HTTP} {HTTPS}
# The sockets are those of the proxy that runs already: without this systemd would have it wait for
# the next connection, and everybody in it with it.
NonBlocking=yes
User={PROXY_USER}
Group={PROXY_USER}
Restart=on-failure
RestartSec=20ms
TimeoutStopSec=30s
OOMScoreAdjust=-800
LimitNOFILE=524288
TasksMax=1024

{hardening}CapabilityBoundingSet=
PrivateUsers=yes
ProtectProc=invisible
ReadWritePaths={root}/proxy {runtime}/proxy
# What it makes is for itself and for the agent, which the directories give it to.
UMask=0007
"
    )
}

/// What agent and proxies are kept from. Not `RestrictSUIDSGID`: it takes `openat2` away, with which the files of
/// a site are opened beneath its root.
const HARDENING: &str = "\
NoNewPrivileges=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
";

/// The directories of sockets, which are gone after each start of the system. What proxies make in
/// theirs belongs to the agent's group, so that two users can speak to each other; what the agent makes
/// for managers belongs to theirs.
fn directories(setup: &Setup<'_>) -> String {
    let runtime = path(setup.runtime);
    let managers = managers::USER;
    format!(
        "\
d {runtime} 0711 root root -
d {runtime}/proxy 2770 {PROXY_USER} root -
d {runtime}/managers 2710 root {managers} -
"
    )
}

/// A path inside a unit: specifiers are expanded there.
fn path(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}
