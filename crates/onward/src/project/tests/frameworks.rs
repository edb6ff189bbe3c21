//! Proposals for small trees that imitate what each framework lays out.

use super::super::init::Kind;
use super::init::{proposed, refused, shown};

pub(super) const MANAGE: &str =
    "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n";

const SETTINGS: &str = "\
SECRET_KEY = 'django-insecure-x'
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = [
    'django.contrib.admin',
    'django.contrib.staticfiles',
]
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': BASE_DIR / 'db.sqlite3',
    }
}
MEDIA_ROOT = BASE_DIR / 'uploads'
STATIC_ROOT = BASE_DIR / 'staticfiles'
";

const LOCKED: &str = "\
import environ
SECRET_KEY = os.environ['SECRET_KEY']
DATABASES = {'default': env.db('DATABASE_URL')}
REGION = config('REGION')
OPTIONAL = os.environ.get('OPTIONAL', '')
DEBUG = False
ALLOWED_HOSTS = os.environ.get('DJANGO_ALLOWED_HOSTS', '').split(' ')
INSTALLED_APPS = ['django.contrib.sessions']
STATIC_ROOT = os.path.join(BASE_DIR, 'static_root')
";

#[test]
fn django_is_recognised() {
    insta::assert_snapshot!(
        "django",
        shown(&[
            ("manage.py", MANAGE),
            ("shop/settings.py", SETTINGS),
            ("shop/wsgi.py", ""),
            ("requirements.txt", "Django==5.1\nwhitenoise\n"),
        ])
    );
    insta::assert_snapshot!(
        "django-below",
        shown(&[
            ("site/manage.py", MANAGE),
            ("site/shop/settings.py", LOCKED),
            ("site/shop/asgi.py", ""),
            ("requirements.txt", "-r requirements/base.txt\n"),
            ("requirements/base.txt", "Django\nchannels\ndaphne\n"),
        ])
    );
    let hosts =
        SETTINGS.replace("ALLOWED_HOSTS = []", "ALLOWED_HOSTS = [\n    'shop.example.com',\n]");
    let other = proposed(&[
        ("manage.py", MANAGE),
        ("shop/settings.py", &hosts),
        ("requirements.txt", "django\ngunicorn\n"),
    ]);
    assert!(other.cautions.iter().any(|c| c.contains("leaves 127.0.0.1 out")), "{other:?}");
}

#[test]
fn django_with_a_procfile_keeps_its_surroundings() {
    insta::assert_snapshot!(
        "django-procfile",
        shown(&[
            (
                "Procfile",
                "web: gunicorn shop.wsgi\nworker: celery -A shop worker\nrelease: ./manage.py migrate --no-input\n"
            ),
            ("manage.py", MANAGE),
            ("shop/settings.py", SETTINGS),
            ("requirements.txt", "django\ngunicorn\ncelery\n"),
            (".env", "TIMES=2\nSECRET_KEY=abc\nDATABASE_URL=postgres://me:pw@db/shop\nPORT=1\n"),
        ])
    );
}

#[test]
fn flask_is_recognised() {
    insta::assert_snapshot!(
        "flask",
        shown(&[
            (
                "app.py",
                "from flask import Flask\napp = Flask(__name__)\n@app.route('/healthz')\ndef ok(): return ''\n"
            ),
            ("requirements.txt", "Flask\n"),
        ])
    );
    insta::assert_snapshot!(
        "flask-factory",
        shown(&[
            (
                "blog/__init__.py",
                "import flask\ndef create_app(test=None):\n    app = flask.Flask(__name__, instance_relative_config=True)\n    os.makedirs(app.instance_path)\n    return app\n"
            ),
            (
                "pyproject.toml",
                "[project]\nname = \"blog\"\ndependencies = [\"flask\", \"gunicorn\"]\n[build-system]\nrequires = []\n"
            ),
        ])
    );
}

#[test]
fn fastapi_is_recognised() {
    insta::assert_snapshot!(
        "fastapi",
        shown(&[
            (
                "src/api/main.py",
                "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n"
            ),
            ("requirements.txt", "fastapi[standard]\n"),
        ])
    );
    let uv = proposed(&[
        ("main.py", "app = FastAPI()\n"),
        ("pyproject.toml", "[project]\nname = \"a\"\ndependencies = [\"fastapi\"]\n"),
        ("uv.lock", ""),
    ]);
    assert_eq!(uv.kind, Kind::FastApi);
    assert!(uv.text.contains("uv export"), "{}", uv.text);
    assert!(uv.text.contains(" uvicorn && "), "the server is installed besides: {}", uv.text);
}

#[test]
fn python_without_a_framework_is_recognised() {
    insta::assert_snapshot!(
        "python",
        shown(&[("server.py", "import os\nport = int(os.environ['PORT'])\n")])
    );
    let pip = proposed(&[
        ("main.py", "print(1)\n"),
        ("Pipfile", "[packages]\nrequests = '*'\n"),
        ("Pipfile.lock", "{}"),
    ]);
    assert!(pip.text.contains("pipenv requirements"), "{}", pip.text);
    assert!(pip.cautions.iter().any(|c| c.contains("does not read the variable PORT")), "{pip:?}");
}

#[test]
fn rails_is_recognised() {
    insta::assert_snapshot!(
        "rails",
        shown(&[
            (
                "Gemfile",
                "source \"https://rubygems.org\"\ngem \"rails\", \"~> 8.0\"\ngem \"propshaft\"\ngem \"puma\", \">= 5.0\"\n"
            ),
            ("Gemfile.lock", ""),
            ("config/application.rb", ""),
            ("config/puma.rb", ""),
            (
                "config/routes.rb",
                "  get \"up\" => \"rails/health#show\", as: :rails_health_check\n"
            ),
            ("config/database.yml", "production:\n  database: db/production.sqlite3\n"),
            ("config/credentials.yml.enc", "x"),
            ("db/schema.rb", ""),
        ])
    );
    let rack = proposed(&[("Gemfile", "gem 'sinatra'\n"), ("config.ru", "run App\n")]);
    assert_eq!(rack.kind, Kind::Ruby);
    assert!(rack.text.contains("bundle exec rackup -o 127.0.0.1 -p $PORT"), "{}", rack.text);
}

#[test]
fn go_is_recognised() {
    insta::assert_snapshot!(
        "go",
        shown(&[
            ("go.mod", "module example.com/me/shop/v2\n\ngo 1.21\n"),
            ("main.go", "package main\nimport \"os\"\nvar port = os.Getenv(\"PORT\")\n"),
        ])
    );
    let below = proposed(&[("go.mod", "module shop\n"), ("cmd/api/main.go", "package main\n")]);
    assert!(below.text.contains("go build -trimpath -o bin/api ./cmd/api"), "{}", below.text);
    let two = refused(&[
        ("go.mod", "module shop\n"),
        ("cmd/api/main.go", "package main\n"),
        ("cmd/job/main.go", "package main\n"),
    ]);
    insta::assert_snapshot!("go-several", two);
    let heroku = proposed(&[
        ("go.mod", "module example.com/shop\n"),
        ("main.go", "package main\n"),
        ("Procfile", "web: shop -v\n"),
    ]);
    assert!(heroku.text.contains("run = \"bin/shop -v\""), "{}", heroku.text);
}

#[test]
fn a_dockerfile_says_what_runs_when_nothing_else_does() {
    let docker = "FROM golang AS build\nCMD [\"wrong\"]\nFROM debian\nRUN apt-get update && \\\n  apt-get install -y x\nCMD [\"./serve\", \"--all\"]\n";
    insta::assert_snapshot!("dockerfile", shown(&[("Dockerfile", docker)]));
    let both = proposed(&[("Dockerfile", docker), ("server.py", "PORT\n")]);
    assert_eq!(both.kind, Kind::Python);
    assert!(both.found.iter().any(|line| line.starts_with("Dockerfile: not used")), "{both:?}");
}

#[test]
fn frameworks_of_node_are_recognised() {
    let kit = proposed(&[(
        "package.json",
        "{\"devDependencies\": {\"@sveltejs/adapter-node\": \"5\"}, \"scripts\": {\"build\": \"vite build\"}}",
    )]);
    assert!(kit.text.contains("run = \"node build\""), "{}", kit.text);
    assert!(kit.text.contains("include = [\"build\"]"), "{}", kit.text);
    let react = proposed(&[
        (
            "package.json",
            "{\"dependencies\": {\"react\": \"18\"}, \"scripts\": {\"start\": \"react-scripts start\", \"build\": \"react-scripts build\"}}",
        ),
        ("public/index.html", ""),
    ]);
    assert!(react.text.contains("static = \"build\""), "{}", react.text);
    let pnpm = proposed(&[
        (
            "package.json",
            "{\"packageManager\": \"pnpm@9.1.0+sha512.abc\", \"main\": \"a.js\", \"dependencies\": {\"a\": \"1\"}}",
        ),
        ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n"),
        ("a.js", "listen(3000)"),
    ]);
    assert!(pnpm.text.contains("npx --yes pnpm@9.1.0 install --frozen-lockfile"), "{}", pnpm.text);
    assert!(pnpm.cautions.iter().any(|c| c.contains("process.env.PORT")), "{pnpm:?}");
}

/// No value that looks secret gets into the file, and harmless ones do.
#[test]
fn secrets_of_dotenv_are_never_copied() {
    let env = "LOG_LEVEL=debug\nSTRIPE_API_KEY=sk0live1verysecret\nREDIS_URL=redis://:hunter2@cache\nODD=a1b2c3d4e5f6a7b8c9d0e1\n";
    let proposal = proposed(&[("server.py", "PORT"), (".env", env)]);
    let all = format!(
        "{}{:?}{:?}{:?}",
        proposal.text, proposal.found, proposal.assumptions, proposal.cautions
    );
    assert!(all.contains("LOG_LEVEL = \"debug\""), "the control: {all}");
    for secret in ["sk0live1verysecret", "hunter2", "a1b2c3d4"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    assert!(
        proposal.text.contains(r#"names = ["STRIPE_API_KEY", "REDIS_URL", "ODD"]"#),
        "{}",
        proposal.text
    );
}
