//! Tables: fenced by version, durable before they are in force, never guessed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use onward_proxy::{Config, Error, Limits, Stopper, TableFileError, Why, load_table, run_until};

use crate::support::{App, Proxy, table};

#[test]
fn an_older_table_is_refused() {
    let proxy = Proxy::start();
    let (one, two) = (App::start("one"), App::start("two"));
    proxy.route(5, 1, &[&one]);
    let older = proxy.client().set(&table(4, 2, &[&two], 0)).unwrap_err();
    assert_eq!(older.refusal(), Some(Why::Stale));
    let other = proxy.client().set(&table(5, 2, &[&two], 0)).unwrap_err();
    assert_eq!(other.refusal(), Some(Why::Stale));
    proxy.route(5, 1, &[&one]);
    assert_eq!(proxy.get("/").text(), "one /");
    assert_eq!(proxy.status().version, Some(5));
}

#[test]
fn a_wrong_table_is_refused_whole() {
    let proxy = Proxy::start();
    let one = App::start("one");
    proxy.route(1, 1, &[&one]);
    let twice = proxy.client().set(&table(2, 2, &[&one, &one], 0)).unwrap_err();
    assert_eq!(twice.refusal(), Some(Why::Invalid));
    assert_eq!(proxy.status().version, Some(1));
}

#[test]
fn a_restarted_proxy_serves_the_same_table_at_once() {
    let proxy = Proxy::start();
    let app = App::start("app");
    proxy.route(3, 1, &[&app]);
    let epoch = proxy.status().epoch;
    let directory = proxy.stop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let again = Proxy::on(listener, directory, Limits::default(), 1);
    assert_eq!(again.get("/x").text(), "app /x");
    assert_eq!(again.status().version, Some(3));
    assert_ne!(again.status().epoch, epoch);
    let older = again.client().set(&table(2, 2, &[&app], 0)).unwrap_err();
    assert_eq!(older.refusal(), Some(Why::Stale), "the fence survives the restart");
}

#[test]
fn a_table_that_cannot_be_stored_does_not_take_effect() {
    let proxy = Proxy::start();
    let (one, two) = (App::start("one"), App::start("two"));
    proxy.route(1, 1, &[&one]);
    let before = fs::read(&proxy.table_file).unwrap();
    // A directory where the temporary file would go fails every user's write, root's too.
    let blocked = proxy.directory.path().join("table.json.new");
    fs::create_dir(&blocked).unwrap();
    let error = proxy.client().set(&table(2, 2, &[&two], 0)).unwrap_err();
    assert_eq!(error.refusal(), Some(Why::Storage));
    assert_eq!(proxy.get("/").text(), "one /");
    assert_eq!(proxy.status().version, Some(1));
    assert_eq!(fs::read(&proxy.table_file).unwrap(), before);
    fs::remove_dir(&blocked).unwrap();
    proxy.route(2, 2, &[&two]);
    assert_eq!(proxy.get("/").text(), "two /");
}

#[test]
fn a_damaged_table_file_is_an_error_not_an_empty_table() {
    let proxy = Proxy::start();
    let app = App::start("app");
    proxy.route(3, 1, &[&app]);
    let directory = proxy.stop();
    let path = directory.path().join("table.json");
    let whole = fs::read(&path).unwrap();
    assert_eq!(load_table(&path).unwrap().unwrap().version, 3);
    for cut in (0..whole.len() - 2).step_by(7) {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = load_table(&path).unwrap_err();
        assert!(matches!(error, TableFileError::Damaged { .. }), "cut at {cut}");
    }
    let changed = String::from_utf8(whole).unwrap().replace("\"release\": 1", "\"release\": 2");
    fs::write(&path, &changed).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        listener,
        https: None,
        control: directory.path().join("control"),
        table_file: path.clone(),
        workers: 1,
        limits: Limits::default(),
        access_log: None,
    };
    let error = run_until(config, &Stopper::default()).unwrap_err();
    assert!(matches!(error, Error::Table(TableFileError::Damaged { .. })), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), changed, "it is left for a person to look at");
}

#[test]
fn the_control_socket_is_private_and_answers_nonsense_politely() {
    let proxy = Proxy::start();
    let mode = fs::metadata(&proxy.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = BufReader::new(UnixStream::connect(&proxy.control).unwrap());
    for nonsense in ["hello\n", "{\"do\":\"fly\"}\n", "{\"do\":\"set\",\"table\":{}}\n", "[]\n"] {
        stream.get_mut().write_all(nonsense.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("{\"ok\":\"no\",\"why\":\"malformed\""), "{line}");
    }
    stream.get_mut().write_all(b"{\"do\":\"status\"}\n").unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"ok\":\"status\""), "{line}");
}

#[test]
fn no_route_says_who_speaks() {
    let proxy = Proxy::start();
    let answer = proxy.get("/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().starts_with("onward: 503"), "{}", answer.text());
    assert_eq!(proxy.status().unrouted, 1);
    assert!(proxy.status().releases.is_empty());
}
