//! Stores a routing table of one version after the one that is there: `store_table FILE`, for tests
//! that kill it.

use std::path::Path;
use std::process::ExitCode;

use onward_proxy::{Instance, Route, Table, load_table, store_table};

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: store_table FILE");
        return ExitCode::from(2);
    };
    let path = Path::new(&file);
    let version = load_table(path).expect("the table is whole").map_or(0, |table| table.version);
    let instance = |number: u16| Instance {
        id: format!("1.web.{number}"),
        addr: ([127, 0, 0, 1], 20_000 + number).into(),
    };
    let route = Route {
        name: "shop/local".to_owned(),
        hosts: Vec::new(),
        release: version + 1,
        instances: (1..=50).map(instance).collect(),
        hold_ms: 10_000,
        ..Route::default()
    };
    store_table(path, &Table { version: version + 1, routes: vec![route], ..Table::default() })
        .expect("stored");
    ExitCode::SUCCESS
}
