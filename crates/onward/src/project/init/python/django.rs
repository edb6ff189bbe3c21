//! Django: `manage.py` and the settings that it names.
//!
//! Settings are a program, and are only read here as text: what is written at the beginning of a
//! line counts, what stands inside a condition does not.

use std::path::Path;

use super::super::dotenv::looks_secret;
use super::super::source::{is_plain, literals};
use super::super::{CannotTell, Draft, Runs, text_of};
use super::packages::{Packages, VENV};

/// Apps of Django that have tables.
const WITH_TABLES: [&str; 5] = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.admin",
    "django.contrib.sites",
];

/// A Django project.
pub(super) struct Django {
    /// The directory of `manage.py` below the project; empty for the project itself.
    place: String,
    /// The package with the settings.
    package: String,
    /// Where the settings are, for sentences.
    settings_file: String,
    settings: String,
    has_asgi: bool,
}

/// The Django project in `dir` or in one directory below it.
pub(super) fn find(dir: &Path) -> Result<Option<Django>, CannotTell> {
    if let Some(found) = at(dir, "")? {
        return Ok(Some(found));
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names.iter().filter(|name| is_plain(name) && !name.starts_with('.')) {
        if let Some(found) = at(dir, name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn at(dir: &Path, place: &str) -> Result<Option<Django>, CannotTell> {
    let base = dir.join(place);
    let Some(manage) = text_of(&base.join("manage.py"))? else { return Ok(None) };
    if !manage.contains("DJANGO_SETTINGS_MODULE") {
        return Ok(None);
    }
    let is_module = |text: &&str| {
        let path = base.join(text.replace('.', "/"));
        is_plain(text)
            && text.contains('.')
            && (path.with_extension("py").is_file() || path.join("__init__.py").is_file())
    };
    let named = manage.lines().flat_map(literals).filter(is_module);
    // Where a program chooses between several, its plain settings are the ones without conditions.
    let module = named.max_by_key(|text| text.ends_with(".settings")).map(str::to_owned);
    let Some(module) = module else { return Ok(None) };
    let path = module.replace('.', "/");
    let mut settings = String::new();
    let mut settings_file = format!("{path}.py");
    for candidate in
        [format!("{path}.py"), format!("{path}/__init__.py"), format!("{path}/base.py")]
    {
        if let Some(text) = text_of(&base.join(&candidate))? {
            settings.push_str(&text);
            settings.push('\n');
            settings_file = candidate;
        }
    }
    let package = module.split('.').next().unwrap_or_default().to_owned();
    let has_asgi = base.join(&package).join("asgi.py").is_file();
    Ok(Some(Django { place: place.to_owned(), package, settings_file, settings, has_asgi }))
}

impl Django {
    /// Adds the process that serves; says which server has to be installed besides.
    pub(super) fn serve(&self, packages: &Packages, draft: &mut Draft) -> Option<&'static str> {
        draft.found(format!("manage.py: a Django project, settings in {}", self.settings_file));
        let module = &self.package;
        let is_async = self.has_asgi && packages.has("channels");
        let (server, arguments) = if is_async && packages.has("daphne") {
            ("daphne", format!("daphne -b 127.0.0.1 -p $PORT {module}.asgi:application"))
        } else if is_async || (packages.has("uvicorn") && !packages.has("gunicorn")) {
            ("uvicorn", format!("uvicorn {module}.asgi:application --host 127.0.0.1 --port $PORT"))
        } else {
            ("gunicorn", format!("gunicorn {module}.wsgi --bind 127.0.0.1:$PORT"))
        };
        draft.web(Runs::Command(self.run(&format!("-m {arguments}"), true)));
        if packages.has(server) {
            draft.assume(format!("{server} serves it, because the project asks for it"));
            return None;
        }
        draft.assume(format!(
            "{server} serves it; the project does not ask for a server, so the newest one is \
             installed: add `{server}` to its requirements to choose the version"
        ));
        Some(server)
    }

    /// Adds migrations, static files, what survives releases, values, and what to look at.
    pub(super) fn surroundings(&self, packages: &Packages, draft: &mut Draft) {
        self.migrate(draft);
        self.data(draft);
        self.hosts(draft);
        let required = self.required();
        self.static_files(packages, &required, draft);
        if self.insists_on_database_url() {
            draft.secret("DATABASE_URL");
        }
        for name in required {
            if looks_secret(&name, "") {
                draft.secret(name);
                continue;
            }
            draft.caution(format!(
                "{} cannot be read without the variable {name}: give it in `[values]`",
                self.settings_file
            ));
        }
        if self.top("DEBUG").is_some_and(|right| right.starts_with("True")) {
            draft.caution(format!(
                "{} says `DEBUG = True`: fine on this machine, and not for others to see",
                self.settings_file
            ));
        }
    }

    /// A command of Python in the directory of `manage.py`.
    fn run(&self, arguments: &str, replaces_shell: bool) -> String {
        if self.place.is_empty() {
            return format!("{VENV}/bin/python {arguments}");
        }
        let exec = if replaces_shell { "exec " } else { "" };
        format!("cd {} && {exec}../{VENV}/bin/python {arguments}", self.place)
    }

    fn migrate(&self, draft: &mut Draft) {
        let listed = |app: &&str| {
            self.settings.lines().any(|line| !is_comment(line) && literals(line).contains(app))
        };
        let runs_already = draft.processes.iter().any(|(_, runs)| match runs {
            Runs::Command(command) => command.contains("manage.py migrate"),
            Runs::Static(_) => false,
        });
        if draft.release.is_some() || runs_already || !WITH_TABLES.iter().any(listed) {
            return;
        }
        draft.release = Some(self.run("manage.py migrate --noinput", false));
        draft.assume("migrations run before a new version starts");
    }

    /// A database in a file, and uploads.
    fn data(&self, draft: &mut Draft) {
        let lines = || self.settings.lines().filter(|line| !is_comment(line));
        let is_file = |text: &&str| {
            let name = text.trim_start_matches("sqlite:///");
            // The names of Django's own modules end as files do.
            is_plain(name)
                && !name.starts_with("django.")
                && [".sqlite3", ".sqlite", ".db"].iter().any(|end| name.ends_with(end))
        };
        let uses_sqlite = lines().any(|line| line.contains("sqlite"));
        let file = lines().flat_map(literals).find(is_file).filter(|_| uses_sqlite);
        if let Some(file) = file {
            let file = self.below(file.trim_start_matches("sqlite:///"));
            draft.assume(format!("the database {file} survives releases"));
            draft.share_file(file);
        }
        let media = lines().filter(|line| line.starts_with("MEDIA_ROOT"));
        if let Some(media) = media.flat_map(literals).find(|text| is_plain(text)) {
            let media = self.below(media);
            draft.assume(format!("the uploads in {media}/ survive releases"));
            draft.share_dir(media);
        }
    }

    fn hosts(&self, draft: &mut Draft) {
        let Some(right) = self.top("ALLOWED_HOSTS") else { return };
        let statement = self.statement("ALLOWED_HOSTS");
        let names: Vec<&str> = literals(&statement)
            .into_iter()
            .filter(|text| text.contains("ALLOWED_HOSTS"))
            .collect();
        if let Some(name) = names.first().filter(|name| is_plain(name)) {
            let separator =
                if statement.contains("split(\" \")") || statement.contains("split(' ')") {
                    " "
                } else {
                    ","
                };
            draft.value(name, &format!("127.0.0.1{separator}localhost"));
            draft.assume(format!("{name} may be 127.0.0.1 and localhost: add your domains"));
            return;
        }
        let answers_here = ["*", "127.0.0.1"].iter().any(|h| literals(&statement).contains(h));
        let in_debug = right.starts_with("[]")
            && self.top("DEBUG").is_none_or(|debug| !debug.starts_with("False"));
        if !answers_here && !in_debug {
            draft.caution(format!(
                "ALLOWED_HOSTS in {} leaves 127.0.0.1 out: add it, or every request is answered \
                 with 400",
                self.settings_file
            ));
        }
    }

    fn static_files(&self, packages: &Packages, required: &[String], draft: &mut Draft) {
        let Some(root) = self.top("STATIC_ROOT") else { return };
        let Some(place) = literals(right_literal(root)).into_iter().rfind(|text| is_plain(text))
        else {
            return;
        };
        let place = self.below(place);
        let dummies: Vec<String> =
            required.iter().map(|name| format!("{name}=only-for-the-build ")).collect();
        let collect = self.run("manage.py collectstatic --noinput --verbosity 0", false);
        let collect = match collect.split_once("&& ") {
            Some((cd, rest)) => format!("({cd}&& {}{rest})", dummies.concat()),
            None => format!("{}{collect}", dummies.concat()),
        };
        draft.build.push(collect);
        draft.assume(format!("static files are collected into {place}/ by the build"));
        draft.include(place);
        if !packages.has("whitenoise") {
            draft.caution(
                "nothing serves the static files: add `whitenoise` to the requirements and its \
                 middleware to the settings",
            );
        }
    }

    /// Variables without which the settings cannot be read.
    fn required(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in self.settings.lines().filter(|line| !is_comment(line) && !line.starts_with(' '))
        {
            for (start, end) in [("os.environ[", "]"), ("env(", ")"), ("config(", ")")] {
                let Some((before, rest)) = line.split_once(start) else { continue };
                // `os.getenv(` does without.
                if before.ends_with("get") {
                    continue;
                }
                let inside = rest.split(end).next().unwrap_or_default();
                let [name] = literals(inside)[..] else { continue };
                let alone = inside.trim_matches(['"', '\'', ' ']) == name;
                let is_variable =
                    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
                if alone && is_variable && !name.is_empty() && !names.iter().any(|own| own == name)
                {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    /// Whether the settings raise an error without the variable `DATABASE_URL`.
    fn insists_on_database_url(&self) -> bool {
        let lines: Vec<&str> = self.settings.lines().filter(|line| !is_comment(line)).collect();
        lines.windows(2).any(|pair| {
            pair[0].contains("if ")
                && pair[0].contains("DATABASE_URL")
                && pair[1].trim_start().starts_with("raise ")
        })
    }

    /// What is assigned to a name at the beginning of a line; the last one counts.
    fn top(&self, name: &str) -> Option<&str> {
        let assigned = |line: &'_ str| -> Option<usize> {
            let rest = line.strip_prefix(name)?.trim_start();
            rest.strip_prefix('=').map(|right| line.len() - right.trim_start().len())
        };
        self.settings.lines().rev().find_map(|line| assigned(line).map(|at| &line[at..]))
    }

    /// The whole statement, when it is a list over several lines.
    fn statement(&self, name: &str) -> String {
        let lines = self.settings.lines().skip_while(|line| !line.starts_with(name));
        let mut statement = String::new();
        for line in lines.take(40) {
            statement.push_str(line);
            statement.push('\n');
            if statement.matches(['[', '(']).count() <= statement.matches([']', ')']).count() {
                break;
            }
        }
        statement
    }

    fn below(&self, path: &str) -> String {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        if self.place.is_empty() { path.to_owned() } else { format!("{}/{path}", self.place) }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The right side without a comment behind it.
fn right_literal(right: &str) -> &str {
    right.split(" #").next().unwrap_or(right)
}
