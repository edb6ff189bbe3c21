//! Which process asks an authority, as the document has it: so that whoever comes next sees that it was
//! ended in the middle, and need not wait for it.

use std::fs;

use onward_server::process::{self, Identity};

/// This process: the system since it was started, the name space of its process ids, its id and its
/// start. None where the system does not say.
pub fn this() -> Option<String> {
    let Identity { pid, started } = Identity::of(std::process::id())?;
    Some(format!("{} {pid} {started}", place()?))
}

/// Whether a process that [`this`] named is certain to have ended. Of one that runs elsewhere nothing is
/// known.
pub fn has_ended(process: &str) -> bool {
    let own_place = place().is_some_and(|place| process.starts_with(&format!("{place} ")));
    let mut words = process.rsplitn(3, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (Some(started), Some(pid)) = (number(), number()) else { return false };
    let Ok(pid) = u32::try_from(pid) else { return false };
    own_place && !process::is_running(Identity { pid, started })
}

/// Where process ids mean what they do here.
fn place() -> Option<String> {
    let boot = process::boot_id();
    let ids = fs::read_link("/proc/self/ns/pid").ok()?;
    (!boot.is_empty()).then(|| format!("{boot} {}", ids.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_ended_when_it_ran_here_and_does_not_any_more() {
        let own = this().unwrap();
        assert!(!has_ended(&own), "{own}");
        let later = own.rsplit_once(' ').unwrap();
        assert!(has_ended(&format!("{} 1", later.0)), "another one has its id");
        for elsewhere in [own.replacen(&process::boot_id(), "another", 1), String::new()] {
            assert!(!has_ended(&elsewhere), "{elsewhere:?}");
        }
    }
}
