//! The rules that lose packets on the bridge of a lab.

use super::faults::{Cut, End};

/// The rules of a table in the place of those that it has. `link` says through which link of the
/// bridge an end is reached; this machine is reached through none.
pub(super) fn rules(table: &str, cuts: &[Cut], link: &dyn Fn(&End) -> Option<String>) -> String {
    let mut text = format!("table bridge {table} {{}}\ndelete table bridge {table}\n");
    if cuts.is_empty() {
        return text;
    }
    let (mut input, mut forward, mut output) = (String::new(), String::new(), String::new());
    for Cut { from, to } in cuts {
        let came = link(from).map(|link| format!("iifname \"{link}\""));
        let goes = link(to).map(|link| format!("oifname \"{link}\""));
        if let (Some(came), Some(goes)) = (&came, &goes) {
            forward += &format!("    {came} {goes} drop\n");
        }
        if let (Some(came), End::Host | End::Everyone) = (&came, to) {
            input += &format!("    {came} drop\n");
        }
        if let (Some(goes), End::Host | End::Everyone) = (&goes, from) {
            output += &format!("    {goes} drop\n");
        }
    }
    text += &format!("table bridge {table} {{\n");
    for (hook, drops) in [("input", input), ("forward", forward), ("output", output)] {
        let head = format!("    type filter hook {hook} priority filter;\n");
        text += &format!("  chain {hook} {{\n{head}{drops}  }}\n");
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_a_direction() {
        let end = |name: &str| End::Server(name.parse().unwrap());
        let link = |of: &End| match of {
            End::Server(name) if name.as_str() == "one" => Some("vb-a1b2c3d4-2".to_owned()),
            End::Server(_) => Some("vb-a1b2c3d4-3".to_owned()),
            End::Everyone => Some("vb-a1b2c3d4-*".to_owned()),
            End::Host => None,
        };
        let cuts = [
            Cut { from: end("one"), to: end("two") },
            Cut { from: End::Host, to: end("one") },
            Cut { from: end("two"), to: End::Everyone },
        ];
        insta::assert_snapshot!(rules("ownsp_a1b2c3d4", &cuts, &link));
    }

    #[test]
    fn without_a_cut_there_is_no_table() {
        let text = rules("ownsp_a1b2c3d4", &[], &|_| None);
        assert!(text.ends_with("delete table bridge ownsp_a1b2c3d4\n"), "{text}");
    }
}
