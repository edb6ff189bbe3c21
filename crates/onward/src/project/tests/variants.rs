//! Common variants of each framework: which files are there, and which project file is written.

use super::frameworks::MANAGE;
use super::init::{refused, shown};

/// Compares what is proposed for these files with a snapshot of this name.
fn is(name: &str, files: &[(&str, &str)]) {
    insta::assert_snapshot!(name, shown(files));
}

#[test]
fn variants_of_django() {
    is(
        "django-postgres",
        &[
            ("manage.py", MANAGE),
            (
                "shop/settings.py",
                "SECRET_KEY = os.getenv('SECRET_KEY', 'x')\nif os.getenv('DATABASE_URL') is None:\n    raise Exception('no database')\nINSTALLED_APPS = ['django.contrib.auth']\n",
            ),
            (
                "pyproject.toml",
                "[project]\nname = \"shop\"\ndependencies = [\"django\", \"psycopg[binary]\", \"uvicorn\"]\n",
            ),
            ("uv.lock", ""),
        ],
    );
}

#[test]
fn variants_of_flask() {
    is(
        "flask-migrate",
        &[
            (
                "shop/__init__.py",
                "app = Flask(__name__)\napp.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite:///shop.db'\n",
            ),
            ("migrations/env.py", ""),
            ("requirements.txt", "flask\nFlask-SQLAlchemy\nFlask-Migrate\ngunicorn\n"),
        ],
    );
    is(
        "flask-own-command",
        &[
            (
                "app.py",
                "app = Flask(__name__)\n@app.cli.command('init-db')\ndef make():\n    sqlite3.connect('data/shop.db')\n",
            ),
            ("requirements.txt", "flask\n"),
        ],
    );
    // The port in its configuration file is not the one that it is given.
    is(
        "flask-procfile-gunicorn",
        &[
            ("Procfile", "web: gunicorn --config gunicorn_config.py app:app\n"),
            ("gunicorn_config.py", "bind = '0.0.0.0:8080'\nworkers = 2\n"),
            ("app.py", "app = Flask(__name__)\n"),
            ("requirements.txt", "flask\ngunicorn\n"),
        ],
    );
}

#[test]
fn a_port_that_a_configuration_file_reads_is_left_alone() {
    let text = shown(&[
        ("Procfile", "web: gunicorn -c conf.py app:app\n"),
        ("conf.py", "bind = '127.0.0.1:' + os.environ['PORT']\n"),
        ("requirements.txt", "gunicorn\n"),
    ]);
    assert!(text.contains("-m gunicorn -c conf.py app:app\""), "{text}");
}

#[test]
fn variants_of_fastapi() {
    is(
        "fastapi-alembic",
        &[
            ("app/main.py", "app = FastAPI()\n@app.get('/healthz')\ndef ok(): ...\n"),
            ("app/db.py", "URL = 'sqlite:///./shop.db'\n"),
            ("alembic.ini", "[alembic]\n"),
            ("requirements.txt", "fastapi\nuvicorn\nalembic\nsqlalchemy\n"),
        ],
    );
    is(
        "fastapi-poetry",
        &[
            ("app.py", "app = FastAPI()\n"),
            (
                "pyproject.toml",
                "[tool.poetry]\nname = \"shop\"\n[tool.poetry.dependencies]\npython = \"^3.10\"\nfastapi = \"^0.111.0\"\n[build-system]\nrequires = [\"poetry-core\"]\n",
            ),
            ("poetry.lock", ""),
        ],
    );
}

#[test]
fn variants_of_node() {
    is(
        "node-express-sqlite",
        &[
            (
                "package.json",
                "{\"name\": \"@me/shop\", \"engines\": {\"node\": \">=20\"}, \"scripts\": {\"start\": \"node src/index.js\"}, \"dependencies\": {\"express\": \"5\", \"better-sqlite3\": \"11\", \"pg\": \"8\"}}",
            ),
            ("package-lock.json", "{}"),
            (
                "src/index.js",
                "const db = new Database('data/shop.sqlite');\napp.get('/healthz', ok);\napp.listen(process.env.PORT);\n",
            ),
        ],
    );
    is(
        "node-next",
        &[
            (
                "package.json",
                "{\"name\": \"shop\", \"scripts\": {\"build\": \"next build\", \"start\": \"next start\", \"dev\": \"next dev\"}, \"dependencies\": {\"next\": \"15\", \"react\": \"19\"}}",
            ),
            ("yarn.lock", ""),
        ],
    );
    is(
        "node-vite",
        &[
            (
                "package.json",
                "{\"name\": \"shop\", \"scripts\": {\"dev\": \"vite\", \"build\": \"tsc -b && vite build\", \"preview\": \"vite preview\"}, \"devDependencies\": {\"vite\": \"7\"}}",
            ),
            ("package-lock.json", "{}"),
            ("index.html", ""),
        ],
    );
    // What the start script serves is what git ignores.
    is(
        "node-own-directory",
        &[
            (
                "package.json",
                "{\"scripts\": {\"build\": \"next build\", \"start\": \"node --env-file=.env a.js; serve -s _static -l tcp://127.0.0.1:$PORT\"}, \"dependencies\": {\"next\": \"14\", \"serve\": \"14\"}}",
            ),
            ("package-lock.json", "{}"),
            (".gitignore", "/node_modules\n.env\n/_static/\n*.log\n"),
        ],
    );
    is(
        "node-nuxt",
        &[
            (
                "package.json",
                "{\"packageManager\": \"yarn@4.1.0\", \"scripts\": {\"build\": \"nuxt build\"}, \"dependencies\": {\"nuxt\": \"3\"}}",
            ),
            ("yarn.lock", ""),
            (".yarnrc.yml", ""),
        ],
    );
}

#[test]
fn variants_of_go() {
    is(
        "go-sqlite",
        &[
            ("go.mod", "module example.com/shop\n\ngo 1.22\n"),
            (
                "main.go",
                "package main\nfunc main() {\n\tdb, _ := sql.Open(\"sqlite3\", \"./shop.db\")\n\thttp.HandleFunc(\"/healthz\", ok)\n\thttp.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)\n}\n",
            ),
        ],
    );
    is(
        "go-below",
        &[
            ("go.mod", "module shop\n"),
            ("cmd/api/main.go", "package main\nvar p = os.Getenv(\"PORT\")\n"),
        ],
    );
}

#[test]
fn variants_of_ruby() {
    is(
        "ruby-sinatra",
        &[
            ("Gemfile", "source 'https://rubygems.org'\nruby '3.3.0'\ngem 'sinatra'\ngem 'puma'\n"),
            ("Gemfile.lock", ""),
            ("config.ru", "run Sinatra::Application\n"),
        ],
    );
    is(
        "rails-without-credentials",
        &[
            ("Gemfile", "gem 'rails', '~> 7.1'\ngem 'puma'\ngem 'sprockets-rails'\n"),
            ("config/application.rb", ""),
            ("config/puma.rb", ""),
            (
                "package.json",
                "{\"scripts\": {\"build\": \"esbuild\"}, \"dependencies\": {\"esbuild\": \"1\"}}",
            ),
            ("yarn.lock", ""),
        ],
    );
}

#[test]
fn variants_of_sites_and_others() {
    is("static-public", &[("public/index.html", ""), ("README.md", "")]);
    is(
        "dockerfile-entrypoint",
        &[("Dockerfile", "FROM alpine\nENTRYPOINT [\"/srv/run\"]\nCMD [\"--port\", \"8080\"]\n")],
    );
    is(
        "dotenv",
        &[
            ("server.py", "os.environ['PORT']\n"),
            (".env", "# mine\nexport LOG_LEVEL='debug'\nAPI_TOKEN=abcdef\nPORT=5000\nEMPTY=\n"),
        ],
    );
    insta::assert_snapshot!("dockerfile-silent", refused(&[("Dockerfile", "FROM alpine\n")]));
}
