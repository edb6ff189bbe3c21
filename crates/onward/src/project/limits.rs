//! `limits = { memory = "512MB", cpu = "50%", tasks = 200 }` of a process.

use onward_core::model::Limits;

use super::diagnostic::{Code, Diagnostic};
use super::parse::{shown, word};
use super::read::{Item, Sink};
use super::routing::size;
use super::words::Why;

/// The least memory that any program starts in.
const MEMORY_LEAST: u64 = 4 << 20;
/// Hundredths of a processor: up to 1,024 of them.
const CPU: std::ops::RangeInclusive<u32> = 1..=102_400;
/// Processes and threads: a shell and its program, up to what Linux has in all by default.
const TASKS: (u32, u32) = (2, 4_194_304);

/// What one instance may use of its server.
pub(super) fn read(item: &Item<'_>, sink: &mut Sink) -> Option<Limits> {
    let mut section = item.table(sink)?;
    let memory = section.get("memory").and_then(|item| item.text(sink));
    let memory_bytes = memory.and_then(|text| word(sink, Code::InvalidSize, &text, memory_size));
    let cpu = section.get("cpu").and_then(|item| item.text(sink));
    let cpu_percent = cpu.and_then(|text| word(sink, Code::InvalidNumber, &text, percent));
    let tasks = section.get("tasks").and_then(|item| item.number(sink, TASKS.0, TASKS.1));
    let is_empty = section.entries().is_empty();
    section.finish(sink);
    if is_empty {
        let message = format!("`{}` limits nothing", item.path);
        let found = Diagnostic::error(Code::Meaningless, item.value_span(), message, "is empty");
        sink.push(found.help("give it `memory`, `cpu` or `tasks`, or remove it"));
        return None;
    }
    Some(Limits { memory_bytes, cpu_percent, tasks })
}

fn memory_size(text: &str) -> Result<u64, Why> {
    let bytes = size(text)?;
    if bytes < MEMORY_LEAST {
        let help = Some("no program starts in less than 4MiB".to_owned());
        return Err(Why { label: "too little memory".to_owned(), help });
    }
    Ok(bytes)
}

/// `50%` of a processor, `150%` of two.
fn percent(text: &str) -> Result<u32, Why> {
    let why = || Why {
        label: format!("not a share of a processor: \"{}\"", shown(text)),
        help: Some("write `50%` for half a processor, `200%` for two".to_owned()),
    };
    let digits = text.strip_suffix('%').ok_or_else(why)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = is_number.then(|| digits.parse().ok()).flatten().ok_or_else(why)?;
    if CPU.contains(&number) { Ok(number) } else { Err(why()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_processors() {
        for (text, expected) in [
            ("50%", Some(50)),
            ("150%", Some(150)),
            ("0%", None),
            ("50", None),
            ("%", None),
            ("-1%", None),
            ("1.5%", None),
            ("999999%", None),
        ] {
            assert_eq!(percent(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_limit_is_no_way_to_stop_a_program() {
        assert_eq!(memory_size("512MB").ok(), Some(512_000_000));
        assert!(memory_size("1KB").is_err());
    }
}
