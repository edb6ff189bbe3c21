//! `onward bundle …`: bundles, without releasing them.

use std::path::Path;

use onward_core::model::Digest;
use onward_store::bundle::{ExportFormat, Kind};
use serde_json::json;

use crate::cli::args::{BundleVerb, From};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;
use crate::cli::{build, bundling, numbers, runtimes};

/// Does what the verb says.
pub fn run(context: &Context, verb: &BundleVerb, screen: &Screen) -> Result<Exit, Complaint> {
    match verb {
        BundleVerb::Build { label, from } => make(context, label.as_deref(), from, screen),
        BundleVerb::List => list(context, screen),
        BundleVerb::Show { bundle } => show(context, bundle, screen),
        BundleVerb::Verify { bundle } => verify(context, bundle.as_deref(), screen),
        BundleVerb::Export { bundle, file } => export(context, bundle, file, screen),
    }
}

fn make(
    context: &Context,
    label: Option<&str>,
    from: &From,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    context.prepare()?;
    let bundle = match bundling::named(context, from, label, screen)? {
        Some(bundle) => bundle,
        None => {
            let interrupts = interrupt::watch();
            let runtimes = runtimes::resolve(context, false, screen, &interrupts)?;
            build::run(context, &runtimes, screen, &interrupts)?;
            bundling::of_tree(context, label, screen)?
        }
    };
    screen.success(&format!("Bundle {} ({})", bundle.label, bundle.digest));
    screen.finished(true, json!({"label": bundle.label, "digest": bundle.digest}));
    Ok(Exit::Done)
}

fn list(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    context.prepare()?;
    let listed = context.local.bundles()?.list()?;
    let lines: Vec<_> = listed
        .iter()
        .map(|one| {
            json!({"digest": one.digest, "labels": one.labels, "files": one.files, "bytes": one.bytes})
        })
        .collect();
    screen.document(&json!(lines));
    if listed.is_empty() {
        screen.next("no bundle is kept; `onward bundle build` or `onward up` makes one");
    }
    for one in &listed {
        screen.line(&format!(
            "{}  {:<30}  {:>12}  {:>9}",
            one.digest.short(),
            one.labels.join(", "),
            numbers::count(one.files, "file"),
            numbers::bytes(one.bytes)
        ));
    }
    Ok(Exit::Done)
}

fn show(context: &Context, name: &str, screen: &Screen) -> Result<Exit, Complaint> {
    context.prepare()?;
    let bundles = context.local.bundles()?;
    let digest = bundles.find(name)?;
    let manifest = bundles.manifest(digest)?;
    let mut entries = Vec::new();
    for entry in manifest.entries() {
        let path = entry.path.as_str();
        let (line, value) = match &entry.kind {
            Kind::File { executable, size, digest } => {
                let mark = if *executable { "run " } else { "file" };
                (
                    format!("{mark} {size:>12} {} {path}", digest.short()),
                    json!({"path": path, "executable": executable, "size": size, "digest": digest}),
                )
            }
            Kind::Link { target } => (
                format!("link {:>12} {:8} {path} -> {target}", "", ""),
                json!({"path": path, "link": target}),
            ),
            Kind::EmptyDir => (
                format!("dir  {:>12} {:8} {path}/", "", ""),
                json!({"path": path, "directory": true}),
            ),
        };
        screen.line(&line);
        entries.push(value);
    }
    screen.document(&json!({
        "digest": digest, "files": manifest.files(), "bytes": manifest.bytes(), "entries": entries,
    }));
    Ok(Exit::Done)
}

fn verify(context: &Context, name: Option<&str>, screen: &Screen) -> Result<Exit, Complaint> {
    context.prepare()?;
    let bundles = context.local.bundles()?;
    let digests: Vec<Digest> = match name {
        Some(name) => vec![bundles.find(name)?],
        None => bundles.list()?.into_iter().map(|one| one.digest).collect(),
    };
    let mut bad = Vec::new();
    for digest in &digests {
        match bundles.verify(*digest) {
            Ok(_) => screen.line(&format!("{} is whole", digest.short())),
            Err(error) => {
                screen.line(&format!("{} is damaged: {error}", digest.short()));
                bad.push(*digest);
            }
        }
    }
    if bad.is_empty() {
        let checked = numbers::count(digests.len() as u64, "bundle");
        screen.success(&format!("{checked} verified"));
        screen.finished(true, json!({"verified": digests}));
        return Ok(Exit::Done);
    }
    // As long as it is there, it is not written again.
    for aside in bundles.set_damaged_aside()? {
        screen.line(&format!("what is damaged was moved to {}", aside.display()));
    }
    Err(Problem::BundlesDamaged(bad.len() as u64).into())
}

fn export(context: &Context, name: &str, file: &Path, screen: &Screen) -> Result<Exit, Complaint> {
    context.prepare()?;
    let format = ExportFormat::of(file).ok_or_else(|| Problem::NoFormat(file.to_owned()))?;
    let bundles = context.local.bundles()?;
    let digest = bundles.find(name)?;
    bundles.export(digest, file, format)?;
    screen.success(&format!("Wrote {}", file.display()));
    screen.finished(true, json!({"file": file.display().to_string(), "digest": digest}));
    Ok(Exit::Done)
}
