//! The machines of servers behind SSH: are they what the project file says?

use super::check::Check;
use crate::cli::context::Context;
use crate::cli::machines;
use crate::cli::numbers;

/// Looks at the machines; nothing where there are none, or where one cannot be asked: who asks for
/// its agent says so.
pub fn checks(context: &Context) -> Vec<Check> {
    if context.ways().is_none() {
        return Vec::new();
    }
    let Some(lines) = machines::differences(context) else { return Vec::new() };
    let of = |start: char| lines.iter().filter(|line| line.starts_with(start)).count() as u64;
    let (changes, questions) = (of('~'), of('?'));
    let check = match (changes, questions) {
        (0, 0) => Check::fine("machines", "set up as the project file says"),
        (changes, 0) => Check::warning(
            "machines",
            format!("{} from the project file", numbers::count(changes, "difference")),
            "`onward plan` shows what differs, `onward up` makes it so",
        ),
        (_, questions) => Check::warning(
            "machines",
            format!("{} before they can be hardened", numbers::count(questions, "question")),
            "`onward plan` shows them; `harden`, `open` and `admins` of onward.toml answer",
        ),
    };
    vec![check]
}
