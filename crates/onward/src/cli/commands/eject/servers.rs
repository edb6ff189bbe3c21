//! `eject` of servers behind SSH: a directory for each, which is brought there by hand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use onward_core::document::Document;
use onward_core::engine;
use onward_core::model::{Config, Release, ServerName};
use onward_core::order::{Order, OrderCertificate};
use onward_core::secrets::SecretVersion;
use onward_secret::{Secret, open_value};
use onward_server::layout::Tree;
use onward_server::systemd::Names;

use super::Made;
use crate::cli::args_eject::EjectArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::problem::Problem;
use crate::cli::secret_problem::SecretProblem;
use crate::cli::secrets;
use crate::cli::ways::Ways;
use crate::eject::{self, Certificate, Elsewhere, Leaving, OnServer, Serving};
use crate::project::BALANCER;

/// Where programs are looked for, as systemd has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where onward keeps what it has on a server.
const TREE: &str = "/var/lib/onward";

/// The directories of all servers.
pub(super) fn all(
    context: &Context,
    ways: &Ways,
    document: &Document,
    release: &Release,
    args: &EjectArgs,
) -> Result<Made, Complaint> {
    let opened = super::opened(context, document, release)?;
    let orders: Vec<Order> = engine::orders(document);
    let (mut made, mut leaving) = (Made::default(), Vec::new());
    for order in &orders {
        let config = config(release, order);
        let place = (release, order, &config);
        let Some(serving) = serving(context, document, place, &opened, args)? else {
            continue;
        };
        let ejected = eject::files(&serving);
        leaving.push(left(ways, &order.server, &serving, context));
        let directory = Path::new(order.server.as_str());
        for mut file in ejected.files {
            file.path = directory.join(&file.path).to_string_lossy().into_owned();
            made.files.push(file);
        }
        made.notes.extend(ejected.notes);
        made.private.extend(["env", "secrets", "certificates"].map(|own| directory.join(own)));
    }
    made.notes.sort();
    made.notes.dedup();
    let down = ways.lab().is_none();
    let down = down.then(|| format!("onward -e {} down", context.environment()));
    let title = format!("{} {}", context.app(), context.environment());
    made.files.push(eject::overview(&title, &leaving, down.as_deref()));
    Ok(made)
}

/// What is written for one server; none when it has nothing of the release.
fn serving<'a>(
    context: &'a Context,
    document: &'a Document,
    (release, order, config): (&'a Release, &Order, &'a Config),
    opened: &BTreeMap<String, Secret>,
    args: &EjectArgs,
) -> Result<Option<Serving<'a>>, Complaint> {
    let (app, environment) = (context.app(), context.environment());
    let place = PathBuf::from(format!("/srv/{app}-{environment}"));
    let counts = order.releases.get(&release.number).map(|own| {
        let processes = own.config.processes.iter();
        processes.map(|(name, own)| (name.clone(), own.count)).collect::<BTreeMap<_, _>>()
    });
    let elsewhere = elsewhere(context, document, (release, order), args)?;
    if counts.is_none() && !elsewhere.is_entry {
        return Ok(None);
    }
    let files = place.join("files");
    let runs_here = |counts: &BTreeMap<_, u32>| {
        counts.values().any(|count| *count > 0) || !config.schedules.is_empty()
    };
    let servers: Vec<OnServer> = counts
        .filter(runs_here)
        .map(|counts| OnServer {
            name: order.server.clone(),
            directory: files.join("releases").join(release.number.to_string()),
            shared: files.join("shared"),
            counts,
        })
        .into_iter()
        .collect();
    let user = Names::new(app, environment).user();
    let home = files.join("shared").into_os_string();
    let inherited: [(String, OsString); 2] = [("PATH".into(), PATH.into()), ("HOME".into(), home)];
    let copies =
        opened.iter().map(|(name, own)| (name.clone(), Secret::new(own.expose().to_vec())));
    let secrets = if servers.is_empty() { BTreeMap::new() } else { copies.collect() };
    Ok(Some(Serving {
        app,
        environment,
        release: release.number,
        bundle: &release.bundle,
        config,
        maintenance: document.demand.maintenance.as_ref(),
        servers,
        secrets,
        inherited: inherited.into(),
        owner: (user.clone(), user),
        place,
        copied: true,
        listen: args.listen,
        first_port: args.first_port,
        elsewhere: Some(elsewhere),
    }))
}

/// What runs on a server: of the schedules only its own.
fn config(release: &Release, order: &Order) -> Config {
    let mut config = Config::clone(&release.config);
    let own = order.releases.get(&release.number);
    config.schedules = own.map(|own| own.config.schedules.clone()).unwrap_or_default();
    config
}

/// The place of a server among the others.
fn elsewhere(
    context: &Context,
    document: &Document,
    (release, order): (&Release, &Order),
    args: &EjectArgs,
) -> Result<Elsewhere, Complaint> {
    // Nobody else has it: instances have the ports from the first one on.
    let inner = args.first_port.saturating_sub(1);
    let is_alone = document.servers.len() == 1;
    let own = document.server(&order.server);
    let balances = own.is_some_and(|own| own.roles.iter().any(|role| role.as_str() == BALANCER));
    let is_entry = is_alone || balances;
    let runs = order.releases.get(&release.number);
    let has_traffic =
        runs.is_some_and(|own| own.config.with_traffic().any(|(_, own)| own.count > 0));
    let others =
        document.servers.keys().any(|name| *name != order.server && balanced(document, name));
    let peers = order.balance.iter().flat_map(|own| own.peers.values());
    let peers = peers.map(|address| {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        format!("{host}:{inner}")
    });
    let tree = Tree::new(PathBuf::from(TREE)).app(context.app(), context.environment());
    let shared = tree.shared();
    let is_lab = context.ways().is_some_and(|ways| ways.lab().is_some());
    Ok(Elsewhere {
        tree: shared.parent().map(Path::to_owned).unwrap_or(shared),
        takes_off: is_lab.then(|| format!("{TREE}/bin/current agent remove")),
        peers: if is_entry { peers.collect() } else { Vec::new() },
        inner: (has_traffic && others).then_some(inner),
        is_entry,
        certificates: if is_entry {
            certificates(context, document, (release, order))?
        } else {
            Vec::new()
        },
    })
}

fn balanced(document: &Document, name: &ServerName) -> bool {
    let own = document.server(name);
    own.is_some_and(|own| own.roles.iter().any(|role| role.as_str() == BALANCER))
}

/// The certificates of an order, each with the names that it is for; a name is in one of them.
fn certificates(
    context: &Context,
    document: &Document,
    (release, order): (&Release, &Order),
) -> Result<Vec<Certificate>, Complaint> {
    let Some(https) = order.https.as_ref().filter(|own| !own.certificates.is_empty()) else {
        return Ok(Vec::new());
    };
    let (mut hosts, mut aliases) =
        (release.config.routing.hosts.clone(), release.config.routing.aliases.clone());
    let mut all = Vec::new();
    for (index, own) in https.certificates.iter().enumerate() {
        let known = document.https.iter().flat_map(|own| own.certificates.values());
        let Some(known) = known.into_iter().find(|known| known.key == own.key) else { continue };
        let taken = |names: &mut Vec<String>| -> Vec<String> {
            names.extract_if(.., |name| known.covers(name)).collect()
        };
        let (hosts, aliases) = (taken(&mut hosts), taken(&mut aliases));
        all.push(Certificate {
            name: name_of(own, index),
            chain: own.chain.clone(),
            key: key(context, document, own.key)?,
            hosts,
            aliases,
            until: known.not_after,
        });
    }
    Ok(all)
}

/// Its first name; one for many names has none that a file can have.
fn name_of(own: &OrderCertificate, index: usize) -> String {
    let first = own.names.first().filter(|name| !name.starts_with('*'));
    first.cloned().unwrap_or_else(|| format!("certificate-{}", index + 1))
}

fn key(
    context: &Context,
    document: &Document,
    version: SecretVersion,
) -> Result<Secret, Complaint> {
    let known = document.secrets.as_ref().ok_or(Problem::Bug("a certificate without its key"))?;
    let value = known.versions.get(&version);
    let value = value.ok_or(Problem::Bug("a certificate without its key"))?;
    let identity = secrets::opened(context, known)?;
    open_value(&identity, &value.name, version, &value.sealed.text).map_err(|why| {
        let name = value.name.clone();
        SecretProblem::Damaged { name, why }.into()
    })
}

/// How a directory comes to its server: the way that onward itself takes there.
fn left(ways: &Ways, name: &ServerName, serving: &Serving<'_>, context: &Context) -> Leaving {
    let server = ways.server(name);
    let place = serving.place.display().to_string();
    let sudo = if server.login() == "root" { "" } else { "sudo " };
    let counts =
        serving.servers.iter().flat_map(|own| &own.counts).filter(|(_, count)| **count > 0);
    let runs: Vec<String> = counts.map(|(name, count)| format!("{name} × {count}")).collect();
    let entry = serving.elsewhere.as_ref().is_some_and(|own| own.is_entry);
    let does: Vec<String> =
        entry.then(|| "visitors come here".to_owned()).into_iter().chain(runs).collect();
    let brings = format!(
        "tar -C {name} -cf - . | onward -C {} -e {} ssh {name} -- \"{sudo}mkdir -p {place} && {sudo}tar -C {place} --no-same-owner -xpf -\"",
        crate::cli::commands::eject::quoted(context.local.project()),
        context.environment()
    );
    Leaving { server: name.to_string(), does: does.join(", "), brings, place }
}
