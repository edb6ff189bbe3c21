//! The static site.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use onward_proxy::{Route, Site, SiteRules, Table};

use crate::support::{Answer, App, Proxy, Wire};

fn site(directory: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let directory = directory.to_owned();
    thread::spawn(move || onward_proxy::files::serve(&directory, SiteRules::default(), listener));
    addr
}

fn ask(addr: SocketAddr, method: &str, target: &str) -> Answer {
    let mut wire = Wire::new(TcpStream::connect(addr).unwrap());
    wire.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    wire.answer_to(method).unwrap()
}

#[test]
fn serves_what_is_there_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("public");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    fs::write(root.join("index.html"), "<h1>home</h1>").unwrap();
    fs::write(root.join("sub/index.html"), "sub").unwrap();
    fs::write(root.join("style.css"), "body{}").unwrap();
    fs::write(root.join(".env"), "secret").unwrap();
    let large: Vec<u8> = (0..1_000_000_u32).map(|byte| byte as u8).collect();
    fs::write(root.join("large.bin"), &large).unwrap();
    symlink("../secret", root.join("leak.txt")).unwrap();
    symlink("/etc/passwd", root.join("passwd.txt")).unwrap();
    symlink("style.css", root.join("also.css")).unwrap();
    let addr = site(&root);

    let home = ask(addr, "GET", "/");
    assert_eq!((home.status, home.text().as_str()), (200, "<h1>home</h1>"));
    assert_eq!(home.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        ask(addr, "GET", "/style.css?v=1").header("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(ask(addr, "GET", "/also.css").text(), "body{}");
    assert_eq!(ask(addr, "GET", "/large.bin").body, large);
    let head = ask(addr, "HEAD", "/large.bin");
    assert_eq!((head.header("content-length"), head.body.len()), (Some("1000000"), 0));
    let moved = ask(addr, "GET", "/sub?q");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/sub/?q")));
    assert_eq!(ask(addr, "GET", "/sub/").text(), "sub");
    for hidden in [
        "/.env",
        "/leak.txt",
        "/passwd.txt",
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../style.css",
        "/nothing",
        "//style.css",
        "/style.css/",
        "/a%00b",
    ] {
        assert_eq!(ask(addr, "GET", hidden).status, 404, "{hidden}");
    }
    assert_eq!(ask(addr, "POST", "/").status, 405);
    fs::write(root.join("404.html"), "lost?").unwrap();
    let missing = ask(addr, "GET", "/nothing");
    assert_eq!((missing.status, missing.text().as_str()), (404, "lost?"));
}

/// A site with one of everything.
fn everything(root: &Path) {
    fs::create_dir_all(root.join("assets")).unwrap();
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("index.html"), "<h1>home</h1>".repeat(200)).unwrap();
    fs::write(root.join("ten.txt"), "0123456789").unwrap();
    fs::write(root.join("app.js"), "let plain;".repeat(300)).unwrap();
    fs::write(root.join("app.js.br"), "as brotli").unwrap();
    fs::write(root.join("app.3f9a1b2c.css"), "a{}").unwrap();
    fs::write(root.join("assets/any.woff2"), "font").unwrap();
    fs::write(root.join("sub/index.html"), "sub").unwrap();
    fs::write(root.join("404.html"), "lost?").unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte / 7) as u8).collect();
    fs::write(root.join("large.bin"), large).unwrap();
}

/// The proxy with such a site, mounted at a path of one host, and open to all at another.
fn behind_the_proxy(root: &Path, spa: bool) -> Proxy {
    let proxy = Proxy::start();
    let rules = SiteRules { spa, immutable: vec!["assets".into()] };
    let site = Some(Site { root: root.to_owned(), identity: "bundle".into(), rules });
    let all = Route { name: "all".into(), release: 1, site: site.clone(), ..Route::default() };
    let below = Route {
        name: "below".into(),
        hosts: vec!["docs.example".into()],
        path: "/docs".into(),
        strip: true,
        ..Route { site, ..all.clone() }
    };
    let table = Table { version: 1, routes: vec![all, below], ..Table::default() };
    proxy.client().set(&table).unwrap();
    proxy
}

fn with(proxy: &Proxy, request: &str) -> Answer {
    let (line, headers) = request.split_once('|').unwrap_or((request, ""));
    let headers: String =
        headers.split('|').filter(|own| !own.is_empty()).map(|own| format!("{own}\r\n")).collect();
    let host = if headers.contains("Host:") { "" } else { "Host: a\r\n" };
    let mut wire = proxy.connect();
    wire.send(format!("{line} HTTP/1.1\r\n{host}{headers}\r\n"));
    wire.answer_to(line.split(' ').next().unwrap()).unwrap()
}

#[test]
fn the_proxy_answers_with_files_itself() {
    let directory = tempfile::tempdir().unwrap();
    everything(directory.path());
    let proxy = behind_the_proxy(directory.path(), false);
    let ten = with(&proxy, "GET /ten.txt");
    assert_eq!((ten.status, ten.text().as_str()), (200, "0123456789"));
    assert_eq!(ten.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(ten.header("cache-control"), Some("no-cache"));
    assert_eq!(ten.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(ten.header("last-modified"), None);
    let etag = ten.header("etag").unwrap().to_owned();
    for (request, status, body) in [
        (format!("GET /ten.txt|If-None-Match: {etag}"), 304, ""),
        (format!("GET /ten.txt|If-None-Match: \"a\", W/{etag}"), 304, ""),
        (format!("GET /ten.txt|If-Match: {etag}"), 200, "0123456789"),
        ("GET /ten.txt|If-Match: \"other\"".into(), 412, "412: the file is another one now.\n"),
        ("GET /ten.txt|Range: bytes=2-4".into(), 206, "234"),
        ("GET /ten.txt|Range: bytes=-2".into(), 206, "89"),
        ("GET /ten.txt|Range: bytes=7-".into(), 206, "789"),
        ("GET /ten.txt|Range: bytes=10-".into(), 416, "416: the file has no such part.\n"),
        ("GET /ten.txt|Range: bytes=0-1,4-5".into(), 200, "0123456789"),
        (format!("GET /ten.txt|Range: bytes=0-0|If-Range: {etag}"), 206, "0"),
        ("GET /ten.txt|Range: bytes=0-0|If-Range: \"old\"".into(), 200, "0123456789"),
        ("HEAD /ten.txt".into(), 200, ""),
        ("OPTIONS /ten.txt".into(), 204, ""),
        ("GET /nothing".into(), 404, "lost?"),
        ("GET /sub/".into(), 200, "sub"),
        ("GET /assets/".into(), 404, "lost?"),
        ("GET /.well-known/../ten.txt".into(), 404, "lost?"),
        ("DELETE /ten.txt".into(), 405, "405: only GET, HEAD and OPTIONS are offered.\n"),
    ] {
        let answer = with(&proxy, &request);
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{request}");
    }
    assert_eq!(
        with(&proxy, "GET /ten.txt|Range: bytes=2-4").header("content-range"),
        Some("bytes 2-4/10")
    );
    assert_eq!(
        with(&proxy, "GET /ten.txt|Range: bytes=10-").header("content-range"),
        Some("bytes */10")
    );
    assert_eq!(with(&proxy, "OPTIONS /x").header("allow"), Some("GET, HEAD, OPTIONS"));
    for kept in ["/app.3f9a1b2c.css", "/assets/any.woff2"] {
        let answer = with(&proxy, &format!("GET {kept}"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    let moved = with(&proxy, "GET /sub?q");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/sub/?q")));
    let counters = proxy.status().release("all", 1);
    assert_eq!((counters.lost, counters.app_errors, counters.aborted_by_client), (0, 0, 0));
    assert_eq!(counters.requests, counters.latency.count());
}

#[test]
fn a_site_below_a_path_finds_its_files() {
    let directory = tempfile::tempdir().unwrap();
    everything(directory.path());
    let proxy = behind_the_proxy(directory.path(), false);
    assert_eq!(with(&proxy, "GET /docs/ten.txt|Host: docs.example").text(), "0123456789");
    let moved = with(&proxy, "GET /docs?q|Host: docs.example");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/docs/?q")));
    let moved = with(&proxy, "GET /docs/sub|Host: docs.example");
    assert_eq!(moved.header("location"), Some("/docs/sub/"));
    let home = with(&proxy, "GET /docs/|Host: docs.example");
    assert!(home.text().starts_with("<h1>home"), "{}", home.text());
}

#[test]
fn what_is_shorter_compressed_is_sent_so_to_who_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    everything(directory.path());
    let proxy = behind_the_proxy(directory.path(), false);
    let plain = with(&proxy, "GET /app.js");
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, 3_000));
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    let brotli = with(&proxy, "GET /app.js|Accept-Encoding: gzip, br");
    assert_eq!((brotli.header("content-encoding"), &*brotli.text()), (Some("br"), "as brotli"));
    assert_ne!(brotli.header("etag"), plain.header("etag"), "other bytes, another tag");
    let gzip = with(&proxy, "GET /app.js|Accept-Encoding: gzip");
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]) && gzip.body.len() < 300, "{}", gzip.body.len());
    let part = with(&proxy, "GET /app.js|Accept-Encoding: gzip|Range: bytes=0-2");
    assert_eq!((part.status, part.header("content-encoding"), &*part.text()), (206, None, "let"));
    let small = with(&proxy, "GET /ten.txt|Accept-Encoding: gzip");
    assert_eq!((small.header("content-encoding"), small.header("vary")), (None, None));
}

#[test]
fn a_single_page_app_gets_every_page() {
    let directory = tempfile::tempdir().unwrap();
    everything(directory.path());
    let proxy = behind_the_proxy(directory.path(), true);
    for page in ["GET /cart/7", "GET /cart|Accept: text/html,*/*;q=0.8", "HEAD /cart"] {
        let answer = with(&proxy, page);
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (200, Some("no-cache")),
            "{page}"
        );
    }
    for missing in ["GET /gone.js", "GET /api/x|Accept: application/json", "GET /.env"] {
        assert_eq!(with(&proxy, missing).status, 404, "{missing}");
    }
}

#[test]
fn large_files_come_whole_and_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    everything(directory.path());
    let large = fs::read(directory.path().join("large.bin")).unwrap();
    let proxy = behind_the_proxy(directory.path(), false);
    let whole = with(&proxy, "GET /large.bin");
    assert!(whole.body == large);
    let part = with(&proxy, "GET /large.bin|Range: bytes=1000000-1999999");
    assert!(part.status == 206 && part.body == large[1_000_000..2_000_000]);
    assert_eq!(part.header("etag"), whole.header("etag"));
}

#[test]
fn a_release_is_read_once_and_the_next_one_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("1"), directory.path().join("2"));
    for (root, text) in [(&one, "one"), (&two, "two")] {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("index.html"), text).unwrap();
    }
    let proxy = Proxy::start();
    let site = |root: &Path, identity: &str| {
        Some(Site { root: root.to_owned(), identity: identity.into(), rules: SiteRules::default() })
    };
    let route = Route { name: "all".into(), release: 1, site: site(&one, "1"), ..Route::default() };
    let table =
        |version, route: &Route| Table { version, routes: vec![route.clone()], ..Table::default() };
    proxy.client().set(&table(1, &route)).unwrap();
    // One connection, because each worker reads for itself.
    let mut wire = proxy.connect();
    let first = wire.get("/");
    assert_eq!(first.text(), "one");
    fs::remove_file(one.join("index.html")).unwrap();
    assert_eq!(wire.get("/").text(), "one");
    let route = Route { site: site(&two, "2"), release: 2, ..route };
    proxy.client().set(&table(2, &route)).unwrap();
    assert_eq!(wire.get("/").text(), "two");
}

#[test]
fn a_directory_that_is_not_there_leaves_the_requests_to_the_instance() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::start("app");
    let proxy = Proxy::start();
    let mut table = crate::support::table(1, 1, &[&app], 0);
    let root = directory.path().join("gone");
    table.routes[0].site = Some(Site { root, ..Site::default() });
    proxy.client().set(&table).unwrap();
    assert_eq!(with(&proxy, "GET /x").text(), "app /x");
}
