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

/// Who installs and runs scripts.
struct Manager {
    name: &'static str,
    install: &'static str,
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
        if let Some((command, why)) = self.command(dir) {
            draft.assume(format!("`{command}` is what runs, because {why}"));
            draft.assume("it listens on 127.0.0.1 and the PORT that it is given");
            self.build(dir, draft);
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
            draft.build.push(manager.install.to_owned());
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
            draft.build.push(format!("{} run build", manager.name));
            self.build_results(dir, script, draft);
        }
        if self.script("test").is_some_and(|test| !test.contains("no test specified")) {
            draft.test = Some(match manager.name {
                "yarn" => "yarn test",
                "pnpm" => "pnpm test",
                "bun" => "bun run test",
                _ => "npm test",
            });
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
            _ => false,
        };
        let results: Vec<&str> = BUILD_RESULTS
            .into_iter()
            .filter(|place| named(place) || known(place) || dir.join(place).is_dir())
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
            let command =
                if plain { start.to_owned() } else { format!("{} start", self.manager(dir).name) };
            return Some((command, "package.json has a script `start`".to_owned()));
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
        if self.script("start").is_some_and(|start| !start.contains("react-scripts start")) {
            return None;
        }
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

    fn manager(&self, dir: &Path) -> Manager {
        let there = |file: &str| dir.join(file).is_file();
        let wanted = self.json.get("packageManager").and_then(Value::as_str).unwrap_or_default();
        let manager = |name, install, locked| Manager { name, install, locked };
        if there("pnpm-lock.yaml") {
            manager("pnpm", "pnpm install --frozen-lockfile", true)
        } else if there("yarn.lock") {
            let classic = wanted.is_empty() || wanted.starts_with("yarn@1.");
            if classic && !there(".yarnrc.yml") {
                manager("yarn", "yarn install --frozen-lockfile", true)
            } else {
                manager("yarn", "yarn install --immutable", true)
            }
        } else if there("bun.lock") || there("bun.lockb") {
            manager("bun", "bun install --frozen-lockfile", true)
        } else if there("package-lock.json") || there("npm-shrinkwrap.json") {
            manager("npm", "npm ci", true)
        } else {
            manager("npm", "npm install", false)
        }
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
