//! What would change of machines, as people read it: what is the same on several is told once.

use onward_core::model::ServerName;

/// Something about a machine: a sign, a sentence, and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `~` changes something, `·` does not, `?` has to be answered first.
    pub(super) sign: char,
    pub(super) sentence: String,
    pub(super) details: Vec<String>,
}

/// The lines of all machines, in the order in which they were told first.
pub(super) fn lines(machines: Vec<(&ServerName, Vec<Entry>)>) -> Vec<String> {
    let count = machines.len();
    let mut told: Vec<(Entry, Vec<&ServerName>)> = Vec::new();
    for (name, entries) in machines {
        for entry in entries {
            match told.iter_mut().find(|(own, _)| *own == entry) {
                Some((_, names)) => names.push(name),
                None => told.push((entry, vec![name])),
            }
        }
    }
    let mut lines = Vec::new();
    for (Entry { sign, sentence, details }, names) in told {
        lines.push(format!("{sign} {}: {sentence}", words(&names, count)));
        lines.extend(details.iter().map(|detail| format!("    {detail}")));
    }
    lines
}

fn words(names: &[&ServerName], count: usize) -> String {
    match names {
        [only] => format!("machine {only}"),
        all if all.len() == count => format!("all {count} machines"),
        some => {
            let names: Vec<&str> = some.iter().map(|name| name.as_str()).collect();
            format!("machines {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sentence: &str, details: &[&str]) -> Entry {
        let details = details.iter().map(|&detail| detail.to_owned()).collect();
        Entry { sign: '~', sentence: sentence.to_owned(), details }
    }

    #[test]
    fn what_is_the_same_is_told_once_and_what_differs_in_its_details_is_not() {
        let names: Vec<ServerName> = ["front", "web-1", "web-2"].map(|n| n.parse().unwrap()).into();
        let of = |name, port| (name, vec![entry("keys only", &[]), entry("firewall", &[port])]);
        let all = vec![of(&names[0], "+ 443"), of(&names[1], "+ 80"), of(&names[2], "+ 80")];
        assert_eq!(
            lines(all),
            [
                "~ all 3 machines: keys only",
                "~ machine front: firewall",
                "    + 443",
                "~ machines web-1, web-2: firewall",
                "    + 80",
            ]
        );
        assert_eq!(lines(vec![of(&names[0], "+ 1")])[0], "~ machine front: keys only");
    }
}
