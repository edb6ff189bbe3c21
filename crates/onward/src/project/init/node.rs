//! Node.js: `package.json`, its scripts and its lock file.

use std::path::Path;

use serde_json::{Map, Value};

use super::{CannotTell, Draft, Kind, Runs, text_of};

/// What `package.json` says, as far as it matters here.
pub(super) struct Package {
    json: Map<String, Value>,
}

/// Directories that build scripts write to.
const BUILD_RESULTS: [&str; 6] = ["dist", "build", ".next", ".output", "out", "lib"];

/// Build tools whose result is a static site, and where they put it.
const SITE_BUILDERS: [(&str, &str); 6] = [
    ("vite build", "dist"),
    ("astro build", "dist"),
    ("react-scripts build", "build"),
    ("eleventy", "_site"),
    ("parcel build", "dist"),
    ("vue-cli-service build", "dist"),
];

/// Start scripts that serve a developer, and nobody else.
const DEV_SERVERS: [&str; 7] = [
    "react-scripts start",
    "vue-cli-service serve",
    "webpack serve",
    "webpack-dev-server",
    "astro dev",
    "eleventy --serve",
    "vite dev",
];

/// Frameworks whose build makes a program, by the package that the project asks for: what starts
/// it, and where it is.
const FRAMEWORKS: [(&str, &str, &str); 4] = [
    ("@sveltejs/adapter-node", "node build", "build"),
    ("nuxt", "node .output/server/index.mjs", ".output"),
    ("@astrojs/node", "node dist/server/entry.mjs", "dist"),
    ("next", "node_modules/.bin/next start --hostname 127.0.0.1", ".next"),
];

/// Who installs packages.
struct Manager {
    install: String,
    locked: bool,
}

/// Reads `package.json`, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Package>, CannotTell> {
    let path = dir.join("package.json");
    let Some(text) = text_of(&path)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(Value::Object(json)) => Ok(Some(Package { json })),
        Ok(_) => Err(CannotTell::Malformed { path, why: "it is not a JSON object".to_owned() }),
        Err(error) => Err(CannotTell::Malformed { path, why: error.to_string() }),
    }
}

impl Package {
    /// Whether it says or shows what runs.
    pub(super) fn runs(&self, dir: &Path) -> bool {
        self.command(dir).is_some() || self.site().is_some()
    }

    /// Adds name, build and process.
    pub(super) fn describe(&self, dir: &Path, draft: &mut Draft) -> Result<Kind, CannotTell> {
        if let Some(name) = self.json.get("name").and_then(Value::as_str) {
            draft.call(name.rsplit('/').next().unwrap_or(name));
        }
        draft.found("package.json: a Node.js project");
        if let Some((command, why)) = self.command(dir) {
            draft.assume(format!("`{command}` is what runs, because {why}"));
            draft.assume("it listens on 127.0.0.1 and the PORT that it is given");
            self.look_into(dir, &command, draft);
            super::data::servers(|package| self.asks_for(package), draft);
            for extension in ["js", "mjs", "ts"] {
                super::data::describe(dir, extension, draft);
            }
            self.build(dir, draft);
            draft.value("NODE_ENV", "production");
            draft.web(Runs::Command(command));
            return Ok(Kind::Node);
        }
        if let Some((place, why)) = self.site() {
            draft.assume(format!("{place}/ is a static site, because {why}"));
            self.build(dir, draft);
            draft.include(place);
            draft.include.retain(|path| path != "node_modules");
            draft.web(Runs::Static(place.to_owned()));
            return Ok(Kind::Static);
        }
        if super::site::describe(dir, draft) {
            return Ok(Kind::Static);
        }
        Err(CannotTell::Unclear {
            why: "package.json has no script `start` and no `main` that is there, and there is no \
                  server.js"
                .to_owned(),
            help: "add `\"start\": \"node FILE.js\"` to its scripts and run `onward init` again"
                .to_owned(),
        })
    }

    /// Adds what has to be installed and built.
    pub(super) fn build(&self, dir: &Path, draft: &mut Draft) {
        let manager = self.manager(dir);
        let build = self.script("build");
        let needed = self.has("dependencies");
        let installs = needed || (build.is_some() && self.has("devDependencies"));
        if installs {
            draft.build.push(manager.install);
            if !manager.locked {
                draft.assume(
                    "there is no lock file, so each build may install other versions of packages",
                );
            }
        }
        if needed {
            draft.include("node_modules");
        }
        if let Some(script) = build {
            draft.build.push("npm run build".to_owned());
            self.build_results(dir, script, draft);
        }
        if self.script("test").is_some_and(|test| !test.contains("no test specified")) {
            draft.test = Some("npm test");
        }
    }

    /// Looks into the file that a plain command starts.
    fn look_into(&self, dir: &Path, command: &str, draft: &mut Draft) {
        let file = command.strip_prefix("node ").map(str::trim);
        let Some(file) = file.filter(|file| is_plain_file(dir, file)) else { return };
        let Ok(Some(text)) = text_of(&dir.join(file)) else { return };
        draft.health = super::source::health_route(&text).map(str::to_owned);
        let sources = super::source::files(dir, "js");
        let reads_port = |text: &str| text.contains("env.PORT") || text.contains("\"PORT\"");
        if !reads_port(&text) && !sources.iter().any(|source| reads_port(&source.text)) {
            draft.caution(format!(
                "{file} does not read `process.env.PORT`: let it listen on 127.0.0.1 and that port"
            ));
        }
    }

    /// Directories that the build makes and that the program needs: those that the start command
    /// names, those of known tools, those that are there.
    fn build_results(&self, dir: &Path, script: &str, draft: &mut Draft) {
        let start = format!(
            "{} {}",
            self.script("start").unwrap_or_default(),
            self.json.get("main").and_then(Value::as_str).unwrap_or_default()
        );
        let named = |place: &str| {
            start
                .split([' ', '"', '\'', '='])
                .map(|word| word.trim_start_matches("./"))
                .any(|word| word == place || word.starts_with(&format!("{place}/")))
        };
        let known = |place: &str| match place {
            ".next" => script.contains("next build"),
            ".output" => script.contains("nuxt build") || script.contains("nuxi build"),
            _ => self.framework().is_some_and(|(_, _, own)| own == place),
        };
        let ignored = ignored(dir);
        let ours = ignored.iter().map(String::as_str).filter(|place| named(place));
        let results: Vec<&str> = BUILD_RESULTS
            .into_iter()
            .filter(|place| named(place) || known(place) || dir.join(place).is_dir())
            .chain(ours)
            .collect();
        if results.is_empty() && self.site().is_none() {
            draft.assume(
                "the build script writes nothing that git ignores; if it does, name the \
                 directory in `[bundle] include`",
            );
        }
        for place in results {
            draft.include(place);
        }
    }

    /// What starts the program, and why that.
    fn command(&self, dir: &Path) -> Option<(String, String)> {
        if let Some(start) = self.script("start") {
            let plain = start.starts_with("node ")
                && !start.contains(['&', '|', ';', '$', '`', '<', '>', '(', '\n'])
                && self.script("prestart").is_none();
            // Without a package manager in between signals arrive at once and it starts sooner.
            let command = match start {
                "next start" => "node_modules/.bin/next start --hostname 127.0.0.1",
                start if plain => start,
                _ => "npm start",
            };
            if !DEV_SERVERS.iter().any(|server| start.contains(server)) && start != "vite" {
                let why = "package.json has a script `start`".to_owned();
                return Some((command.to_owned(), why));
            }
        }
        if let Some((package, command, _)) = self.framework() {
            let why = format!("the project asks for {package}");
            return Some((command.to_owned(), why));
        }
        if self.site().is_some() {
            return None;
        }
        let main = self.json.get("main").and_then(Value::as_str);
        if let Some(main) = main.filter(|main| is_plain_file(dir, main)) {
            return Some((format!("node {main}"), format!("`main` is {main}")));
        }
        let there = is_plain_file(dir, "server.js");
        there.then(|| ("node server.js".to_owned(), "there is a server.js".to_owned()))
    }

    /// The directory of a site that the build script makes, and why that.
    fn site(&self) -> Option<(&'static str, String)> {
        let script = self.script("build")?;
        let (tool, place) = SITE_BUILDERS.iter().find(|(tool, _)| script.contains(tool))?;
        Some((place, format!("the build script runs `{tool}`")))
    }

    fn script(&self, name: &str) -> Option<&str> {
        let script = self.json.get("scripts")?.get(name)?.as_str()?.trim();
        (!script.is_empty()).then_some(script)
    }

    fn has(&self, key: &str) -> bool {
        self.json.get(key).and_then(Value::as_object).is_some_and(|packages| !packages.is_empty())
    }

    /// A framework whose build makes a program.
    fn framework(&self) -> Option<(&'static str, &'static str, &'static str)> {
        self.script("build")?;
        FRAMEWORKS.into_iter().find(|(package, ..)| self.asks_for(package))
    }

    fn asks_for(&self, package: &str) -> bool {
        ["dependencies", "devDependencies"].iter().any(|key| {
            self.json
                .get(*key)
                .and_then(Value::as_object)
                .is_some_and(|all| all.contains_key(package))
        })
    }

    /// How packages are installed. Other managers than npm are fetched by npm, in the version that
    /// the project pins, so that nothing but Node has to be on a machine.
    fn manager(&self, dir: &Path) -> Manager {
        let there = |file: &str| dir.join(file).is_file();
        let pinned = self.json.get("packageManager").and_then(Value::as_str).unwrap_or_default();
        let pinned = pinned.split('+').next().unwrap_or_default();
        let version = |name: &str| pinned.strip_prefix(name)?.strip_prefix('@').map(str::to_owned);
        let locked = |install: String| Manager { install, locked: true };
        if there("pnpm-lock.yaml") {
            let version = version("pnpm").unwrap_or_else(|| pnpm_of(dir).to_owned());
            locked(format!("npx --yes pnpm@{version} install --frozen-lockfile"))
        } else if there("yarn.lock") {
            let version = version("yarn").unwrap_or_else(|| "1".to_owned());
            if version.starts_with('1') && !there(".yarnrc.yml") {
                locked(format!("npx --yes yarn@{version} install --frozen-lockfile"))
            } else {
                let version = if version.starts_with('1') { "4" } else { &version };
                locked(format!(
                    "YARN_NODE_LINKER=node-modules npx --yes @yarnpkg/cli-dist@{version} install \
                     --immutable"
                ))
            }
        } else if there("bun.lock") || there("bun.lockb") {
            locked("npx --yes bun@1 install --frozen-lockfile".to_owned())
        } else if there("package-lock.json") || there("npm-shrinkwrap.json") {
            locked("npm ci".to_owned())
        } else {
            Manager { install: "npm install".to_owned(), locked: false }
        }
    }
}

/// Names that git ignores, those with wildcards left out.
fn ignored(dir: &Path) -> Vec<String> {
    let text = text_of(&dir.join(".gitignore")).ok().flatten().unwrap_or_default();
    let names = text.lines().map(|line| line.trim().trim_start_matches('/').trim_end_matches('/'));
    // Packages are included when there are some; values of this machine belong to nobody else.
    let is_own = |name: &&str| {
        super::source::is_plain(name) && *name != "node_modules" && !name.starts_with(".env")
    };
    names.filter(is_own).map(str::to_owned).collect()
}

/// The major version of pnpm that reads the lock file.
fn pnpm_of(dir: &Path) -> &'static str {
    let text = text_of(&dir.join("pnpm-lock.yaml")).ok().flatten().unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("lockfileVersion:"));
    match version.map(|version| version.trim().trim_matches(['"', '\''])) {
        Some(version) if version.starts_with("5.") => "7",
        Some(version) if version.starts_with("6.") => "8",
        _ => "9",
    }
}

/// Whether `path` is a file of the project whose name needs no quotes in a shell.
fn is_plain_file(dir: &Path, path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    path.chars().all(plain)
        && !path.starts_with(['/', '-'])
        && !path.split('/').any(|part| part == "..")
        && dir.join(path).is_file()
}
