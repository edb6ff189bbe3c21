//! The static site.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use crate::support::{Answer, Wire};

fn site(directory: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let directory = directory.to_owned();
    thread::spawn(move || onward_proxy::files::serve(&directory, listener));
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
