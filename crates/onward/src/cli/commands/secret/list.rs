//! `onward secret list`: names, versions, who and when. Never values.

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::secrets::{SecretName, Secrets};
use serde_json::{Value, json};

use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::reading;
use crate::cli::screen::Screen;
use crate::cli::secrets::serving_version;
use crate::cli::table::Table;

/// Prints the secrets, and those that the project names and that are missing.
pub(super) fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let reading = reading::read(context, screen)?;
    let document = reading.as_ref().map(|reading| &*reading.stored.document);
    let secrets = document.and_then(|document| document.secrets.as_ref());
    let has = |name: &&SecretName| secrets.is_some_and(|own| own.current.contains_key(*name));
    let named = &context.resolved.secrets;
    let missing: Vec<_> = named.iter().filter(|name| !has(name)).collect();
    let rows = secrets.map_or_else(Vec::new, |secrets| lines(context, document, secrets));
    if screen.is_json() {
        screen.document(&json!({
            "app": context.app(),
            "environment": context.environment(),
            "key": secrets.map(|own| json!({"public": own.key.public, "by": own.key.by, "made": own.key.made})),
            "secrets": rows,
            "missing": missing,
        }));
        return Ok(Exit::Done);
    }
    if rows.is_empty() && missing.is_empty() {
        screen.next("No secrets. `onward secret set NAME` sets one");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["NAME", "VERSION", "SET", "BY", "ONWARD.TOML", "SERVING"]);
    let now = Timestamp::now();
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let age = text("set").parse::<Timestamp>().ok();
        let age = age.map(|set| numbers::duration(now.duration_since(set).unsigned_abs()));
        let serving = match (&row["serving"], &row["version"]) {
            (Value::Null, _) => "-".to_owned(),
            (serving, version) if serving == version => "yes".to_owned(),
            (serving, _) => format!("version {serving}; this with the next deploy"),
        };
        table.row([
            text("name"),
            row["version"].to_string(),
            age.map_or_else(String::new, |age| format!("{age} ago")),
            text("by"),
            if row["named"] == json!(true) { "named" } else { "not named" }.to_owned(),
            serving,
        ]);
    }
    for name in &missing {
        let dash = || "-".to_owned();
        table.row([
            name.to_string(),
            "none".to_owned(),
            dash(),
            dash(),
            "named".to_owned(),
            dash(),
        ]);
    }
    for line in table.lines() {
        screen.line(&line);
    }
    if !missing.is_empty() {
        let names = missing.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
        screen.note(&format!("A deploy is refused until `onward secret set {names}`"));
    }
    Ok(Exit::Done)
}

fn lines(context: &Context, document: Option<&Document>, secrets: &Secrets) -> Vec<Value> {
    let line = |name: &SecretName| {
        let (version, value) = secrets.current(name)?;
        Some(json!({
            "name": name,
            "version": version,
            "set": value.set,
            "by": value.by,
            "named": context.resolved.secrets.contains(name),
            "serving": document.and_then(|document| serving_version(document, name)),
        }))
    };
    secrets.current.keys().filter_map(line).collect()
}
