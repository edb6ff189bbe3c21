//! The part of nginx: which requests go where, as onward's proxy had it.

use std::fmt::Write;

use onward_core::model::{Maintenance, Run};

use super::{File, Serving, Upstream, quote, tls};

/// What visitors see during maintenance when nobody wrote another page.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Maintenance</title>\
                    <h1>Down for maintenance</h1><p>We will be back soon.</p>\n";
/// What onward told clients when maintenance was not on, in seconds.
const RETRY_AFTER_S: u64 = 300;

pub(super) fn files(serving: &Serving<'_>, upstreams: &[Upstream]) -> Vec<File> {
    let page = serving.maintenance.and_then(|own| own.page.clone());
    let path = format!("nginx/{}.conf", serving.prefix());
    let mut files = vec![File::public(path, configuration(serving, upstreams))];
    if serving.elsewhere.as_ref().is_some_and(|own| !own.is_entry) {
        return files;
    }
    files.push(File::public("maintenance/page.html", page.unwrap_or_else(|| PAGE.to_owned())));
    if serving.maintenance.is_some() {
        files.push(File::public("maintenance/on", ""));
    }
    files
}

/// The directory that is served as it is, when there is one.
fn site<'a>(serving: &'a Serving<'_>) -> Option<&'a str> {
    serving.config.with_traffic().find_map(|(_, process)| match &process.run {
        Run::Static(directory) => Some(directory.as_str()),
        Run::Command(_) => None,
    })
}

fn configuration(serving: &Serving<'_>, upstreams: &[Upstream]) -> String {
    let name = serving.prefix().replace('-', "_");
    let mut text = format!(
        "# {} {}: made by `onward eject` from release {}. It belongs into `http {{ }}`.\n",
        serving.app, serving.environment, serving.release
    );
    let own: Vec<String> =
        upstreams.iter().map(|Upstream { port }| format!("127.0.0.1:{port}")).collect();
    let (is_entry, inner) =
        serving.elsewhere.as_ref().map_or((true, None), |own| (own.is_entry, own.inner));
    let peers = serving.elsewhere.iter().flat_map(|own| &own.peers).cloned();
    let all: Vec<String> = own.iter().cloned().chain(peers).collect();
    let spreads = is_entry && own_site(serving).is_none();
    if spreads {
        upstream(&name, &all, &mut text);
    }
    let has_files = own_site(serving).is_some();
    if inner.is_some() && !has_files {
        upstream(&format!("{name}_own"), &own, &mut text);
    }
    if !has_files {
        let map = "map $http_upgrade $NAME_connection {\n    default upgrade;\n    \"\" \"\";\n}\n";
        text.push_str(&map.replace("NAME", &name));
    }
    if serving.config.routing.requests.is_some() && is_entry {
        writeln!(text, "limit_conn_zone $server_name zone={name}_requests:1m;").expect(FITS);
    }
    if is_entry {
        tls::servers(serving, &name, &mut text);
        aliases(serving, &mut text);
    }
    if let Some(port) = inner {
        inside(serving, port, &name, &mut text);
    }
    text
}

fn upstream(name: &str, addresses: &[String], text: &mut String) {
    writeln!(text, "upstream {name} {{").expect(FITS);
    for address in addresses {
        writeln!(text, "    server {address};").expect(FITS);
    }
    text.push_str("    keepalive 32;\n}\n");
}

/// The files of a site, when they are on this server.
fn own_site<'a>(serving: &'a Serving<'_>) -> Option<&'a str> {
    site(serving).filter(|_| serving.servers.iter().any(|own| own.has_traffic(serving.config)))
}

/// What every server block for visitors begins with, after where it listens.
pub(super) fn visitors(serving: &Serving<'_>, name: &str, text: &mut String) {
    let routing = &serving.config.routing;
    let body = routing.body_bytes.unwrap_or(0);
    writeln!(text, "    client_max_body_size {body};").expect(FITS);
    if let Some(most) = routing.requests {
        writeln!(text, "    limit_conn {name}_requests {most};").expect(FITS);
    }
    if !routing.access_log {
        text.push_str("    access_log off;\n");
    }
    maintenance(serving, text);
    match own_site(serving) {
        Some(directory) => files_of_site(serving, directory, text),
        None => locations(serving, name, text),
    }
}

/// Where the balancers come: what they say of the visitor is passed on.
fn inside(serving: &Serving<'_>, port: u16, name: &str, text: &mut String) {
    writeln!(text, "server {{\n    listen {port};\n    listen [::]:{port};").expect(FITS);
    text.push_str("    client_max_body_size 0;\n    access_log off;\n");
    match own_site(serving) {
        Some(directory) => files_of_site(serving, directory, text),
        None => {
            let forwarded = Location { upstream: &format!("{name}_own"), name, is_inner: true };
            location(text, "/", &forwarded, "", "");
        }
    }
    text.push_str("}\n");
}

pub(super) const FITS: &str = "a String takes everything";

fn maintenance(serving: &Serving<'_>, text: &mut String) {
    let directory = serving.place_of("maintenance");
    let seconds = serving.maintenance.map_or(RETRY_AFTER_S, |own: &Maintenance| own.retry_after_s);
    let on = quote::nginx(&format!("{directory}/on"));
    writeln!(text, "    # `touch {directory}/on` puts the page up, `rm` takes it away.")
        .expect(FITS);
    writeln!(text, "    if (-f {on}) {{ return 503; }}").expect(FITS);
    text.push_str("    error_page 503 @maintenance;\n    location @maintenance {\n");
    writeln!(text, "        root {};", quote::nginx(&directory)).expect(FITS);
    text.push_str("        try_files /page.html =503;\n");
    writeln!(text, "        add_header Retry-After {seconds} always;\n    }}").expect(FITS);
}

/// Where requests are passed on to.
struct Location<'a> {
    upstream: &'a str,
    /// What names of variables begin with.
    name: &'a str,
    /// Whether it was a balancer that asks.
    is_inner: bool,
}

fn locations(serving: &Serving<'_>, name: &str, text: &mut String) {
    let routing = &serving.config.routing;
    let (path, to) = (&routing.path, Location { upstream: name, name, is_inner: false });
    if path.is_empty() || site(serving).is_some() {
        return location(text, "/", &to, "", "");
    }
    let (below, rest) = (format!("{path}/"), if routing.keeps_path { "" } else { "/" });
    let prefix = if routing.keeps_path { "" } else { path.as_str() };
    location(text, &format!("= {path}"), &to, rest, prefix);
    location(text, &below, &to, rest, prefix);
}

fn location(text: &mut String, place: &str, to: &Location<'_>, rest: &str, prefix: &str) {
    let Location { upstream, name, is_inner } = to;
    writeln!(text, "    location {place} {{").expect(FITS);
    writeln!(text, "        proxy_pass http://{upstream}{rest};").expect(FITS);
    let mut set = |line: &str| writeln!(text, "        {line};").expect(FITS);
    set("proxy_http_version 1.1");
    set("proxy_set_header Host $http_host");
    if !is_inner {
        set("proxy_set_header X-Forwarded-For $remote_addr");
        set("proxy_set_header X-Forwarded-Host $http_host");
        set("proxy_set_header X-Forwarded-Proto $scheme");
    }
    set("proxy_set_header Upgrade $http_upgrade");
    set(&format!("proxy_set_header Connection ${name}_connection"));
    if !prefix.is_empty() {
        set(&format!("proxy_set_header X-Forwarded-Prefix {prefix}"));
    }
    set("proxy_read_timeout 1h");
    set("proxy_request_buffering off");
    set("proxy_buffering off");
    text.push_str("    }\n");
}

fn files_of_site(serving: &Serving<'_>, directory: &str, text: &mut String) {
    let routing = &serving.config.routing;
    let Some(server) = serving.servers.first() else { return };
    let root = server.directory.join(directory);
    let root = quote::nginx(&root.to_string_lossy());
    let missing =
        if routing.site.spa { format!("{}/index.html", routing.path) } else { "=404".to_owned() };
    let how = if routing.path.is_empty() { "root" } else { "alias" };
    let path = &routing.path;
    writeln!(text, "    location {path}/ {{\n        {how} {root};\n        index index.html;")
        .expect(FITS);
    writeln!(text, "        try_files $uri $uri/index.html {missing};\n    }}").expect(FITS);
    for own in &routing.site.immutable {
        let own = own.trim_matches('/');
        writeln!(text, "    location {path}/{own}/ {{").expect(FITS);
        let below = format!("{}/{own}", server.directory.join(directory).display());
        let below = if how == "alias" { quote::nginx(&format!("{below}/")) } else { root.clone() };
        writeln!(text, "        {how} {below};").expect(FITS);
        text.push_str(
            "        add_header Cache-Control \"public, max-age=31536000, immutable\";\n    }\n",
        );
    }
}

/// Other names are sent to the canonical one; those that have a certificate are in a block with it.
fn aliases(serving: &Serving<'_>, text: &mut String) {
    let routing = &serving.config.routing;
    let (false, Some(canonical)) = (routing.aliases.is_empty(), routing.hosts.first()) else {
        return;
    };
    let (listen, names) = (serving.listen, routing.aliases.join(" "));
    let to = tls::canonical(serving, canonical);
    writeln!(
        text,
        "server {{\n    listen {listen};\n    listen [::]:{listen};\n    server_name {names};\n    \
         return 308 {to}$request_uri;\n}}"
    )
    .expect(FITS);
}
