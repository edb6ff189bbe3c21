//! `[file."PATH"]`: configuration files that each server renders.

use std::collections::BTreeMap;

use onward_core::model::RenderedFile;

use super::diagnostic::{Code, Diagnostic};
use super::parse::word;
use super::read::{Section, Sink, Text};
use super::words::ProjectPath;

/// More files than any app has; each is read and rendered before a release starts.
pub const FILES_MAX: usize = 64;

/// A path and where it stands.
type Placed = (ProjectPath, super::Span);

/// Every `[file."PATH"]`; none lies where something else of the release is made.
pub(super) fn read(
    root: &mut Section<'_>,
    shared: &[ProjectPath],
    sink: &mut Sink,
) -> BTreeMap<String, RenderedFile> {
    let Some(all) = root.get("file").and_then(|item| item.table(sink)) else {
        return BTreeMap::new();
    };
    let mut found: Vec<(Placed, Placed)> = Vec::new();
    for (at, item) in all.entries().into_iter().enumerate() {
        if at == FILES_MAX {
            let message = format!("{} holds more than {FILES_MAX} files", all.title());
            let label = "one too many";
            sink.push(Diagnostic::error(Code::InvalidValue, item.key_span.clone(), message, label));
        }
        let Some(mut section) = item.table(sink) else { continue };
        let key = Text { path: item.path.clone(), span: item.key_span.clone(), text: item.key };
        let path = file(&key, shared, sink);
        let template = section.get("template");
        if template.is_none() {
            let message = format!("{} is made from nothing", section.title());
            let label = "`template` is missing";
            let missing = Diagnostic::error(Code::MissingKey, section.span.clone(), message, label);
            sink.push(missing.help("add `template = \"PATH\"`: a file of the project"));
        }
        let template = template.and_then(|item| item.text(sink));
        let template = template.and_then(|text| file(&text, shared, sink));
        section.finish(sink);
        found.extend(path.zip(template));
    }
    apart(&found, sink);
    let file = |((path, _), (template, _)): (Placed, Placed)| {
        (path.as_str().to_owned(), RenderedFile { template: template.as_str().to_owned() })
    };
    found.into_iter().map(file).collect()
}

/// A file of the release's own directory.
fn file(text: &Text<'_>, shared: &[ProjectPath], sink: &mut Sink) -> Option<Placed> {
    let path = word(sink, Code::InvalidPath, text, ProjectPath::new)?;
    let wrong = if path.is_root() {
        Some(("this is a directory".to_owned(), "name a file of the project"))
    } else {
        shared.iter().find(|own| own.contains(&path) || path.contains(own)).map(|own| {
            let help = "a file of a release cannot be one that all releases share; choose another \
                        path, or take it out of `[shared]`";
            (format!("`{own}` is shared between releases"), help)
        })
    };
    if let Some((label, help)) = wrong {
        let message = format!("`{}` cannot be \"{path}\"", text.path);
        let found = Diagnostic::error(Code::InvalidPath, text.span.clone(), message, label);
        sink.push(found.help(help));
        return None;
    }
    Some((path, text.span.clone()))
}

/// Reports a file that takes the place of a template or of a part of the way to another file.
fn apart(found: &[(Placed, Placed)], sink: &mut Sink) {
    for (at, ((path, span), _)) in found.iter().enumerate() {
        for (template, own) in found.iter().map(|(_, template)| template) {
            if path.contains(template) {
                let message = format!("`{path}` would take the place of the template `{template}`");
                let label = "made here";
                let wrong = Diagnostic::error(Code::Conflict, span.clone(), message, label);
                let help =
                    "give the template another name, such as the file's with `.j2` behind it";
                sink.push(wrong.also(own.clone(), "the template").help(help));
            }
        }
        for (_, ((other, first), _)) in found.iter().enumerate().filter(|(other, _)| *other != at) {
            if path != other && path.contains(other) {
                let message = format!("`{path}` cannot be a file and the directory of `{other}`");
                let wrong = Diagnostic::error(Code::Conflict, span.clone(), message, "a file here");
                sink.push(wrong.also(first.clone(), "a directory here").help("rename one of them"));
            }
        }
    }
}

/// A finding about the text of a template, as one about the project file.
pub fn about_template(wrong: &onward_server::template::Wrong) -> Diagnostic {
    let (message, label) = (format!("{} cannot be rendered", wrong.template), wrong.what.as_str());
    let found = if wrong.depends {
        Diagnostic::warning(Code::InvalidTemplate, wrong.span.clone(), message, label)
    } else {
        Diagnostic::error(Code::InvalidTemplate, wrong.span.clone(), message, label)
    };
    if wrong.depends {
        found.help("tried with made-up secrets; the server tries with the real ones")
    } else {
        found
    }
}
