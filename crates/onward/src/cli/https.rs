//! What a deploy does about certificates, and what people read of them.

use std::path::Path;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::https::{Authority, Certificate, Https};
use onward_core::model::BundleRef;
use onward_core::secrets::SecretName;
use onward_proxy::MAX_PEM;
use serde_json::json;

use super::carry;
use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::interrupt::Interrupts;
use super::issuing;
use super::numbers;
use super::screen::Screen;
use super::secrets::{self, Write};
use crate::certificates::seat::keep;
use crate::certificates::{Brought, believed, bring};
use crate::project::tls::{Acme, Own, Tls};
use crate::project::{Diagnostic, Findings, LoadError};

/// Checks what the file says about certificates, without doing anything.
///
/// # Errors
/// The finding, with its place in the file.
pub fn check(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    match &context.resolved.tls {
        Tls::Own(own) => brought(context, own, screen).map(drop),
        Tls::Acme(Acme { ca: Some(place), .. }) => believed(place, context.local.project())
            .map(drop)
            .map_err(|found| drawn(context, *found)),
        Tls::Off | Tls::Acme(_) => Ok(()),
    }
}

/// Brings what the file says about certificates into the state, before a deploy: a certificate of the
/// user's own is shown from then on, an authority is asked after it.
///
/// # Errors
/// As [`check`], and when the state cannot be changed.
pub fn before_deploy(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    match &context.resolved.tls {
        Tls::Off => Ok(()),
        Tls::Own(own) => keep_own(context, own, screen),
        Tls::Acme(acme) => keep_authority(context, acme),
    }
}

/// After a deploy: asks the authority for what is missing or ends soon, or forgets everything when
/// the file wants no TLS any more. A certificate that cannot be had is told, and stops nothing.
///
/// # Errors
/// When the state cannot be changed.
pub fn after_deploy(
    context: &Context,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<(), Complaint> {
    if context.resolved.tls == Tls::Off {
        let ((), written) = secrets::change(context, |document| {
            let had = document.https.take().is_some();
            Ok(((), if had { Write::Yes } else { Write::No }))
        })?;
        return if written.is_some() {
            carry::carry_on(context, screen, interrupts)
        } else {
            Ok(())
        };
    }
    let renewed = issuing::renew(context, None, screen, interrupts)?;
    for (name, text) in &renewed.failed {
        screen.warn(&format!(
            "{name} has no new certificate: {text}. `onward certificate renew` tries again"
        ));
    }
    Ok(())
}

/// How long something is, for people: days from two days on.
pub fn long(time: jiff::SignedDuration) -> String {
    let time = time.unsigned_abs();
    let days = time.as_secs() / (24 * 3600);
    if days >= 2 { numbers::count(days, "day") } else { numbers::duration(time) }
}

fn keep_authority(context: &Context, acme: &Acme) -> Result<(), Complaint> {
    let project = context.local.project();
    let ca = acme.ca.as_ref().map(|place| believed(place, project)).transpose();
    let ca = ca.map_err(|found| drawn(context, *found))?;
    let (directory, email) = (acme.directory.clone(), acme.email.clone());
    let authority = Authority { directory, email, ca };
    secrets::change(context, |document| {
        let https = document.https.get_or_insert_default();
        if https.authority.as_ref() == Some(&authority) {
            return Ok(((), Write::No));
        }
        if https.account.as_ref().is_some_and(|own| own.directory != authority.directory) {
            https.account = None;
        }
        https.authority = Some(authority.clone());
        Ok(((), Write::Yes))
    })
    .map(drop)
}

/// Reads a certificate of the user's own, and shows what is worth a warning.
fn brought(context: &Context, own: &Own, screen: &Screen) -> Result<Brought, Complaint> {
    let routing = &context.resolved.routing;
    let (brought, warnings) = bring(own, context.local.project(), routing, Timestamp::now())
        .map_err(|found| drawn(context, *found))?;
    if !warnings.is_empty() && !screen.is_json() {
        screen.warn(&findings(context, warnings).render(screen.colour()));
    }
    Ok(brought)
}

fn keep_own(context: &Context, own: &Own, screen: &Screen) -> Result<(), Complaint> {
    let Brought { facts, chain, key } = brought(context, own, screen)?;
    let mut made = None;
    let ((), written) = secrets::change(context, |document| {
        let is_held = |https: &Https| {
            https.certificates.values().any(|own| own.chain == chain) && https.authority.is_none()
        };
        if document.https.as_ref().is_some_and(is_held) {
            return Ok(((), Write::No));
        }
        let Some(key) = &key else {
            let what = format!("there is no file {}, the key of the certificate", own.key.path);
            return Err(Complaint::new(Exit::Usage, what)
                .nothing_changed()
                .hint("put the key there; it is needed once for each certificate"));
        };
        let known = secrets::of_document(document, &mut made)?;
        let by = carry::person();
        let key = keep(known, &SecretName::tls_key(), key.expose().as_bytes(), &by)?;
        let mut https = Https::default();
        https.succeeded(Certificate {
            names: facts.names.clone(),
            chain: chain.clone(),
            key,
            not_before: facts.not_before,
            not_after: facts.not_after,
            issuer: facts.issuer.clone(),
            by: carry::person(),
        });
        document.https = Some(https);
        Ok(((), Write::Yes))
    })?;
    secrets::tell_made(made.as_deref(), screen);
    if let Some(document) = written {
        secrets::bring_key_of(context, &document);
    }
    Ok(())
}

/// Refuses a bundle with the private key in it: it would be copied to every server, and kept.
///
/// # Errors
/// When it has it.
pub fn not_in_bundle(context: &Context, bundle: &BundleRef) -> Result<(), Complaint> {
    let Tls::Own(own) = &context.resolved.tls else { return Ok(()) };
    let held = context.local.bundles()?.content(bundle.digest, &own.key.path, MAX_PEM)?;
    if held.is_none() {
        return Ok(());
    }
    let what = format!("{}, the key of the certificate, is in the bundle", own.key.path);
    Err(Complaint::new(Exit::Refused, what)
        .nothing_changed()
        .fact("Every server would get a copy of it, and keep it with the release")
        .hint(format!("add a line `/{}` to .gitignore or .onwardignore", own.key.path)))
}

fn findings(context: &Context, diagnostics: Vec<Diagnostic>) -> Findings {
    let file = context.local.project().join(crate::project::FILE_NAME);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let shown = file.strip_prefix(".").unwrap_or(Path::new(&file)).display().to_string();
    Findings { file: shown, text, diagnostics }
}

fn drawn(context: &Context, found: Diagnostic) -> Complaint {
    Complaint::from(LoadError::Invalid(findings(context, vec![found]))).nothing_changed()
}

/// What `status` says about certificates, one line each; `now` is the present.
pub fn lines(document: &Document, now: Timestamp) -> Vec<String> {
    let Some(https) = &document.https else { return Vec::new() };
    let wanted = document.https_names();
    let certificate = |own: &Certificate| {
        let left = long(own.not_after.duration_since(now));
        let names = own.names.join(", ");
        if own.not_after <= now {
            format!("{names}: ended {left} ago ({})", own.issuer)
        } else {
            format!("{names}: good for {left} ({})", own.issuer)
        }
    };
    let mut lines: Vec<String> = https.certificates.values().map(certificate).collect();
    let missing = wanted.iter().filter(|name| https.certificate(name).is_none());
    lines.extend(missing.map(|name| format!("{name}: no certificate yet")));
    let problems = https.attempts.iter().filter(|(_, own)| !own.problem.is_empty());
    lines.extend(problems.map(|(name, own)| format!("{name}: {}", own.problem)));
    lines
}

/// What is wrong with certificates, one sentence each.
pub fn degraded(document: &Document, now: Timestamp) -> Vec<String> {
    let Some(https) = &document.https else { return Vec::new() };
    let mut lines = Vec::new();
    for name in document.https_names() {
        let failed = https.attempts.get(&name).filter(|own| !own.problem.is_empty());
        let why = failed.map(|own| format!(": {}", own.problem)).unwrap_or_default();
        match https.certificate(&name) {
            None => lines.push(format!("{name} has no certificate{why}")),
            Some(own) if own.not_after <= now => {
                lines.push(format!("the certificate of {name} has ended{why}"));
            }
            Some(own) if failed.is_some() && own.renew_at() <= now => {
                lines.push(format!("the certificate of {name} is not renewed{why}"));
            }
            Some(_) => {}
        }
    }
    lines
}

/// The certificates of a document, for machines.
pub fn as_json(document: &Document) -> serde_json::Value {
    let Some(https) = &document.https else { return json!([]) };
    let one = |own: &Certificate| {
        json!({
            "names": own.names, "issuer": own.issuer, "not_before": own.not_before,
            "not_after": own.not_after, "renew_at": own.renew_at(), "by": own.by,
        })
    };
    https.certificates.values().map(one).collect()
}
