//! What to do with the files on a server of its own.

use std::fmt::Write;

use super::nginx::FITS;
use super::{Elsewhere, File, Serving, readme};

pub(super) fn file(
    serving: &Serving<'_>,
    own: &Elsewhere,
    units: &[String],
    notes: &[String],
) -> File {
    let mut text = format!(
        "# {} {} without onward\n\nRelease {} ({}), as it served. Nothing here needs onward. The steps are for \
         root on this server, and these files in `{}`.\n\n",
        serving.app,
        serving.environment,
        serving.release,
        serving.bundle.label,
        serving.place.display()
    );
    before(serving, own, units, &mut text);
    after(serving, own, units, &mut text);
    certificates(own, &mut text);
    readme::rest(serving, notes, &mut text);
    text.push_str(
        "- The firewall, the settings of sshd and the updates that onward set up: they go with it when nobody \
         else uses it on this server.\n- What confined the processes: these units have the user and nothing else.\n",
    );
    if own.takes_off.is_none() && serving.has_nginx() {
        text.push_str(
            "- Room for others: where apps of other environments are still with onward on this server, the ports 80 \
             and 443 stay with it, and nginx needs others (`onward eject --listen PORT`).\n",
        );
    }
    if let Some(port) = own.inner {
        writeln!(
            text,
            "- A wall before port {port}, at which the balancers reach this server: nobody else shall."
        )
        .expect(FITS);
    }
    File::public("README.md", text)
}

/// What changes nothing of what runs.
fn before(serving: &Serving<'_>, own: &Elsewhere, units: &[String], text: &mut String) {
    let (place, user) = (serving.place.display(), &serving.owner.0);
    text.push_str("## First, while onward serves\n\n```sh\n");
    if serving.has_nginx() {
        text.push_str("apt-get update && apt-get install -y nginx-light\nrm -f /etc/nginx/sites-enabled/default\n");
    }
    if !units.is_empty() {
        writeln!(
            text,
            "id {user} || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {user}"
        )
        .expect(FITS);
    }
    if let Some(server) = serving.servers.first() {
        let from = own.tree.join("releases").join(serving.release.to_string());
        let (from, to) = (from.display(), server.directory.display());
        writeln!(text, "mkdir -p {place}/files/releases\ncp -a {from} {to}").expect(FITS);
    }
    if !serving.secrets.is_empty() {
        writeln!(text, "chown -R {user}: {place}/secrets").expect(FITS);
    }
    text.push_str("```\n\n");
}

/// What takes onward's place, once it is gone.
fn after(serving: &Serving<'_>, own: &Elsewhere, units: &[String], text: &mut String) {
    let (place, prefix) = (serving.place.display(), serving.prefix());
    text.push_str("## Then, with onward off this server\n\n");
    match &own.takes_off {
        Some(_) => text.push_str("The first line takes it off.\n\n```sh\n"),
        None => text.push_str(
            "`onward down` on your own machine takes it off, from all servers at once.\n\n```sh\n",
        ),
    }
    if let Some(line) = &own.takes_off {
        let files = serving.servers.first().map(|server| server.directory.display());
        let copied = files.map_or_else(String::new, |files| format!("test -d {files} && "));
        writeln!(text, "{copied}{line}").expect(FITS);
    }
    if let Some(server) = serving.servers.first() {
        let (from, to) = (own.tree.join("shared"), server.shared.display());
        let from = from.display();
        writeln!(text, "if [ -e {from} ]; then mv {from} {to}; else mkdir -p {to}; fi")
            .expect(FITS);
    }
    if !units.is_empty() {
        writeln!(text, "cp {place}/systemd/{prefix}-* /etc/systemd/system/").expect(FITS);
        text.push_str("systemctl daemon-reload\n");
        writeln!(text, "systemctl enable --now {}", units.join(" ")).expect(FITS);
    }
    if serving.has_nginx() {
        writeln!(text, "cp {place}/nginx/{prefix}.conf /etc/nginx/conf.d/").expect(FITS);
        text.push_str("nginx -t && systemctl enable nginx && systemctl restart nginx\n");
    }
    text.push_str("```\n\n");
}

fn certificates(own: &Elsewhere, text: &mut String) {
    if own.certificates.is_empty() {
        return;
    }
    text.push_str("## Certificates\n\nNobody renews them any more. They are good until:\n\n");
    for own in &own.certificates {
        let (chain, _) = own.paths();
        writeln!(text, "- `{chain}`: {}", own.until.strftime("%Y-%m-%d %H:%M UTC")).expect(FITS);
    }
    text.push_str(
        "\n`certbot --nginx` gets others and puts them into the configuration (`apt-get install \
         python3-certbot-nginx`).\n\n",
    );
}
