//! Texts inside the files of systemd and nginx.

pub(super) use onward_server::systemd::transient::environment_value as value;

/// A word of `ExecStart=`, quoted: nothing in it is expanded.
pub(super) fn word(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '$' => quoted.push_str("$$"),
            '%' => quoted.push_str("%%"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a setting that is a path: only specifiers are expanded there.
pub(super) fn path(text: &str) -> String {
    text.replace('%', "%%")
}

/// A word of an nginx configuration. Variables of nginx cannot be quoted, so no `$` is passed.
pub(super) fn nginx(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_expanded() {
        assert_eq!(word("a \"b\" $C %d\\\n"), r#""a \"b\" $$C %%d\\\n""#);
        assert_eq!(value("a \"b\" $C `d` \\"), r#""a \"b\" \$C \`d\` \\""#);
    }
}
