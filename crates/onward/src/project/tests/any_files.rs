//! Whatever is in a directory: what `init` proposes passes `check`.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::init::detect;
use super::super::parse;
use super::frameworks::MANAGE;

/// How many combinations are tried.
const CASES: u32 = 1_500;

/// Files that are there or not.
const NAMES: &[&str] = &[
    "Procfile",
    "package.json",
    "Cargo.toml",
    "go.mod",
    "main.go",
    "Gemfile",
    "config.ru",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "uv.lock",
    "app.py",
    "main.py",
    "manage.py",
    "shop/settings.py",
    "Dockerfile",
    ".env",
    "index.html",
    "public/index.html",
    "pnpm-lock.yaml",
    "yarn.lock",
    "config/application.rb",
    "config/database.yml",
    "server.js",
    "package-lock.json",
    "Pipfile.lock",
    "poetry.lock",
    "Gemfile.lock",
    "Cargo.lock",
    "alembic.ini",
    "migrations/env.py",
    "gunicorn.conf.py",
    "src/shop/main.py",
    "cmd/shop/main.go",
    "db/schema.rb",
    "dist/index.html",
];

/// Lines that they may have, right and wrong ones.
const WORDS: &[&str] = &[
    "web:",
    "release:",
    "gunicorn a:b",
    "\"",
    "'",
    "{",
    "}",
    "[project]",
    "dependencies = []",
    "{\"scripts\": {\"start\": \"node \\\"x\\\"\", \"build\": \"vite build\"}}",
    "module a/b",
    "package main",
    "app = Flask(__name__)",
    "app = FastAPI()",
    "def create_app():",
    "CMD [\"a b\", \"$PORT\"]",
    "FROM x",
    "gem 'rails'",
    "DJANGO_SETTINGS_MODULE",
    "'shop.settings'",
    "STATIC_ROOT = 'é/../x'",
    "'NAME': '../db.sqlite3'",
    "'ENGINE': 'sqlite3'",
    "MEDIA_ROOT = '/var/media'",
    "A=1",
    "export B='x y'",
    "SECRET=1",
    "PATH=x",
    "ONWARD_X=1",
    "DEBUG = False",
    "ALLOWED_HOSTS = ['x']",
    "ALLOWED_HOSTS = env('ALLOWED_HOSTS')",
    "[package]\nname = \"a\"",
    "database: db/production.sqlite3",
    "\u{0}",
    "\u{7}",
    "\\",
    "sqlite",
    "sqlite:///../x.db",
    "db = connect('sqlite:///shop.db')",
    "new Database(\"a b.sqlite\")",
    "@app.cli.command(\"init-db\")",
    "flask\nflask-migrate\nflask-sqlalchemy",
    "alembic",
    "psycopg2-binary",
    "worker: celery -A \"x\"",
    "web: gunicorn --config gunicorn.conf.py a:b",
    "bind = '0.0.0.0:8000'",
    "{\"dependencies\": {\"next\": \"1\", \"pg\": \"1\"}, \"scripts\": {\"build\": \"next build\"}}",
    "if os.getenv('DATABASE_URL') is None:\n    raise Exception()",
];

fn pieces() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let names = prop::sample::select(NAMES);
    let words = prop::sample::select(WORDS);
    let text = prop::collection::vec(words, 0..8).prop_map(|words| words.join("\n"));
    prop::collection::vec((names, text), 0..6)
}

#[test]
fn every_proposal_passes() {
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let proposals = std::cell::Cell::new(0);
    let tried = TestRunner::new(config).run(&(pieces(), any::<bool>()), |(mut files, django)| {
        if django {
            files.push(("manage.py", MANAGE.to_owned()));
        }
        let directory = tempfile::tempdir().expect("a directory");
        for (path, text) in &files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        if let Ok(proposal) = detect(directory.path()) {
            proposals.set(proposals.get() + 1);
            let parsed = parse(&proposal.text);
            prop_assert!(parsed.is_ok(), "{:?}\n{}\n{:?}", files, proposal.text, parsed);
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
    assert!(proposals.get() > CASES / 10, "the control: {} proposals", proposals.get());
}
