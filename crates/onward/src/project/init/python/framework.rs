//! Flask, FastAPI and other frameworks whose app is an object in a module.

use std::path::Path;

use super::super::source::{self, Source, is_plain};
use super::super::{Draft, Kind, Runs, data};
use super::packages::{Packages, VENV};

/// How an app is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gateway {
    /// By gunicorn.
    Wsgi,
    /// By uvicorn.
    Asgi,
}

/// Classes whose objects are apps.
const CLASSES: [(&str, Kind, Gateway); 8] = [
    ("Flask(", Kind::Flask, Gateway::Wsgi),
    ("FastAPI(", Kind::FastApi, Gateway::Asgi),
    ("Starlette(", Kind::Python, Gateway::Asgi),
    ("Quart(", Kind::Python, Gateway::Asgi),
    ("Litestar(", Kind::Python, Gateway::Asgi),
    ("Bottle(", Kind::Python, Gateway::Wsgi),
    ("falcon.App(", Kind::Python, Gateway::Wsgi),
    ("falcon.asgi.App(", Kind::Python, Gateway::Asgi),
];

/// Functions that make an app.
const FACTORIES: [&str; 2] = ["create_app", "make_app"];

/// Programs without a framework, the likeliest first.
const PROGRAMS: [&str; 6] = ["server.py", "main.py", "app.py", "run.py", "__main__.py", "web.py"];

/// An app that a server can serve.
pub(super) struct App {
    file: String,
    directory: String,
    module: String,
    object: String,
    is_factory: bool,
    kind: Kind,
    gateway: Gateway,
    health: Option<&'static str>,
    keeps_instance: bool,
    /// Database files that it opens.
    databases: Vec<String>,
    /// Commands of its own that make a database.
    makers: Vec<String>,
    has_migrations: bool,
    has_alembic: bool,
}

/// The outermost app of the project.
pub(super) fn find(dir: &Path) -> Option<App> {
    let sources = source::files(dir, "py");
    let keeps_instance = sources.iter().any(|source| source.text.contains("instance_path"));
    // An app that is made when its module is read beats a function that makes one.
    let app = sources.iter().find_map(object).or_else(|| sources.iter().find_map(factory))?;
    Some(App {
        keeps_instance,
        databases: data::files(dir, "py"),
        makers: makers(&sources),
        has_migrations: dir.join("migrations/env.py").is_file(),
        has_alembic: dir.join("alembic.ini").is_file(),
        ..app
    })
}

/// Whether there is a program that may be started as it is.
pub(super) fn has_program(dir: &Path) -> bool {
    program(dir).is_some()
}

/// A program without a framework.
pub(super) fn program(dir: &Path) -> Option<Source> {
    let mut sources = source::files(dir, "py");
    let named = |name: &&str| sources.iter().position(|source| source.path == **name);
    let at = PROGRAMS.iter().find_map(named)?;
    Some(sources.swap_remove(at))
}

/// Names of the app's own commands that seem to make a database.
fn makers(sources: &[Source]) -> Vec<String> {
    let declares = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('@') && line.contains(".command(")
    };
    let makes = |name: &&str| {
        is_plain(name) && ["init", "create", "setup"].iter().any(|word| name.contains(word))
    };
    let lines = sources.iter().flat_map(|source| source.text.lines()).filter(declares);
    lines.flat_map(source::literals).filter(makes).map(str::to_owned).collect()
}

fn object(source: &Source) -> Option<App> {
    source.text.lines().find_map(|line| {
        // Indented ones are made inside a function.
        if line.starts_with([' ', '\t', '#']) {
            return None;
        }
        let (left, right) = line.split_once('=')?;
        let object = left.split(':').next().unwrap_or_default().trim();
        let call = right.trim_start();
        let class = |name: &str| {
            let at = call.find(name)?;
            (at == 0 || call[..at].ends_with('.')).then_some(())
        };
        let (_, kind, gateway) = CLASSES.iter().find(|(name, ..)| class(name).is_some())?;
        is_identifier(object).then(|| app(source, object, false, *kind, *gateway))?
    })
}

fn factory(source: &Source) -> Option<App> {
    let (_, kind, gateway) = CLASSES.iter().find(|(name, ..)| source.text.contains(name))?;
    let name = FACTORIES
        .iter()
        .find(|name| source.text.lines().any(|line| line.starts_with(&format!("def {name}("))))?;
    app(source, name, true, *kind, *gateway)
}

fn app(
    source: &Source,
    object: &str,
    is_factory: bool,
    kind: Kind,
    gateway: Gateway,
) -> Option<App> {
    let path = source.path.strip_suffix(".py")?;
    let (directory, path) = match path.strip_prefix("src/") {
        Some(rest) => ("src", rest),
        None => ("", path),
    };
    let module = path.strip_suffix("/__init__").unwrap_or(path).replace('/', ".");
    is_plain(&module).then(|| App {
        file: source.path.clone(),
        directory: directory.to_owned(),
        module,
        object: object.to_owned(),
        is_factory,
        kind,
        gateway,
        health: source::health_route(&source.text),
        keeps_instance: false,
        databases: Vec::new(),
        makers: Vec::new(),
        has_migrations: false,
        has_alembic: false,
    })
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl App {
    /// Adds build and process.
    pub(super) fn describe(&self, packages: &Packages, draft: &mut Draft) -> Kind {
        let kind = self.kind;
        let what = if self.is_factory { "makes" } else { "has" };
        draft.found(format!("{}: {what} a {kind} app called `{}`", self.file, self.object));
        let (server, command) = self.server(packages);
        let missing = (!packages.has(server)).then_some(server);
        if missing.is_some() {
            draft.assume(format!(
                "{server} serves it; the project does not ask for a server, so the newest one is \
                 installed: add `{server}` to its requirements to choose the version"
            ));
        } else {
            draft.assume(format!("{server} serves it, because the project asks for it"));
        }
        packages.build(missing, draft);
        self.surroundings(packages, draft);
        draft.health = self.health.map(str::to_owned);
        draft.web(Runs::Command(command));
        kind
    }

    /// Adds what survives releases, and migrations unless there is a release command.
    pub(super) fn surroundings(&self, packages: &Packages, draft: &mut Draft) {
        self.data(packages, draft);
        if draft.release.is_none() {
            self.migrate(packages, draft);
        }
    }

    /// What survives releases.
    fn data(&self, packages: &Packages, draft: &mut Draft) {
        // There a relative path is one below instance/.
        let in_instance = packages.has("flask-sqlalchemy") && !self.databases.is_empty();
        if self.keeps_instance || in_instance {
            draft.share_dir("instance");
            draft.assume("instance/ holds data, so it survives releases");
        }
        for file in self.databases.iter().filter(|_| !in_instance) {
            draft.assume(format!("the database {file} survives releases"));
            draft.share_file(file);
        }
    }

    /// The release command, when there are migrations; else what has to be made by hand.
    fn migrate(&self, packages: &Packages, draft: &mut Draft) {
        let python = format!("{VENV}/bin/python -m");
        let command = if self.has_migrations && packages.has("flask-migrate") {
            let place = match self.directory.as_str() {
                "" => String::new(),
                directory => format!("PYTHONPATH={directory} "),
            };
            format!("{place}{python} flask --app {}:{} db upgrade", self.module, self.object)
        } else if self.has_alembic && packages.has("alembic") {
            format!("{python} alembic upgrade head")
        } else {
            for name in &self.makers {
                draft.caution(format!(
                    "the app has a command `{name}`: if it makes the database, write one that may \
                     be repeated into `[release] run`, or nothing makes it"
                ));
            }
            return;
        };
        draft.release = Some(command);
        draft.assume("migrations run before a new version starts");
    }

    fn server(&self, packages: &Packages) -> (&'static str, String) {
        let python = format!("{VENV}/bin/python -m");
        let target = format!("{}:{}", self.module, self.object);
        if self.gateway == Gateway::Asgi {
            let factory = if self.is_factory { " --factory" } else { "" };
            let place = match self.directory.as_str() {
                "" => String::new(),
                directory => format!(" --app-dir {directory}"),
            };
            let command =
                format!("{python} uvicorn {target}{factory}{place} --host 127.0.0.1 --port $PORT");
            return ("uvicorn", command);
        }
        let call = if self.is_factory { format!("'{target}()'") } else { target.clone() };
        let place = match self.directory.as_str() {
            "" => String::new(),
            directory => format!(" --chdir {directory}"),
        };
        if !packages.has("gunicorn") && packages.has("waitress") {
            let call = if self.is_factory { format!("--call {target}") } else { target };
            return ("waitress", format!("{python} waitress --listen=127.0.0.1:$PORT {call}"));
        }
        ("gunicorn", format!("{python} gunicorn{place} --bind 127.0.0.1:$PORT {call}"))
    }
}
