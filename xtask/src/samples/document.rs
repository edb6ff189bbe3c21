//! The table of the sample applications, and the page of the docs around it.

use std::process::Command;

use super::Sample;
use super::attempt::Outcome;

/// The page, below the root of the repository.
pub const PAGE: &str = "docs/reference/sample-apps.md";

/// The head of the table.
pub const HEAD: &str = "| application | commit | recognised as | answer | seconds | note |\n\
                        |---|---|---|---|---|---|";

/// As many letters of what onward says are shown.
const SAID_MAX: usize = 220;

/// What says its version, and how.
const PROGRAMS: [(&str, &str); 4] =
    [("node", "--version"), ("python3", "--version"), ("ruby", "--version"), ("go", "version")];

/// The page with the table.
pub fn page(tried: &[(&Sample, Outcome)]) -> String {
    let rows: Vec<String> = tried.iter().map(|(sample, outcome)| row(sample, outcome)).collect();
    format!(
        "# Sample applications\n\n\
         Public applications that other people wrote, each at the commit named here: `onward init`, then `onward up`, nothing edited and\n\
         nothing typed in between, then one request. An application works when that request is answered with the status that is expected of\n\
         it, which is 200 at `/` where nothing else is said. The seconds are those of `init` and `up` together, most of them the application's\n\
         own build from an empty home directory. `init` learnt from some of these applications, so they are no blind test.\n\n\
         This page is written by\n\n\
         ```sh\n\
         cargo xtask samples --write                 # clones from GitHub\n\
         cargo xtask samples --write --from DIR      # clones from DIR/OWNER/NAME.git\n\
         ```\n\n\
         on a machine with {}. The list is `xtask/samples.toml`.\n\n\
         {}\n\n{HEAD}\n{}\n",
        versions(),
        sum(tried),
        rows.join("\n")
    )
}

/// One row.
pub fn row(sample: &Sample, outcome: &Outcome) -> String {
    let below = if sample.below.is_empty() { String::new() } else { format!(", {}", sample.below) };
    let answer = match (outcome.status, outcome.works) {
        (Some(status), true) => format!("✓ {status}"),
        (Some(status), false) => format!("✗ {status}"),
        (None, _) => "✗".to_owned(),
    };
    // What this machine has, and where, is nobody's business.
    let told = match (outcome.said.find(" (it has "), outcome.said.find(')')) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}", &outcome.said[..from], &outcome.said[to + 1..])
        }
        _ => outcome.said.clone(),
    };
    let mut said: String = told.chars().take(SAID_MAX).collect();
    if said.len() < told.len() {
        said.push('…');
    }
    let why = if sample.needs.is_empty() { &sample.note } else { &sample.needs };
    let note = match (outcome.works, why.as_str()) {
        (true, _) => String::new(),
        (false, "") => said,
        (false, note) => format!("{note}. {said}"),
    };
    format!(
        "| [{repository}](https://github.com/{repository}){below} | {commit} | {} | {answer} | {:.1} | {} |",
        outcome.kind,
        outcome.seconds,
        note.replace('|', "\\|"),
        repository = sample.repository,
        commit = &sample.commit[..sample.commit.len().min(7)],
    )
}

/// The figures.
pub fn sum(tried: &[(&Sample, Outcome)]) -> String {
    let works = tried.iter().filter(|(_, outcome)| outcome.works).count();
    let lacks =
        |(sample, outcome): &&(&Sample, Outcome)| !outcome.works && !sample.needs.is_empty();
    let lacking = tried.iter().filter(lacks).count();
    format!(
        "**{works} of {} work unedited.** {lacking} of the others want a server, a language, a registry or a secret \
         that this machine does not have; without those it is {works} of {}.",
        tried.len(),
        tried.len() - lacking
    )
}

/// The languages of this machine.
fn versions() -> String {
    let one = |(program, argument): &(&str, &str)| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let version = text.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches(['v', 'g', 'o']);
            word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
        })?;
        Some(format!("{program} {version}"))
    };
    PROGRAMS.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}
