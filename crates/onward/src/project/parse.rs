//! From text to [`Project`]: the top of the grammar.
//!
//! Everything that is wrong is reported in one run, in file order. The parts of the grammar that
//! are not built yet are read too (`unbuilt`), so that a misspelt key in one of them is found
//! as well; each then says that it is not yet supported.

use std::collections::BTreeMap;

use onward_core::machine::{Admin, UserName};
use onward_core::model::AppName;
use toml::de::DeTable;

use super::diagnostic::{Code, Diagnostic, Severity, Span};
use super::model::{Build, Environment, Process, Project, Provider, Release};
use super::read::{Item, Section, Sink, Text};
use super::times;
use super::words::{ProjectPath, ShellCommand, ValueName, Why};
use super::{
    commands, files, machine, process, routing, runtime, secrets, servers, shared, store, strategy,
    suggest, syntax, tls, unbuilt,
};

/// The most values that an environment may have; together with [`VALUE_BYTES_MAX`] this keeps
/// the environment of a process far below what Linux accepts (a quarter of the stack, 2 MiB).
pub const VALUES_MAX: usize = 256;

/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 32 * 1024;

/// So many findings are reported. Nobody reads more, and drawing one takes a moment.
pub const FINDINGS_MAX: usize = 100;

/// Reads the text of a project file.
///
/// # Errors
/// Everything that was found, in file order, when at least one finding is an error. After
/// [`FINDINGS_MAX`] one says how many more there are.
pub fn parse(text: &str) -> Result<Project, Vec<Diagnostic>> {
    let recovered = syntax::recover(text);
    let readable = recovered.text.clone();
    let (tree, errors) = DeTable::parse_recoverable(&readable);
    let mut sink = Sink::default();
    let project = file(Section::root(tree.get_ref()), &mut sink);
    let mut found = sink.0;
    found.extend(syntax::duplicates(&readable, &errors));
    recovered.merge_into(&mut found);
    found.sort_by_key(Diagnostic::start);
    limit(&mut found);
    match project {
        Some(project) if found.iter().all(|found| found.severity == Severity::Warning) => {
            Ok(Project { warnings: found, ..project })
        }
        _ => Err(found),
    }
}

fn limit(found: &mut Vec<Diagnostic>) {
    let Some(first) = found.get(FINDINGS_MAX) else { return };
    let more = found.len() - FINDINGS_MAX;
    let span = first.labels[0].0.clone();
    let message = format!("{more} more are not shown");
    let last = Diagnostic::error(Code::TooMany, span, message, "the next one is here");
    found.truncate(FINDINGS_MAX);
    found.push(last.help("correct these first"));
}

fn file(mut root: Section<'_>, sink: &mut Sink) -> Option<Project> {
    let app = app(&mut root, sink);
    let build = build(&mut root, sink);
    let include = bundle(&mut root, sink);
    let processes = process::processes(&mut root, sink);
    let (release, check_span) = release(&mut root, sink);
    let (shared, shared_files) = shared::read(&mut root, sink);
    let runtimes = runtime::read(&mut root, sink);
    let all_shared = [shared.as_slice(), shared_files.as_slice()].concat();
    let files = files::read(&mut root, &all_shared, sink);
    let schedules = commands::schedules(&mut root, &processes, sink);
    let tasks = commands::tasks(&mut root, sink);
    unbuilt::services(&mut root, sink);
    let values_section = root.get("values").and_then(|item| item.table(sink));
    let values = values_section.as_ref().map(|section| values(section, sink)).unwrap_or_default();
    let secret_texts = secrets::names(&mut root, sink);
    let secrets = secrets::set(&secret_texts, sink);
    let mut named = Vec::from_iter(values_section);
    let people = machine::admins(&mut root, sink);
    let environments = environments(&mut root, &mut named, &processes, &people, sink);
    secrets_are_not_values(&secret_texts, &named, sink);
    if let Some(span) = check_span
        && !processes.is_empty()
        && processes.iter().all(|process| !process.name.has_traffic())
    {
        let message = "`release.check` gets no URL";
        let label = "no process has traffic: none is called `web`";
        let found = Diagnostic::warning(Code::Meaningless, span, message, label);
        sink.push(found.help("call the process that answers requests `web`, or remove the check"));
    }
    let hooks = commands::hooks(&mut root, sink);
    root.finish(sink);
    Some(Project {
        app: app?,
        build,
        include,
        processes,
        release,
        shared,
        shared_files,
        runtimes,
        values,
        secrets,
        environments,
        tasks,
        schedules,
        files,
        hooks,
        warnings: Vec::new(),
    })
}

fn app(root: &mut Section<'_>, sink: &mut Sink) -> Option<AppName> {
    let Some(item) = root.get("app") else {
        let found =
            Diagnostic::error(Code::MissingKey, 0..0, "the app has no name", "`app` is missing");
        sink.push(found.help("write `app = \"NAME\"` as the first line"));
        return None;
    };
    if item.is_table() {
        return item.wrong(sink, "text", "write `app = \"NAME\"` as the first line");
    }
    let text = item.text(sink)?;
    name(sink, "an app", text.text, text.span)
}

/// A name in the form that all names have; reports a text that is none.
pub(super) fn name<N: std::str::FromStr>(
    sink: &mut Sink,
    what: &str,
    text: &str,
    span: Span,
) -> Option<N> {
    if let Ok(name) = text.parse() {
        return Some(name);
    }
    let message = if text.is_empty() {
        format!("the name of {what} cannot be empty")
    } else {
        format!("`{}` cannot be the name of {what}", shown(text))
    };
    let found = Diagnostic::error(Code::InvalidName, span, message, "not a name");
    let rule = "names are 1 to 63 lower-case letters, digits and `-`, starting with a letter and \
                not ending with `-`";
    let help = match super::legal_name(text) {
        Some(legal) => format!("{rule}; did you mean `{legal}`?"),
        None => rule.to_owned(),
    };
    sink.push(found.help(help));
    None
}

/// A text for a message: escaped, and cut where it is too long to read.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let escaped = text.escape_debug().to_string();
    match escaped.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &escaped[..at]),
        None => escaped,
    }
}

/// Makes a small type from a text, or reports why it is none.
pub(super) fn word<T>(
    sink: &mut Sink,
    code: Code,
    text: &Text<'_>,
    make: impl FnOnce(&str) -> Result<T, Why>,
) -> Option<T> {
    match make(text.text) {
        Ok(word) => Some(word),
        Err(why) => {
            let message = format!("`{}` cannot be \"{}\"", text.path, shown(text.text));
            let found = Diagnostic::error(code, text.span.clone(), message, why.label);
            sink.push(Diagnostic { help: why.help, ..found });
            None
        }
    }
}

/// The command under a key.
pub(super) fn command(item: Option<Item<'_>>, sink: &mut Sink) -> Option<ShellCommand> {
    let text = item?.text(sink)?;
    word(sink, Code::InvalidCommand, &text, ShellCommand::new)
}

fn build(root: &mut Section<'_>, sink: &mut Sink) -> Build {
    let Some(mut section) = root.get("build").and_then(|item| item.table(sink)) else {
        return Build::default();
    };
    let run = command(section.get("run"), sink);
    let test = command(section.get("test"), sink);
    unbuilt::build_where(&mut section, sink);
    section.finish(sink);
    Build { run, test }
}

fn bundle(root: &mut Section<'_>, sink: &mut Sink) -> Vec<ProjectPath> {
    let Some(mut section) = root.get("bundle").and_then(|item| item.table(sink)) else {
        return Vec::new();
    };
    let texts = section.get("include").and_then(|item| item.texts(sink)).unwrap_or_default();
    section.finish(sink);
    let paths = paths(&texts, sink);
    paths.into_iter().map(|(path, _)| path).collect()
}

/// Paths of a list, each once.
pub(super) fn paths(texts: &[Text<'_>], sink: &mut Sink) -> Vec<(ProjectPath, Span)> {
    let mut paths: Vec<(ProjectPath, Span)> = Vec::new();
    for text in texts {
        let Some(path) = word(sink, Code::InvalidPath, text, ProjectPath::new) else { continue };
        if path.is_root() {
            let found = Diagnostic::error(
                Code::InvalidPath,
                text.span.clone(),
                format!("`{}` cannot be the whole project", text.path),
                "this is the directory of onward.toml itself",
            );
            sink.push(found.help("name the directories inside it that are meant"));
            continue;
        }
        if let Some((_, first)) = paths.iter().find(|(known, _)| *known == path) {
            let found = Diagnostic::error(
                Code::Repeated,
                text.span.clone(),
                format!("`{}` lists `{path}` twice", text.path),
                "listed again",
            );
            sink.push(found.also(first.clone(), "first here").help("remove one of the two"));
            continue;
        }
        paths.push((path, text.span.clone()));
    }
    paths
}

/// `[release]`, and where its check is.
fn release(root: &mut Section<'_>, sink: &mut Sink) -> (Release, Option<Span>) {
    let Some(mut section) = root.get("release").and_then(|item| item.table(sink)) else {
        return (Release::default(), None);
    };
    let check = section.get("check");
    let check_span = check.as_ref().map(|item| item.key_span.clone());
    let release = Release {
        run: command(section.get("run"), sink),
        check: command(check, sink),
        watch: times::read(section.get("watch"), sink, times::WATCH),
        warm: times::read(section.get("warm"), sink, times::WARM),
        strategy: strategy::read(&mut section, sink),
    };
    section.finish(sink);
    (release, check_span)
}

/// Values by name. Every key is the user's; so there is no unknown one.
fn values(section: &Section<'_>, sink: &mut Sink) -> BTreeMap<ValueName, String> {
    let mut values = BTreeMap::new();
    let entries = section.entries();
    if let Some(item) = entries.get(VALUES_MAX) {
        let message = format!("{} holds more than {VALUES_MAX} values", section.title());
        let found =
            Diagnostic::error(Code::InvalidValue, item.key_span.clone(), message, "one too many");
        sink.push(found.help("keep long lists in a file of the project"));
    }
    for item in entries {
        if let Some((name, text)) = value(&item, sink) {
            values.insert(name, text);
        }
    }
    values
}

fn value(item: &Item<'_>, sink: &mut Sink) -> Option<(ValueName, String)> {
    let key = Text { path: item.path.clone(), span: item.key_span.clone(), text: item.key };
    let name = value_name(&key, sink);
    if item.is_table() {
        let help = "values have no tables below them: `[environment.NAME.values]` holds those of \
                    one environment";
        return item.wrong(sink, "text", help);
    }
    let text = item.text(sink)?;
    let problem = if text.text.contains('\0') {
        Some("holds a NUL character, which no environment variable can")
    } else if text.text.len() > VALUE_BYTES_MAX {
        Some("longer than 32 KiB")
    } else {
        None
    };
    if let Some(problem) = problem {
        let message = format!("`{}` cannot be passed to a process", text.path);
        let found = Diagnostic::error(Code::InvalidValue, text.span.clone(), message, problem);
        sink.push(found.help("keep such data in a file of the project"));
        return None;
    }
    Some((name?, text.text.to_owned()))
}

/// The name of a value or secret; reports one that no variable can have, or that onward sets.
pub(super) fn value_name(key: &Text<'_>, sink: &mut Sink) -> Option<ValueName> {
    let name = match ValueName::new(key.text) {
        Ok(name) => name,
        Err(why) => {
            let message = format!("\"{}\" cannot be the name of a value", shown(key.text));
            let found = Diagnostic::error(Code::InvalidValue, key.span.clone(), message, why.label);
            sink.push(Diagnostic { help: why.help, ..found });
            return None;
        }
    };
    if name.is_reserved() {
        let found = Diagnostic::error(
            Code::ReservedValue,
            key.span.clone(),
            format!("`{name}` is set by onward itself"),
            "reserved",
        );
        let help = "onward gives each process PORT (if it has traffic) and the variables that \
                    start with ONWARD_; remove the line or choose another name";
        sink.push(found.help(help));
        return None;
    }
    Some(name)
}

fn environments<'t>(
    root: &mut Section<'t>,
    values_sections: &mut Vec<Section<'t>>,
    processes: &[Process],
    people: &BTreeMap<UserName, Admin>,
    sink: &mut Sink,
) -> Vec<Environment> {
    let Some(all) = root.get("environment").and_then(|item| item.table(sink)) else {
        return Vec::new();
    };
    // What another environment has as a value may be a secret here.
    let for_all = values_sections.len();
    let mut environments = Vec::new();
    let mut default: Option<Span> = None;
    let mut claims = Vec::new();
    for item in all.entries() {
        let name = name(sink, "an environment", item.key, item.key_span.clone());
        let Some(mut section) = item.table(sink) else { continue };
        let is_default = section.get("default").is_some_and(|item| {
            let says = item.boolean(sink) == Some(true);
            if says {
                one_default(&mut default, item.key_span.clone(), sink);
            }
            says
        });
        let provider = match section.get("provider") {
            None => Some(Provider::Local),
            given => unbuilt::provider(given, sink),
        };
        let values_section = section.get("values").and_then(|item| item.table(sink));
        let values =
            values_section.as_ref().map(|section| values(section, sink)).unwrap_or_default();
        let own = secrets::names(&mut section, sink);
        let secrets = secrets::set(&own, sink);
        let for_all = values_sections.iter().take(for_all);
        secrets_are_not_values(&own, for_all.chain(&values_section), sink);
        values_sections.extend(values_section);
        let store = store::store(section.get("store"), sink);
        let mut routing = routing::routing(&mut section, &mut claims, sink);
        let tls = tls::read(&mut section, provider, &mut routing, sink);
        let servers = servers::read(&mut section, provider, processes, sink);
        let machine = machine::machine(&mut section, provider, people, sink);
        unbuilt::environment(&mut section, sink);
        section.finish(sink);
        if let Some(name) = name {
            let provider = provider.unwrap_or(Provider::Local);
            let default = is_default;
            environments.push(Environment {
                name,
                default,
                provider,
                servers,
                store,
                values,
                secrets,
                routing,
                machine,
                tls,
            });
        }
    }
    environments
}

fn one_default(default: &mut Option<Span>, span: Span, sink: &mut Sink) {
    let Some(first) = default.clone() else {
        *default = Some(span);
        return;
    };
    let found = Diagnostic::error(
        Code::TwoDefaults,
        span,
        "two environments say `default = true`",
        "the second",
    );
    let help = "keep it where a command without `-e` should go, and remove the other";
    sink.push(found.also(first, "the first").help(help));
}

fn secrets_are_not_values<'s, 't: 's>(
    secrets: &[Text<'_>],
    values: impl IntoIterator<Item = &'s Section<'t>>,
    sink: &mut Sink,
) {
    let values: Vec<_> = values.into_iter().flat_map(Section::entries).collect();
    for secret in secrets {
        for item in &values {
            if item.key != secret.text {
                continue;
            }
            let found = Diagnostic::error(
                Code::SecretIsValue,
                secret.span.clone(),
                format!("`{}` is a secret and a value", secret.text),
                "a secret here",
            );
            let help = "remove it from the values: they are kept in plain text";
            sink.push(found.also(item.key_span.clone(), "a value here").help(help));
        }
    }
}

/// Reports a word that is not among `known`.
pub(super) fn unknown_word(sink: &mut Sink, text: &Text<'_>, what: &str, known: &[&str]) {
    let found = Diagnostic::error(
        Code::UnknownWord,
        text.span.clone(),
        format!("`{}` is not {what}", shown(text.text)),
        format!("not {what}"),
    );
    let help = match suggest::nearest(text.text, known) {
        Some(meant) => format!("did you mean `\"{meant}\"`?"),
        None => format!("known: {}", suggest::list(known)),
    };
    sink.push(found.help(help));
}
