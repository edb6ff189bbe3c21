//! What a deploy does about certificates.

use std::path::Path;

use jiff::Timestamp;
use onward_core::https::{Authority, Certificate, Https};
use onward_core::model::BundleRef;
use onward_core::secrets::SecretName;
use onward_proxy::MAX_PEM;

use super::carry;
use super::certified;
use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::interrupt::Interrupts;
use super::issuing;
use super::lacking::Lacking;
use super::screen::Screen;
use super::secrets;
use crate::certificates::seat::keep;
use crate::certificates::{Brought, believed, bring};
use crate::project::tls::{Acme, Own, Tls};
use crate::project::{Diagnostic, Findings, LoadError};
use crate::runner::Write;

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
/// the file wants no TLS any more. Returns the names that are left without.
///
/// # Errors
/// When the state cannot be changed.
pub fn after_deploy(
    context: &Context,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Lacking, Complaint> {
    if context.resolved.tls == Tls::Off {
        if context.look()?.is_none_or(|stored| stored.document.https.is_none()) {
            return Ok(Lacking::default());
        }
        let ((), written) = secrets::change(context, |document| {
            let had = document.https.take().is_some();
            Ok(((), if had { Write::Yes } else { Write::No }))
        })?;
        if written.is_some() {
            carry::carry_on(context, screen, interrupts)?;
        }
        return Ok(Lacking::default());
    }
    let renewed = issuing::renew(context, None, screen, interrupts)?;
    let stored = context.look()?;
    let document = stored.as_ref().map(|own| &*own.document);
    if let Some(document) = document.filter(|own| certified::renews_itself(own)) {
        // The manager may be another server now.
        secrets::bring_key_of(context, document);
    }
    let lacking = document.map_or_else(Lacking::default, |own| Lacking::of(own, Timestamp::now()));
    for (name, text) in &renewed.failed {
        if !lacking.names.contains_key(name) {
            screen.warn(&format!(
                "{name} has no new certificate: {text}. What it has is good for now; `onward \
                 certificate renew` tries again"
            ));
        }
    }
    Ok(lacking)
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
