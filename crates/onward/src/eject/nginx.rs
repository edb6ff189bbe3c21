//! The part of nginx: which requests go where, as onward's proxy had it.

use std::fmt::Write;

use onward_core::model::{Maintenance, Run};

use super::{File, Serving, Upstream, quote};

/// What visitors see during maintenance when nobody wrote another page.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Maintenance</title>\
                    <h1>Down for maintenance</h1><p>We will be back soon.</p>\n";
/// What onward told clients when maintenance was not on, in seconds.
const RETRY_AFTER_S: u64 = 300;

pub(super) fn files(serving: &Serving<'_>, upstreams: &[Upstream]) -> Vec<File> {
    let page = serving.maintenance.and_then(|own| own.page.clone());
    let mut files = vec![
        File::public(format!("nginx/{}.conf", serving.prefix()), configuration(serving, upstreams)),
        File::public("maintenance/page.html", page.unwrap_or_else(|| PAGE.to_owned())),
    ];
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
    let routing = &serving.config.routing;
    let mut text = format!(
        "# {} {}: made by `onward eject` from release {}. It belongs into `http {{ }}`.\n",
        serving.app, serving.environment, serving.release
    );
    if site(serving).is_none() {
        writeln!(text, "upstream {name} {{").expect(FITS);
        for Upstream { port } in upstreams {
            writeln!(text, "    server 127.0.0.1:{port};").expect(FITS);
        }
        text.push_str("    keepalive 32;\n}\n");
        let map = "map $http_upgrade $NAME_connection {\n    default upgrade;\n    \"\" \"\";\n}\n";
        text.push_str(&map.replace("NAME", &name));
    }
    if routing.requests.is_some() {
        writeln!(text, "limit_conn_zone $server_name zone={name}_requests:1m;").expect(FITS);
    }
    text.push_str("server {\n");
    let (listen, any) = (serving.listen, routing.hosts.is_empty());
    let default = if any { " default_server" } else { "" };
    writeln!(text, "    listen {listen}{default};").expect(FITS);
    writeln!(text, "    listen [::]:{listen}{default};").expect(FITS);
    let hosts = if any { "_".to_owned() } else { routing.hosts.join(" ") };
    writeln!(text, "    server_name {hosts};").expect(FITS);
    let body = routing.body_bytes.unwrap_or(0);
    writeln!(text, "    client_max_body_size {body};").expect(FITS);
    if let Some(most) = routing.requests {
        writeln!(text, "    limit_conn {name}_requests {most};").expect(FITS);
    }
    if !routing.access_log {
        text.push_str("    access_log off;\n");
    }
    maintenance(serving, &mut text);
    match site(serving) {
        Some(directory) => files_of_site(serving, directory, &mut text),
        None => locations(serving, &name, &mut text),
    }
    text.push_str("}\n");
    aliases(serving, &mut text);
    text
}

const FITS: &str = "a String takes everything";

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

fn locations(serving: &Serving<'_>, name: &str, text: &mut String) {
    let routing = &serving.config.routing;
    let path = &routing.path;
    if path.is_empty() {
        return location(text, "/", name, "", "");
    }
    let (below, rest) = (format!("{path}/"), if routing.keeps_path { "" } else { "/" });
    let prefix = if routing.keeps_path { "" } else { path.as_str() };
    location(text, &format!("= {path}"), name, rest, prefix);
    location(text, &below, name, rest, prefix);
}

fn location(text: &mut String, place: &str, name: &str, rest: &str, prefix: &str) {
    writeln!(text, "    location {place} {{").expect(FITS);
    writeln!(text, "        proxy_pass http://{name}{rest};").expect(FITS);
    let mut set = |line: &str| writeln!(text, "        {line};").expect(FITS);
    set("proxy_http_version 1.1");
    set("proxy_set_header Host $http_host");
    set("proxy_set_header X-Forwarded-For $remote_addr");
    set("proxy_set_header X-Forwarded-Host $http_host");
    set("proxy_set_header X-Forwarded-Proto $scheme");
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

/// Other names are sent to the canonical one.
fn aliases(serving: &Serving<'_>, text: &mut String) {
    let routing = &serving.config.routing;
    let (false, Some(canonical)) = (routing.aliases.is_empty(), routing.hosts.first()) else {
        return;
    };
    let (listen, names) = (serving.listen, routing.aliases.join(" "));
    let port = if listen == 80 { String::new() } else { format!(":{listen}") };
    writeln!(
        text,
        "server {{\n    listen {listen};\n    listen [::]:{listen};\n    server_name {names};\n    \
         return 308 $scheme://{canonical}{port}$request_uri;\n}}"
    )
    .expect(FITS);
}
