//! What to do with the files.

use std::fmt::Write;

use super::{File, Serving};

const FITS: &str = "a String takes everything";

pub(super) fn file(serving: &Serving<'_>, units: &[String], notes: &[String]) -> File {
    let (place, prefix) = (serving.place.display(), serving.prefix());
    let mut text = format!(
        "# {} {} without onward\n\nRelease {} ({}), as it served. Nothing here needs onward.\n\n",
        serving.app, serving.environment, serving.release, serving.bundle.label
    );
    text.push_str("| here | is |\n|---|---|\n");
    if !units.is_empty() {
        text.push_str(
            "| `systemd/` | a unit for each instance, a unit and a timer for each schedule |\n| \
             `env/` | the environment of each unit, mode 0600: **secrets are in it in clear** |\n",
        );
    }
    if !serving.secrets.is_empty() {
        text.push_str("| `secrets/` | each secret as a file, mode 0600 |\n");
    }
    let web = serving.config.with_traffic().next().is_some();
    if web {
        text.push_str(
            "| `nginx/`, `maintenance/` | which requests go where; the page for maintenance |\n",
        );
    }
    for server in &serving.servers {
        writeln!(text, "| `{}` | the files of the release |", server.directory.display())
            .expect(FITS);
        writeln!(text, "| `{}` | what survives releases |", server.shared.display()).expect(FITS);
    }
    text.push_str("\n## Steps\n\nAs root, on the machine with these files:\n\n```sh\n");
    if !units.is_empty() {
        writeln!(text, "cp {place}/systemd/{prefix}-* /etc/systemd/system/").expect(FITS);
        text.push_str("systemctl daemon-reload\n");
        writeln!(text, "systemctl enable --now {}", units.join(" ")).expect(FITS);
    }
    if web {
        writeln!(text, "cp {place}/nginx/{prefix}.conf /etc/nginx/conf.d/").expect(FITS);
        text.push_str("nginx -t && systemctl reload nginx\n");
    }
    text.push_str("```\n\n");
    if serving.config.in_background().next().is_some() || !serving.config.schedules.is_empty() {
        text.push_str(
            "Processes without traffic and schedules now run twice, here and in onward, until \
             onward's are taken away: when yours must not, run `onward down` first and accept that \
             nothing serves between the two.\n\n",
        );
    }
    if web {
        writeln!(
            text,
            "Ask the new address (port {}), and lead visitors there. Then:\n",
            serving.listen
        )
        .expect(FITS);
    }
    text.push_str("```sh\nonward down\n```\n\n");
    if !serving.copied {
        text.push_str(
            "**`onward down` takes the release's directory away**, and these units use it. Before it, run \
             `onward eject --copy` into another directory and use that, or copy the directories above and \
             correct `WorkingDirectory=` in `systemd/` and `ONWARD_SHARED=` in `env/`.\n\n",
        );
    }
    rest(serving, notes, &mut text);
    File::public("README.md", text)
}

/// What nobody does any more.
pub(super) fn rest(serving: &Serving<'_>, notes: &[String], text: &mut String) {
    text.push_str("## What is not here\n\n");
    text.push_str(
        "- Deploys: put the next version into a directory of its own, correct `WorkingDirectory=`, restart \
         the units. Requests in flight are lost then.\n- Health checks, restarts by probe, taking back, \
         history.\n",
    );
    if let Some(command) = &serving.config.release_command {
        writeln!(text, "- The release command, which ran already: `{command}`.").expect(FITS);
    }
    for (name, run) in &serving.config.tasks {
        writeln!(
            text,
            "- The task {name}: `{run}`, in the release's directory with its environment."
        )
        .expect(FITS);
    }
    for note in notes {
        writeln!(text, "- {note}").expect(FITS);
    }
}
