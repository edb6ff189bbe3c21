//! The agent and its proxy as one program, for tests of this crate alone: the command lines are
//! those of `onward agent run`, `onward proxy run` and `onward proxy files`.

use std::error::Error;
use std::net::TcpListener;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| -> Option<PathBuf> {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["agent", "run", ..] => {
            let root = value("--root").ok_or("--root is missing")?;
            let config = onward_server::agent::Config {
                runtime_dir: value("--runtime").ok_or("--runtime is missing")?,
                store: value("--store"),
                environment: None,
                bundles: root.join("bundles"),
                binary: std::env::current_exe()?,
                server: "local".parse()?,
                systemd: None,
                root,
            };
            Ok(onward_server::agent::run(config)?)
        }
        ["agent", "stdio", ..] => {
            let runtime = value("--runtime").ok_or("--runtime is missing")?;
            Ok(onward_server::session::stdio(&runtime)?)
        }
        ["agent", "in-terminal", program, ..] => {
            let rest: Vec<_> = arguments[3..].iter().map(Into::into).collect();
            Err(onward_server::process::terminal::become_in_session(&program.into(), &rest).into())
        }
        ["proxy", "run", ..] => {
            let config = onward_proxy::Config {
                https: onward_proxy::https_listener_from_stdout(),
                listener: onward_proxy::listener_from_stdin()?,
                control: value("--control").ok_or("--control is missing")?,
                table_file: value("--table").ok_or("--table is missing")?,
                workers: 1,
                limits: onward_proxy::Limits::default(),
                access_log: None,
            };
            match value("--after") {
                Some(predecessor) => Ok(onward_proxy::run_after(config, &predecessor)?),
                None => Ok(onward_proxy::run(config)?),
            }
        }
        ["proxy", "files", directory] => {
            let port: u16 = std::env::var("PORT")?.parse()?;
            let listener = TcpListener::bind(("127.0.0.1", port))?;
            Ok(onward_proxy::files::serve(directory.as_ref(), Default::default(), listener)?)
        }
        _ => Err("use `agent run`, `agent in-terminal`, `proxy run` or `proxy files`".into()),
    }
}
