//! The bundle of a release: of the project's tree, a commit, an archive, or an earlier release.

use std::time::{Instant, SystemTime};

use onward_core::engine::Refusal;
use onward_core::model::{BundleRef, ReleaseNumber};
use onward_store::bundle::{AddOptions, Added, GitSource, Revision, Source, Store, TreeSource};
use serde_json::json;

use super::args::From;
use super::complaint::Complaint;
use super::context::Context;
use super::numbers;
use super::screen::Screen;

/// Bundles the project's tree and names the bundle.
pub fn of_tree(
    context: &Context,
    label: Option<&str>,
    screen: &Screen,
) -> Result<BundleRef, Complaint> {
    let root = context.local.project().to_owned();
    let include = context.resolved.include.iter().map(|path| path.as_str().to_owned()).collect();
    let source = Source::Tree(TreeSource { root: root.clone(), include });
    let bundles = context.local.bundles()?;
    let (added, began) = add(&bundles, &source)?;
    let revision = Revision::of_tree(&root)?;
    let label = bundles.name(label, revision.as_ref(), added.digest)?;
    tell(&added, &label, began, screen);
    Ok(BundleRef { digest: added.digest, label })
}

/// Bundles what the arguments name instead of the tree; `None` when they name nothing.
pub fn named(
    context: &Context,
    from: &From,
    label: Option<&str>,
    screen: &Screen,
) -> Result<Option<BundleRef>, Complaint> {
    if let Some(number) = from.release {
        return earlier(context, ReleaseNumber(number)).map(Some);
    }
    let root = context.local.project().to_owned();
    let (source, revision) = match (&from.git, &from.bundle) {
        (Some(reference), _) => {
            let source = GitSource { root, reference: reference.clone() };
            let revision = source.revision()?;
            (Source::Git(source), Some(revision))
        }
        (None, Some(archive)) => (Source::Archive(archive.clone()), None),
        (None, None) => return Ok(None),
    };
    let bundles = context.local.bundles()?;
    let (added, began) = add(&bundles, &source)?;
    let label = bundles.name(label, revision.as_ref(), added.digest)?;
    tell(&added, &label, began, screen);
    Ok(Some(BundleRef { digest: added.digest, label }))
}

fn earlier(context: &Context, number: ReleaseNumber) -> Result<BundleRef, Complaint> {
    let stored = context.look()?;
    let release = stored.as_ref().and_then(|stored| stored.document.release(number));
    let bundle = release.map(|release| release.bundle.clone());
    bundle.ok_or_else(|| Refusal::UnknownRelease(number).into())
}

fn add(bundles: &Store, source: &Source) -> Result<(Added, Instant), Complaint> {
    let began = Instant::now();
    let added = bundles.add(source, AddOptions { now: SystemTime::now(), progress: None })?;
    Ok((added, began))
}

fn tell(added: &Added, label: &str, began: Instant, screen: &Screen) {
    for skipped in &added.skipped {
        screen.warn(&format!("{} is {}, which no bundle can hold", skipped.path, skipped.what));
    }
    screen.note(&format!(
        "  bundle {label}: {}, {}, {} new, {}",
        numbers::count(added.files, "file"),
        numbers::bytes(added.bytes),
        numbers::bytes(added.new_bytes),
        numbers::duration(began.elapsed())
    ));
    screen.event(&json!({
        "event": "bundle",
        "label": label,
        "digest": added.digest,
        "files": added.files,
        "bytes": added.bytes,
        "new_bytes": added.new_bytes,
    }));
}
