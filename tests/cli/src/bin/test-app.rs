//! An app that behaves as it is told: `test-app MODE FILE`.
//!
//! | mode | does |
//! |---|---|
//! | `good` | answers everything with its release |
//! | `exits` | ends at once, with status 3 |
//! | `silent` | lives and never listens |
//! | `wrong-port` | listens on another port than it was given |
//! | `errors` | answers its probe with 500 |
//! | `tells` | answers its probe with 500 and with the variable `CANARY` |
//! | `dies` | answers, and ends with status 1 after its first other request |
//! | `slow` | listens only after three seconds |
//! | `killed` | is killed with SIGKILL at its start, as one that uses too much memory is |
//! | `hog` | answers, and is killed with SIGKILL at its first other request |
//!
//! Every request but the probe's, `/up`, is recorded as a line in FILE before it is answered.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How late the slow one listens.
const SLOW: Duration = Duration::from_secs(3);

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let record = PathBuf::from(arguments.next().unwrap_or_default());
    println!("test-app: mode {mode}");
    match mode.as_str() {
        "exits" => {
            eprintln!("test-app: the configuration is missing");
            std::process::exit(3);
        }
        "silent" => loop {
            thread::park();
        },
        "killed" => kill_self(),
        "slow" => thread::sleep(SLOW),
        _ => {}
    }
    let given: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let port = if mode == "wrong-port" { 0 } else { given };
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("test-app: listening on {}", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        let (mode, record) = (mode.clone(), record.clone());
        thread::spawn(move || serve(stream, &mode, &record));
    }
    Ok(())
}

/// Ends like a process that the kernel kills for want of memory.
fn kill_self() {
    eprintln!("test-app: taking more and more memory");
    let _ = Command::new("sh").args(["-c", "kill -9 $PPID"]).status();
    thread::park();
}

fn serve(stream: TcpStream, mode: &str, record: &PathBuf) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while reader.read_line(&mut line)? > 2 {}
        let release = std::env::var("ONWARD_RELEASE").unwrap_or_default();
        if path == "/up" {
            let canary = std::env::var("CANARY").unwrap_or_default();
            let (status, body) = match mode {
                "errors" => ("500 Internal Server Error", "the database is away\n"),
                "tells" => ("500 Internal Server Error", canary.as_str()),
                _ => ("200 OK", "up\n"),
            };
            answer(&mut writer, status, body)?;
            continue;
        }
        let mut file = File::options().create(true).append(true).open(record)?;
        file.write_all(format!("{mode} release {release} {path}\n").as_bytes())?;
        match mode {
            "dies" => {
                eprintln!("test-app: an assertion failed");
                std::process::exit(1);
            }
            "hog" => kill_self(),
            _ => answer(&mut writer, "200 OK", &format!("{mode} release {release}\n"))?,
        }
    }
}

fn answer(writer: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}
