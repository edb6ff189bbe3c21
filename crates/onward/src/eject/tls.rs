//! The part of nginx: where visitors come in, with TLS where there are certificates.

use std::fmt::Write;

use super::nginx::{FITS, visitors};
use super::{Certificate, Serving, quote};

/// Where visitors with TLS come.
const PORT: u16 = 443;

/// A block for the names without TLS, and one for those of each certificate.
pub(super) fn servers(serving: &Serving<'_>, name: &str, text: &mut String) {
    let routing = &serving.config.routing;
    let certificates = certificates(serving);
    let sends_on = routing.https.as_ref().is_some_and(|rules| !rules.plain_too);
    let has_one = |host: &&String| certificates.iter().any(|own| own.hosts.contains(host));
    let (sent, plain): (Vec<_>, Vec<_>) =
        routing.hosts.iter().partition(|host| sends_on && has_one(host));
    if routing.hosts.is_empty() || !plain.is_empty() {
        let any = routing.hosts.is_empty();
        text.push_str("server {\n");
        listen(serving.listen, if any { " default_server" } else { "" }, text);
        writeln!(text, "    server_name {};", names(&plain)).expect(FITS);
        visitors(serving, name, text);
        text.push_str("}\n");
    }
    if !sent.is_empty() {
        text.push_str("server {\n");
        listen(serving.listen, "", text);
        writeln!(text, "    server_name {};", names(&sent)).expect(FITS);
        text.push_str("    return 308 https://$host$request_uri;\n}\n");
    }
    for own in certificates {
        block(serving, own, &own.hosts, text, |text| visitors(serving, name, text));
        if let Some(first) = routing.hosts.first() {
            let to = canonical(serving, first);
            block(serving, own, &own.aliases, text, |text| {
                writeln!(text, "    return 308 {to}$request_uri;").expect(FITS);
            });
        }
    }
}

/// Where aliases are sent, without the path.
pub(super) fn canonical(serving: &Serving<'_>, host: &str) -> String {
    let (listen, has_tls) = (
        serving.listen,
        certificates(serving).iter().any(|own| own.hosts.iter().any(|own| own == host)),
    );
    match (has_tls, listen) {
        (true, _) => format!("https://{host}"),
        (false, 80) => format!("$scheme://{host}"),
        (false, port) => format!("$scheme://{host}:{port}"),
    }
}

fn certificates<'a>(serving: &'a Serving<'_>) -> &'a [Certificate] {
    serving.elsewhere.as_ref().map_or(&[], |own| &own.certificates)
}

fn block(
    serving: &Serving<'_>,
    certificate: &Certificate,
    hosts: &[String],
    text: &mut String,
    body: impl FnOnce(&mut String),
) {
    if hosts.is_empty() {
        return;
    }
    text.push_str("server {\n");
    listen(PORT, " ssl http2", text);
    writeln!(text, "    server_name {};", hosts.join(" ")).expect(FITS);
    let (chain, key) = certificate.paths();
    for (word, path) in [("ssl_certificate", chain), ("ssl_certificate_key", key)] {
        let path = quote::nginx(&serving.place_of(&path));
        writeln!(text, "    {word} {path};").expect(FITS);
    }
    let rules = serving.config.routing.https.as_ref();
    if let Some(seconds) = rules.and_then(|rules| rules.hsts_s) {
        writeln!(text, "    add_header Strict-Transport-Security \"max-age={seconds}\" always;")
            .expect(FITS);
    }
    body(text);
    text.push_str("}\n");
}

fn listen(port: u16, more: &str, text: &mut String) {
    writeln!(text, "    listen {port}{more};\n    listen [::]:{port}{more};").expect(FITS);
}

fn names(hosts: &[&String]) -> String {
    if hosts.is_empty() {
        return "_".to_owned();
    }
    hosts.iter().map(|own| own.as_str()).collect::<Vec<_>>().join(" ")
}
