//! A WebSocket that is open when another release comes lives on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use onward_cli_tests::{Project, example, has};

/// The key of RFC 6455 and what a server must make of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [7, 42, 99, 200];

#[test]
fn a_websocket_opened_before_a_deploy_still_echoes_after_it() {
    if !has("node") {
        eprintln!("LEFT OUT: Node.js is missing");
        return;
    }
    let project = Project::empty();
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps");
    example::copy(&apps.join("echo"), &project.path());
    let url = project.run(&["up", "--json"]).code_is(0).finished()["url"].clone();
    let address = url.as_str().expect("an address").trim_start_matches("http://").to_owned();

    let mut before = open(&address);
    assert_eq!(echo(&mut before, "one"), "1: one");
    project.write("change.txt", "a change\n");
    project.run(&["deploy", "--json"]).code_is(0);
    assert_eq!(project.status()["release"]["number"], 2);

    assert_eq!(echo(&mut before, "two"), "1: two", "the open one still speaks with release 1");
    assert_eq!(echo(&mut open(&address), "three"), "2: three", "a new one with release 2");
    assert_eq!(echo(&mut before, "four"), "1: four");
    project.run(&["down", "-y"]).code_is(0);
}

fn open(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the address answers");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("ask");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head of the answer");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains(ACCEPT), "{answer}");
    stream
}

/// Sends a text frame and reads the one that comes back.
fn echo(stream: &mut TcpStream, text: &str) -> String {
    let length = u8::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81, 0x80 | length];
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&frame).expect("the connection is open");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame comes back");
    assert_eq!(head[0], 0x81, "one whole text frame");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).expect("its text");
    String::from_utf8(body).expect("text")
}
