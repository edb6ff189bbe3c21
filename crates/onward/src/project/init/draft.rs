//! A project file on its way: what the rules found out, and how it is written down.

use std::path::Path;

use onward_core::model::ProcessName;
use onward_core::secrets::{SECRETS_MAX, SecretName};

use super::super::words::{ProjectPath, ValueName};

/// What a process of a draft does.
#[derive(Debug)]
pub(super) enum Runs {
    /// A command line.
    Command(String),
    /// A directory to serve.
    Static(String),
}

/// What the rules found out.
#[derive(Debug)]
pub(super) struct Draft {
    app: String,
    /// Commands that build, in order; each has to succeed.
    pub(super) build: Vec<String>,
    /// A command that tests, written down as a suggestion only.
    pub(super) test: Option<&'static str>,
    /// Paths that are shipped although git ignores them.
    pub(super) include: Vec<String>,
    /// Processes in order.
    pub(super) processes: Vec<(ProcessName, Runs)>,
    /// A path that the app answers when it is well.
    pub(super) health: Option<String>,
    /// The release command.
    pub(super) release: Option<String>,
    /// Directories that survive releases.
    pub(super) shared_dirs: Vec<String>,
    /// Files that survive releases.
    pub(super) shared_files: Vec<String>,
    /// Environment variables of every process.
    pub(super) values: Vec<(String, String)>,
    /// Environment variables on this machine only.
    pub(super) local_values: Vec<(String, String)>,
    /// Names of secrets that the app reads. Their values are never looked at.
    pub(super) secrets: Vec<String>,
    /// What was looked at and what it says, one sentence each.
    pub(super) found: Vec<String>,
    /// What was assumed, one sentence each.
    pub(super) assumptions: Vec<String>,
    /// What a person has to look at, one sentence each.
    pub(super) cautions: Vec<String>,
}

impl Draft {
    /// An empty draft for the project in `dir`, named after the directory.
    pub(super) fn named_after(dir: &Path) -> Self {
        let full = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let name = full.file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            app: name.and_then(|name| super::super::legal_name(&name)).unwrap_or("app".to_owned()),
            build: Vec::new(),
            test: None,
            include: Vec::new(),
            processes: Vec::new(),
            health: None,
            release: None,
            shared_dirs: Vec::new(),
            shared_files: Vec::new(),
            values: Vec::new(),
            local_values: Vec::new(),
            secrets: Vec::new(),
            found: Vec::new(),
            assumptions: Vec::new(),
            cautions: Vec::new(),
        }
    }

    /// Names the app after what the project calls itself, if that can be a name.
    pub(super) fn call(&mut self, name: &str) {
        if let Some(legal) = super::super::legal_name(name) {
            self.app = legal;
        }
    }

    /// Notes what was looked at.
    pub(super) fn found(&mut self, sentence: impl Into<String>) {
        self.found.push(sentence.into());
    }

    /// Notes an assumption.
    pub(super) fn assume(&mut self, sentence: impl Into<String>) {
        self.assumptions.push(sentence.into());
    }

    /// Notes what a person has to look at, once.
    pub(super) fn caution(&mut self, sentence: impl Into<String>) {
        add(&mut self.cautions, sentence.into());
    }

    /// Adds the process that gets traffic.
    pub(super) fn web(&mut self, runs: Runs) {
        let web = ProcessName::WEB.parse().expect("`web` is a legal name");
        self.processes.push((web, runs));
    }

    /// Adds a path to ship, once.
    pub(super) fn include(&mut self, path: impl Into<String>) {
        let path = path.into();
        if is_below(&path) {
            add(&mut self.include, path);
        }
    }

    /// Adds the name of a secret, once.
    pub(super) fn secret(&mut self, name: impl Into<String>) {
        let name = name.into();
        let is_legal = ValueName::new(&name).is_ok_and(|name| !name.is_reserved())
            && name.parse::<SecretName>().is_ok();
        if is_legal && self.secrets.len() < SECRETS_MAX {
            add(&mut self.secrets, name);
        }
    }

    /// Adds a value, unless it has one already.
    pub(super) fn value(&mut self, name: &str, value: &str) {
        let is_legal = ValueName::new(name).is_ok_and(|name| !name.is_reserved());
        if is_legal && !self.values.iter().any(|(known, _)| known == name) {
            self.values.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Adds a directory that survives releases.
    pub(super) fn share_dir(&mut self, path: impl Into<String>) {
        let path = path.into();
        let inside = |outer: &String| path == *outer || path.starts_with(&format!("{outer}/"));
        if is_below(&path) && !self.shared_dirs.iter().any(inside) {
            self.shared_files.retain(|inner| !inner.starts_with(&format!("{path}/")));
            self.shared_dirs.retain(|inner| !inner.starts_with(&format!("{path}/")));
            self.shared_dirs.push(path);
        }
    }

    /// Adds a file that survives releases, unless its directory does already.
    pub(super) fn share_file(&mut self, path: impl Into<String>) {
        let path = path.into();
        let inside = |outer: &String| path.starts_with(&format!("{outer}/"));
        if is_below(&path) && !self.shared_dirs.iter().any(inside) {
            add(&mut self.shared_files, path);
        }
    }

    /// The project file.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# Written by `onward init`. `onward check` says whether it is right.\napp = {}\n",
            quoted(&self.app)
        );
        if !self.build.is_empty() {
            text.push_str("\n# Runs here, before anything is shipped.\n[build]\n");
            text.push_str(&format!("run = {}\n", quoted(&self.build.join(" && "))));
            if let Some(test) = self.test {
                text.push_str(&format!("# test = {}\n", quoted(test)));
            }
        }
        if !self.include.is_empty() {
            text.push_str("\n# Shipped although git ignores it.\n[bundle]\n");
            text.push_str(&format!("include = {}\n", list(&self.include)));
        }
        for (name, runs) in &self.processes {
            self.process(name, runs, &mut text);
        }
        self.rest(&mut text);
        text
    }

    fn process(&self, name: &ProcessName, runs: &Runs, text: &mut String) {
        match runs {
            Runs::Static(dir) => {
                text.push_str("\n# Served by onward itself.\n");
                text.push_str(&format!("[process.{name}]\nstatic = {}\n", quoted(dir)));
            }
            Runs::Command(command) => {
                if name.has_traffic() {
                    text.push_str("\n# Gets traffic: has to listen on 127.0.0.1 and the PORT that it is given.\n");
                } else {
                    text.push('\n');
                }
                text.push_str(&format!("[process.{name}]\nrun = {}\n", quoted(command)));
                if name.has_traffic() {
                    text.push_str(&self.probe());
                }
            }
        }
    }

    fn probe(&self) -> String {
        match &self.health {
            Some(path) => format!("probe = {{ path = {} }}\n", quoted(path)),
            None => "# Ready when `/` answers with less than 500; or say where to look:\n\
                     # probe = { path = \"/up\" }\n"
                .to_owned(),
        }
    }

    fn rest(&self, text: &mut String) {
        let is_static = self.processes.iter().all(|(_, runs)| matches!(runs, Runs::Static(_)));
        if let Some(command) = &self.release {
            text.push_str("\n# Before a new version starts. Has to be repeatable.\n[release]\n");
            text.push_str(&format!("run = {}\n", quoted(command)));
        } else if !is_static {
            text.push_str("\n# Before a new version starts (migrations). Has to be repeatable.\n");
            text.push_str("# [release]\n# run = \"…\"\n");
        }
        self.shared(is_static, text);
        if !self.values.is_empty() {
            text.push_str("\n# Environment variables of every process.\n[values]\n");
            for (name, value) in &self.values {
                text.push_str(&format!("{name} = {}\n", quoted(value)));
            }
        } else if !is_static {
            text.push_str("\n# Environment variables of every process.\n");
            text.push_str("# [values]\n# LOG_LEVEL = \"info\"\n");
        }
        if !self.secrets.is_empty() {
            let title = "# Given by `onward secret set NAME`; values never belong into this file.";
            text.push_str(&format!(
                "
{title}
[secrets]
names = {}
",
                list(&self.secrets)
            ));
        }
        if !self.local_values.is_empty() {
            text.push_str("\n# On this machine, as `.env` has it.\n[environment.local.values]\n");
            for (name, value) in &self.local_values {
                text.push_str(&format!("{name} = {}\n", quoted(value)));
            }
        }
    }

    fn shared(&self, is_static: bool, text: &mut String) {
        if !self.shared_dirs.is_empty() || !self.shared_files.is_empty() {
            text.push_str("\n# What survives releases.\n[shared]\n");
            for (key, paths) in [("dirs", &self.shared_dirs), ("files", &self.shared_files)] {
                if !paths.is_empty() {
                    text.push_str(&format!("{key} = {}\n", list(paths)));
                }
            }
        } else if !is_static {
            text.push_str("\n# Directories that survive releases.\n");
            text.push_str("# [shared]\n# dirs = [\"storage\"]\n");
        }
    }
}

/// Whether a path is one that the project file takes. Others belong to nobody's release: they lie
/// outside of it.
fn is_below(path: &str) -> bool {
    ProjectPath::new(path).is_ok_and(|path| !path.is_root())
}

fn add(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// The text as a TOML string on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
