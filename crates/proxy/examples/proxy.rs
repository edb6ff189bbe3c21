//! The proxy alone, for measuring: `proxy CONTROL TABLE_FILE [WORKERS]`, the listening socket as
//! standard input.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(control), Some(table_file)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: proxy CONTROL TABLE_FILE [WORKERS] < LISTENING_SOCKET");
        return ExitCode::from(2);
    };
    let workers = arguments.next().and_then(|number| number.parse().ok());
    let result = onward_proxy::listener_from_stdin().and_then(|listener| {
        onward_proxy::run(onward_proxy::Config {
            https: None,
            listener,
            control: control.into(),
            table_file: table_file.into(),
            workers: workers.unwrap_or_else(onward_proxy::default_workers),
            limits: onward_proxy::Limits::default(),
            access_log: None,
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
