//! `eject`: what it writes really runs, and the programs that it is for accept it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use onward_cli_tests::{Project, eventually, has, http};

const SECRET: &str = "canary \"7f3a\" $HOME \\ `id` %n\nsecond line";

const FILE: &str = r#"
[process.worker]
run = "while :; do echo \"works 100% for $TRICKY\"; sleep 0.2; done"
stop = { signal = "INT", within = "1500ms" }
[schedule.nightly]
run = "echo night"
at = "Mon-Fri 03:15"
zone = "Europe/Berlin"
[schedule.often]
run = "echo often"
every = "7s"
[shared]
dirs = ["storage"]
[values]
TRICKY = "a \"b\" $c 'd' \\ %e"
[secrets]
names = ["KEY"]
[release]
watch = "100ms"
[environment.local]
domain = "shop.example.com"
aliases = ["www.shop.example.com"]
limits = { body = "10MB", requests = 200 }
"#;

/// A port that is free now.
fn port() -> u16 {
    let own = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    own.local_addr().expect("it has an address").port()
}

fn up() -> Project {
    let project = Project::prebuilt_hello(FILE);
    project.run_with(SECRET, &["secret", "set", "KEY"]).code_is(0);
    project.run(&["up"]).code_is(0);
    project
}

fn place(project: &Project) -> PathBuf {
    project.path().parent().expect("a parent").join("out")
}

fn eject(project: &Project, more: &[&str]) -> PathBuf {
    let place = place(project);
    let to = place.display().to_string();
    let mut arguments = vec!["eject", "--to", &to];
    arguments.extend(more);
    let said = project.run(&arguments).code_is(0);
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    place
}

fn text(place: &Path, file: &str) -> String {
    fs::read_to_string(place.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// One setting of a unit.
fn setting(unit: &str, key: &str) -> String {
    let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.next().unwrap_or_else(|| panic!("{key} in {unit}")).to_owned()
}

/// A word as systemd reads it, when it is quoted as we quote.
fn unquoted(text: &str, doubled: bool) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let mut out = String::new();
    let mut all = inner.expect("it is quoted").chars();
    while let Some(character) = all.next() {
        match character {
            '\\' => match all.next().expect("something is escaped") {
                'n' if doubled => out.push('\n'),
                other => out.push(other),
            },
            '$' | '%' if doubled => {
                assert_eq!(all.next(), Some(character), "it is doubled: {text}");
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}

/// Runs the `ExecStart=` of a unit with its environment file in its directory, as systemd would.
fn started(place: &Path, name: &str) -> Child {
    let unit = text(place, &format!("systemd/{name}.service"));
    let words = setting(&unit, "ExecStart");
    let line = words.strip_prefix("/bin/sh -c ").expect("a shell runs it");
    let environment = text(place, &format!("env/{name}.env"));
    let mut variables = Vec::new();
    for entry in entries(&environment) {
        let (name, value) = entry.split_once('=').expect("a variable");
        variables.push((name.to_owned(), unquoted(value, false)));
    }
    Command::new("/bin/sh")
        .args(["-c", &unquoted(line, true)])
        .current_dir(setting(&unit, "WorkingDirectory"))
        .env_clear()
        .envs(variables)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("it starts")
}

/// The entries of an environment file; one can have several lines.
fn entries(text: &str) -> Vec<String> {
    let (mut all, mut own, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for character in text.chars() {
        if character == '\n' && !quoted {
            all.push(std::mem::take(&mut own));
            continue;
        }
        if character == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = character == '\\' && !escaped;
        own.push(character);
    }
    all
}

fn end(mut child: Child) {
    Project::interrupt_group(child.id());
    Project::kill(child.id());
    child.wait().expect("it ends");
}

#[test]
fn what_the_units_start_answers_after_onward_is_gone() {
    let project = up();
    let port = port();
    let place = eject(&project, &["--copy", "--first-port", &port.to_string()]);
    project.run(&["down", "-y"]).code_is(0);
    let web = started(&place, "hello-local-web-1");
    let url = format!("http://127.0.0.1:{port}");
    let body = eventually("it answers", || http::get(&url, "/").ok()).body;
    assert!(body.contains("release 1"), "{body}");
    end(web);

    let mut worker = started(&place, "hello-local-worker-1");
    let mut line = String::new();
    let out = worker.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
    assert_eq!(line, "works 100% for a \"b\" $c 'd' \\ %e\n");
    end(worker);
    let shared = place.join("files/local/releases/1/storage");
    assert!(shared.is_dir(), "the link leads to the copy of what survives releases");
}

#[test]
fn secrets_are_for_their_owner_alone_and_whole() {
    let project = up();
    let place = eject(&project, &[]);
    let mode = |path: &str| {
        let meta = fs::metadata(place.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        meta.permissions().mode() & 0o7777
    };
    for (path, expected) in [
        ("env", 0o700),
        ("secrets", 0o700),
        ("secrets/KEY", 0o600),
        ("env/hello-local-web-1.env", 0o600),
        ("env/hello-local-nightly.env", 0o600),
        ("README.md", 0o644),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    assert_eq!(text(&place, "secrets/KEY"), SECRET);
    let environment = entries(&text(&place, "env/hello-local-web-1.env"));
    let own = environment.iter().find_map(|entry| entry.strip_prefix("KEY="));
    assert_eq!(unquoted(own.expect("it is there"), false), SECRET);
    // Nowhere else; the search finds it where it is, above.
    for directory in ["systemd", "nginx", "maintenance"] {
        for entry in fs::read_dir(place.join(directory)).expect("a directory").flatten() {
            let text = fs::read_to_string(entry.path()).expect("text");
            assert!(!text.contains("canary"), "{}", entry.path().display());
        }
    }
    assert!(!text(&place, "README.md").contains("canary"));
}

#[test]
fn systemd_accepts_the_units() {
    if !has("systemd-analyze") {
        eprintln!("skipped: there is no systemd-analyze; `apt-get install systemd` brings it");
        return;
    }
    let project = up();
    let place = eject(&project, &[]);
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(place.join("systemd")).expect("the units").flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--generators=no"])
            .arg(entry.path())
            .env("SYSTEMD_UNIT_PATH", format!("{}:", place.join("systemd").display()))
            .output()
            .expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("hello-local")).collect();
        assert!(ours.is_empty() && output.status.success(), "{said}");
    }
    names.sort();
    let expected = [
        "hello-local-nightly.service",
        "hello-local-nightly.timer",
        "hello-local-often.service",
        "hello-local-often.timer",
        "hello-local-web-1.service",
        "hello-local-worker-1.service",
    ];
    assert_eq!(names, expected);
    let timer = text(&place, "systemd/hello-local-nightly.timer");
    let at = setting(&timer, "OnCalendar");
    assert_eq!(at, "Mon,Tue,Wed,Thu,Fri *-*-* 03:15:00 Europe/Berlin");
    let output = Command::new("systemd-analyze").args(["calendar", &at]).output();
    assert!(output.expect("systemd-analyze runs").status.success());
    let worker = text(&place, "systemd/hello-local-worker-1.service");
    assert_eq!(setting(&worker, "KillSignal"), "SIGINT");
    assert_eq!(setting(&worker, "TimeoutStopSec"), "1500ms");
    // The control: what is wrong is found.
    let broken = place.join("systemd/hello-local-broken.service");
    fs::write(&broken, worker.replace("/bin/sh -c", "bin sh")).expect("write it");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&broken).output();
    assert!(!output.expect("systemd-analyze runs").status.success(), "the control");
}

#[test]
fn nginx_accepts_the_configuration_and_leads_visitors() {
    if !has("nginx") && !Path::new("/usr/sbin/nginx").is_file() {
        eprintln!("skipped: there is no nginx; `apt-get install nginx-light` brings it");
        return;
    }
    let project = up();
    let (listen, first) = (port(), port());
    let more = ["--listen", &listen.to_string(), "--first-port", &first.to_string()];
    let place = eject(&project, &more);
    let directory = place.parent().expect("a parent").join("nginx");
    fs::create_dir_all(&directory).expect("a directory for nginx");
    let main = directory.join("nginx.conf");
    let own = directory.display();
    let text_of_main = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {own}/pid;\nerror_log {own}/error;\n\
         events {{}}\nhttp {{\n client_body_temp_path {own}/a;\n proxy_temp_path {own}/b;\n \
         fastcgi_temp_path {own}/c;\n uwsgi_temp_path {own}/d;\n scgi_temp_path {own}/e;\n \
         include {}/nginx/*.conf;\n}}\n",
        place.display()
    );
    fs::write(&main, text_of_main).expect("write its configuration");
    let nginx = || {
        let program = if has("nginx") { "nginx" } else { "/usr/sbin/nginx" };
        let mut command = Command::new(program);
        command.arg("-c").arg(&main).args(["-e", &format!("{own}/error")]);
        command
    };
    let checked = nginx().arg("-t").output().expect("nginx runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let web = started(&place, "hello-local-web-1");
    let mut server = nginx().spawn().expect("nginx runs");
    let address = format!("127.0.0.1:{listen}");
    let ask = |host: &str, body: usize| -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address).unwrap_or_else(|_| panic!("nginx"));
        let head = format!(
            "GET /a?b HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {body}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it can be asked");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    eventually("nginx listens", || std::net::TcpStream::connect(&address).ok());
    eventually("it leads to the app", || {
        ask("shop.example.com", 0).starts_with("HTTP/1.1 200").then_some(())
    });
    let alias = ask("www.shop.example.com", 0);
    let to = format!("Location: http://shop.example.com:{listen}/a?b");
    assert!(alias.starts_with("HTTP/1.1 308") && alias.contains(&to), "{alias}");
    let large = ask("shop.example.com", 20_000_000);
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    fs::write(place.join("maintenance/on"), "").expect("maintenance on");
    let closed = ask("shop.example.com", 0);
    assert!(closed.starts_with("HTTP/1.1 503") && closed.contains("Retry-After: 300"), "{closed}");
    assert!(closed.contains("Down for maintenance"), "{closed}");
    Project::kill(server.id());
    server.wait().expect("nginx ends");
    end(web);
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let project = up();
    let place = place(&project);
    fs::create_dir_all(&place).expect("a directory");
    fs::write(place.join("mine"), "").expect("a file");
    let to = place.display().to_string();
    let refused = project.run(&["eject", "--to", &to]).code_is(3);
    assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(&place).expect("it is there").count(), 1);
    let file = place.join("mine").display().to_string();
    project.run(&["eject", "--to", &file]).code_is(3);
    for inside in ["out", ".onward/out", "../project/deep/out"] {
        let refused = project.run(&["eject", "--to", inside]).code_is(3);
        assert!(refused.stderr.contains("is inside the project"), "{}", refused.stderr);
    }
    fs::remove_file(place.join("mine")).expect("empty it");
    // Out of the project again, as people type it.
    project.run(&["eject", "--to", "../beside"]).code_is(0);
    let lines = project.run(&["--json", "eject", "--to", &to]).code_is(0).finished();
    assert_eq!(lines["release"], 1);
    assert_eq!(project.status()["release"]["number"], 1, "what runs goes on");
    project.run(&["down", "-y"]).code_is(0);
    let to = format!("{to}-2");
    let nothing = project.run(&["eject", "--to", &to]);
    assert_ne!(nothing.code, Some(0));
    assert!(!Path::new(&to).exists(), "{}", nothing.stderr);
}

#[test]
fn of_several_servers_every_instance_is_there() {
    let project = Project::prebuilt_hello("[environment.local]\ncount = 2\n");
    project.run(&["up"]).code_is(0);
    let place = eject(&project, &["--copy", "--first-port", "22001"]);
    let nginx = text(&place, "nginx/hello-local.conf");
    for (server, port) in [("local", 22001), ("local-2", 22002)] {
        assert!(nginx.contains(&format!("server 127.0.0.1:{port};")), "{nginx}");
        let unit = format!("hello-local-{server}-web-1");
        let directory =
            setting(&text(&place, &format!("systemd/{unit}.service")), "WorkingDirectory");
        assert!(Path::new(&directory).join("hello").is_file(), "{directory}");
        assert!(text(&place, &format!("env/{unit}.env")).contains(&format!("PORT=\"{port}\"")));
    }
}

#[test]
fn a_site_of_files_needs_nginx_alone() {
    let project = Project::empty();
    project.write("public/index.html", "<h1>here</h1>");
    project.write("public/assets/a.css", "a{}");
    project.write(
        "onward.toml",
        "app = \"site\"\n[process.web]\nstatic = { dir = \"public\", spa = true, immutable = [\"assets\"] }\n",
    );
    project.run(&["up"]).code_is(0);
    let place = eject(&project, &["--copy"]);
    assert!(!place.join("systemd").exists(), "nothing has to run");
    let nginx = text(&place, "nginx/site-local.conf");
    let root = place.join("files/local/releases/1/public");
    assert!(nginx.contains(&format!("root \"{}\";", root.display())), "{nginx}");
    assert!(nginx.contains("try_files $uri $uri/index.html /index.html;"), "{nginx}");
    assert!(!text(&place, "README.md").contains("/etc/systemd"));
}
