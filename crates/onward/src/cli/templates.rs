//! The templates of `[file."PATH"]`, tried here before anything is touched.
//!
//! They are tried with the values of the environment and made-up secrets. What then fails is an
//! error when it must fail on the server too, and else a warning.

use std::fs;
use std::io;

use onward_core::model::{BundleRef, Digest, ReleaseNumber};
use onward_server::template::{self, Given, Hidden, TEMPLATE_BYTES_MAX};

use super::complaint::{self, Complaint};
use super::context::Context;
use super::exit::Exit;
use super::screen::Screen;
use crate::project::{Findings, LoadError, Severity, about_template};

/// What stands for each secret. It looks like none, and is no number.
const MADE_UP: &str = "a-secret";

/// Tries the templates of the project's directory, as far as they are there: the build may make
/// one.
///
/// # Errors
/// The finding with its place in the template.
pub fn of_project(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    for (path, file) in &context.resolved.files {
        let place = context.local.project().join(&file.template);
        match fs::read(&place) {
            Ok(bytes) => check(context, &file.template, &bytes, &given(context, None), screen)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = context.resolved.build.run.is_some();
                let hint = if made { "; `[build] run` has to make it" } else { "" };
                let words =
                    format!("{}, the template of {path}, is not there{hint}", file.template);
                screen.warn(&words);
            }
            Err(error) => return Err(complaint::system(&place, error)),
        }
    }
    Ok(())
}

/// Tries the templates of a bundle that is about to be released.
///
/// # Errors
/// The finding with its place in the template; a template that the bundle does not have.
pub fn of_bundle(context: &Context, bundle: &BundleRef, screen: &Screen) -> Result<(), Complaint> {
    if context.resolved.files.is_empty() {
        return Ok(());
    }
    let store = context.local.bundles()?;
    for (path, file) in &context.resolved.files {
        let Some(bytes) = store.content(bundle.digest, &file.template, TEMPLATE_BYTES_MAX)? else {
            let what = format!("the bundle has no file {}, the template of {path}", file.template);
            return Err(Complaint::new(Exit::Usage, what)
                .nothing_changed()
                .hint("does Git ignore it? Then name it in `[bundle] include`"));
        };
        check(context, &file.template, &bytes, &given(context, Some(bundle)), screen)?;
    }
    Ok(())
}

fn check(
    context: &Context,
    name: &str,
    bytes: &[u8],
    given: &Given,
    screen: &Screen,
) -> Result<(), Complaint> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let what = format!("the template {name} is not UTF-8 text");
        return Err(Complaint::new(Exit::Usage, what).hint("save it as UTF-8 in your editor"));
    };
    let Err(wrong) = template::render(name, text, given) else { return Ok(()) };
    let found = about_template(&wrong);
    let severity = found.severity;
    let file = name.to_owned();
    let findings = Findings { file, text: text.to_owned(), diagnostics: vec![found] };
    match severity {
        Severity::Error => {
            let complaint = Complaint::from(LoadError::Invalid(findings));
            Err(complaint.fact(format!("Rendered for the environment {}", context.environment())))
        }
        Severity::Warning => {
            screen.warn(&findings.render(screen.colour()));
            Ok(())
        }
    }
}

/// What the server will have, as far as it is known here.
fn given(context: &Context, bundle: Option<&BundleRef>) -> Given {
    let values = context.resolved.values.iter();
    let secrets = context.resolved.secrets.iter();
    let nothing = || Digest::of(b"").to_string();
    Given {
        app: context.app().to_string(),
        environment: context.environment().to_string(),
        server: "local".to_owned(),
        shared: "/shared".to_owned(),
        number: ReleaseNumber(1).0,
        label: bundle.map_or_else(|| "label".to_owned(), |bundle| bundle.label.clone()),
        digest: bundle.map_or_else(nothing, |bundle| bundle.digest.to_string()),
        values: values.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect(),
        secrets: secrets.map(|name| (name.to_string(), Hidden::new(MADE_UP.to_owned()))).collect(),
    }
}
