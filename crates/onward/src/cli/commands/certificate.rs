//! `onward certificate …`: what visitors are shown, and getting it anew.

use std::collections::BTreeSet;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::https::{Asker, TRIES_PER_HOUR};
use serde_json::json;

use crate::certificates::renewal::Renewed;
use crate::cli::args_certificate::CertificateVerb;
use crate::cli::certified;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::issuing;
use crate::cli::numbers;
use crate::cli::reading;
use crate::cli::screen::Screen;
use crate::cli::table::Table;
use crate::project::tls::Tls;

/// Does what the verb says.
pub fn run(context: &Context, verb: &CertificateVerb, screen: &Screen) -> Result<Exit, Complaint> {
    match verb {
        CertificateVerb::Show => show(context, screen),
        CertificateVerb::Renew { names } => renew(context, names, screen),
    }
}

fn show(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let reading = reading::read(context, screen)?;
    let document = reading.as_ref().map(|reading| &*reading.stored.document);
    let now = Timestamp::now();
    let wanted = document.map(Document::https_names).unwrap_or_default();
    let held = document.and_then(|document| document.https.as_ref());
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| held.is_none_or(|own| own.certificate(name).is_none()))
        .collect();
    let attempts = held.iter().flat_map(|own| &own.attempts);
    screen.document(&json!({
        "certificates": document.map_or_else(|| json!([]), certified::as_json),
        "missing": missing,
        "authority": held.and_then(|own| own.authority.as_ref()).map(|own| &own.directory),
        "attempts": attempts.map(|(name, own)| json!({
            "name": name, "failures": own.failures, "next": own.next, "problem": own.problem,
        })).collect::<Vec<_>>(),
    }));
    let Some(held) = held else {
        screen.line(&format!("No certificates: {}", why_none(context)));
        return Ok(Exit::Done);
    };
    let mut table = Table::new(["NAMES", "UNTIL", "LEFT", "ISSUER"]);
    for own in held.certificates.values() {
        let left = certified::long(own.not_after.duration_since(now));
        table.row([
            own.names.join(", "),
            own.not_after.strftime("%Y-%m-%d").to_string(),
            if own.not_after > now { left } else { format!("ended {left} ago") },
            own.issuer.clone(),
        ]);
    }
    for line in table.lines() {
        screen.line(&line);
    }
    for name in missing {
        screen.line(&format!("{name} has no certificate yet"));
    }
    for (name, own) in held.attempts.iter().filter(|(_, own)| !own.problem.is_empty()) {
        let times = numbers::count(u64::from(own.failures), "time");
        screen.line(&format!("{name} was tried {times} in vain: {}", own.problem));
    }
    Ok(Exit::Done)
}

/// Why an environment has no certificates.
fn why_none(context: &Context) -> &'static str {
    match (&context.resolved.tls, context.resolved.routing.hosts.is_empty()) {
        (Tls::Off, true) => "without a `domain` in onward.toml there is no name to have one for",
        (Tls::Off, false) => "`tls` in onward.toml is off",
        (Tls::Own(_) | Tls::Acme(_), _) => "the next `onward up` brings what onward.toml says",
    }
}

fn renew(context: &Context, names: &[String], screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let wanted = document.map(Document::https_names).unwrap_or_default();
    let only: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    if let Some(other) = only.iter().find(|name| !wanted.contains(*name)) {
        let what = format!("{other} is no name of what serves in {}", context.environment());
        return Err(Complaint::new(Exit::Usage, what).nothing_changed().hint(
            "`domain` and `aliases` in onward.toml are its names; `onward up` follows them",
        ));
    }
    let https = document.and_then(|document| document.https.as_ref());
    if https.is_none_or(|own| own.authority.is_none()) {
        let what = format!("no authority is asked for certificates of {}", context.environment());
        return Err(Complaint::new(Exit::Refused, what)
            .nothing_changed()
            .hint("write `domain` and `tls = \"acme\"` into onward.toml, then `onward up`"));
    }
    let interrupts = interrupt::watch();
    let only = (!only.is_empty()).then_some(only);
    let renewed = issuing::renew(context, only.as_ref(), screen, &interrupts)?;
    conclude(context, &renewed, screen)
}

/// The authority was asked as often as is good within an hour, and something is still missing.
fn too_often(document: &Document, now: Timestamp) -> Option<Complaint> {
    let https = document.https.as_ref()?;
    let wanted = document.https_names();
    let is_due = |name: &&String| https.certificate(name).is_none_or(|own| own.renew_at() <= now);
    let (name, next) = wanted.iter().filter(is_due).find_map(|name| {
        Some((name, https.next_try(name, Asker::Person).filter(|next| *next > now)?))
    })?;
    let what = format!("the authority was asked {TRIES_PER_HOUR} times within an hour for {name}");
    Some(
        Complaint::new(Exit::Refused, what)
            .nothing_changed()
            .fact(format!("It may be asked again at {}", next.strftime("%H:%M UTC")))
            .hint("`onward certificate show` says what it found"),
    )
}

fn conclude(context: &Context, renewed: &Renewed, screen: &Screen) -> Result<Exit, Complaint> {
    let failed: Vec<_> = renewed
        .failed
        .iter()
        .map(|(name, problem)| json!({"name": name, "problem": problem}))
        .collect();
    let fields = json!({"issued": renewed.issued, "failed": failed});
    if let Some((name, problem)) = renewed.failed.first() {
        let what = format!("{name} has no new certificate: {problem}");
        if screen.is_json() {
            screen.finished(false, fields);
            return Ok(Exit::Failed);
        }
        return Err(Complaint::new(Exit::Failed, what)
            .fact("What is shown now goes on being shown")
            .hint("`onward doctor` looks for the reason"));
    }
    if renewed.issued.is_empty() {
        let stored = context.look()?;
        let document = stored.as_ref().map(|stored| &*stored.document);
        if let Some(complaint) = document.and_then(|own| too_often(own, Timestamp::now())) {
            return Err(complaint);
        }
        let next = document
            .and_then(|document| document.https.as_ref()?.next_due(&document.https_names()));
        let when = next
            .map_or_else(String::new, |at| at.strftime(" before %Y-%m-%d %H:%M UTC").to_string());
        screen.success(&format!("Nothing is due{when}"));
    } else {
        screen.success(&format!("New certificates: {}", renewed.issued.join(", ")));
    }
    screen.finished(true, fields);
    Ok(Exit::Done)
}
