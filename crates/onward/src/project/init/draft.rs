//! A project file on its way: what the rules found out, and how it is written down.

use std::path::Path;

use onward_core::model::ProcessName;

/// What a process of a draft does.
pub(super) enum Runs {
    /// A command line.
    Command(String),
    /// A directory to serve.
    Static(String),
}

/// What the rules found out.
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
    /// The release command.
    pub(super) release: Option<String>,
    /// What was assumed, one sentence each.
    pub(super) assumptions: Vec<String>,
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
            release: None,
            assumptions: Vec::new(),
        }
    }

    /// Names the app after what the project calls itself, if that can be a name.
    pub(super) fn call(&mut self, name: &str) {
        if let Some(legal) = super::super::legal_name(name) {
            self.app = legal;
        }
    }

    /// Notes an assumption.
    pub(super) fn assume(&mut self, sentence: impl Into<String>) {
        self.assumptions.push(sentence.into());
    }

    /// Adds the process that gets traffic.
    pub(super) fn web(&mut self, runs: Runs) {
        let web = ProcessName::WEB.parse().expect("`web` is a legal name");
        self.processes.push((web, runs));
    }

    /// Adds a path to ship, once.
    pub(super) fn include(&mut self, path: impl Into<String>) {
        let path = path.into();
        if !self.include.contains(&path) {
            self.include.push(path);
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
            let paths: Vec<String> = self.include.iter().map(|path| quoted(path)).collect();
            text.push_str("\n# Shipped although git ignores it.\n[bundle]\n");
            text.push_str(&format!("include = [{}]\n", paths.join(", ")));
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
                    text.push_str(
                        "# Ready when `/` answers with less than 500; or say where to look:\n",
                    );
                    text.push_str("# probe = { path = \"/up\" }\n");
                }
            }
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
        if !is_static {
            text.push_str("\n# Directories that survive releases.\n");
            text.push_str("# [shared]\n# dirs = [\"storage\"]\n");
            text.push_str("\n# Environment variables of every process.\n");
            text.push_str("# [values]\n# LOG_LEVEL = \"info\"\n");
        }
    }
}

/// The text as a TOML string on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
