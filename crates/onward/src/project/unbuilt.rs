//! The parts of the grammar that this version does not build.
//!
//! They are read like the others, so that unknown keys, wrong types and impossible values in them
//! are found, and each part then says that it is not yet supported. Nothing is ignored.

use super::diagnostic::{Code, Diagnostic, Span};
use super::model::Provider;
use super::parse::{name, unknown_word};
use super::read::{Item, Section, Sink};
use onward_core::model::ProcessName;

fn not_yet(sink: &mut Sink, span: Span, what: &str, help: &str) {
    let found = Diagnostic::error(
        Code::NotYetSupported,
        span,
        format!("{what} not yet supported"),
        "this version of onward cannot do it",
    );
    sink.push(found.help(help));
}

/// `[service.NAME]`: databases, caches, queues, run by packs. Their settings are the pack's.
pub(super) fn services(root: &mut Section<'_>, sink: &mut Sink) {
    for (item, mut section) in root.tables("service", sink) {
        not_yet(
            sink,
            item.key_span.clone(),
            "services are",
            "remove the table for now, and give the app the address of a service that you run \
             yourself in `[values]`",
        );
        name::<ProcessName>(sink, "a service", item.key, item.key_span.clone());
        for key in ["pack", "version"] {
            section.get(key).and_then(|item| item.text(sink));
        }
    }
}

/// `[build] where`: only `here` is built.
pub(super) fn build_where(section: &mut Section<'_>, sink: &mut Sink) {
    let Some(text) = section.get("where").and_then(|item| item.text(sink)) else { return };
    match text.text {
        "here" => {}
        "server" => not_yet(
            sink,
            text.span,
            "building on a server is",
            "write `where = \"here\"`, or remove the line",
        ),
        _ => unknown_word(sink, &text, "a place to build", &["here", "server"]),
    }
}

/// `image` and `dockerfile` of a process; whether one of them is there.
pub(super) fn image(section: &mut Section<'_>, sink: &mut Sink) -> bool {
    let mut any = false;
    for key in ["image", "dockerfile"] {
        let Some(item) = section.get(key) else { continue };
        any = true;
        item.text(sink);
        not_yet(
            sink,
            item.key_span.clone(),
            "containers are",
            "give the process a `run` that starts it from the project's files",
        );
    }
    any
}

/// The provider of an environment; `local`, `ssh` and `nspawn` are built.
pub(super) fn provider(item: Option<Item<'_>>, sink: &mut Sink) -> Option<Provider> {
    let text = item?.text(sink)?;
    match text.text {
        "local" => return Some(Provider::Local),
        "ssh" => return Some(Provider::Ssh),
        "nspawn" => return Some(Provider::Nspawn),
        "aws" | "openstack" => not_yet(
            sink,
            text.span,
            &format!("the provider `{}` is", text.text),
            "write `provider = \"local\"` to run the environment on this machine, or remove the \
             environment for now",
        ),
        _ => {
            let known = ["local", "ssh", "nspawn", "aws", "openstack"];
            unknown_word(sink, &text, "a provider", &known);
        }
    }
    None
}

/// What an environment may hold besides `default`, `provider` and `values`.
pub(super) fn environment(section: &mut Section<'_>, sink: &mut Sink) {
    if let Some(item) = section.get("region") {
        item.text(sink);
        not_yet(sink, item.key_span, "regions are", "remove the line for now");
    }
    if let Some(item) = section.get("stacks") {
        not_yet(sink, item.key_span, "stacks are", "remove the line for now");
    }
}
