//! From the path of a request to a path beneath the root.

/// The one directory with a dot that the world is meant to see (RFC 8615).
const WELL_KNOWN: &str = ".well-known";
/// What a project at the root of its own site has beside its pages: servers and values, for nobody
/// but the people who deploy it.
const PROJECT_FILES: [&str; 2] = ["onward.toml", "onward.lock"];

/// The wanted path without its leading slash, decoded; `None` when no file can have it: an escape
/// that isn't one, a NUL, an encoded slash, a name that starts with a dot, an empty name,
/// the project file at the root.
pub(crate) fn wanted(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let mut names: Vec<String> = vec![];
    for name in path.split('/') {
        names.push(decode(name)?);
    }
    if matches!(&names[..], [only] if PROJECT_FILES.contains(&only.as_str())) {
        return None;
    }
    let last = names.len() - 1;
    let fine = |(at, name): (usize, &String)| {
        let hidden = name.starts_with('.') && name != WELL_KNOWN;
        !hidden && (at == last || !name.is_empty())
    };
    names.iter().enumerate().all(fine).then(|| names.join("/"))
}

fn decode(name: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digit = |byte: u8| (byte as char).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        if matches!(byte, 0 | b'/') {
            return None;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_paths_beneath() {
        for (path, expected) in [
            ("/", Some("")),
            ("/a/b.css", Some("a/b.css")),
            ("/a/", Some("a/")),
            ("/with%20space/%C3%A9", Some("with space/é")),
            ("/.well-known/x", Some(".well-known/x")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/etc/passwd", None),
            ("/a%2fb", None),
            ("/a%00", None),
            ("/%zz", None),
            ("/%4", None),
            ("/.env", None),
            ("/onward.toml", None),
            ("/%6fnward.toml", None),
            ("/onward.lock", None),
            ("/examples/onward.toml", Some("examples/onward.toml")),
            ("/.git/config", None),
            ("/a//b", None),
            ("//etc/passwd", None),
            ("/%ff", None),
            ("*", None),
        ] {
            assert_eq!(wanted(path).as_deref(), expected, "{path}");
        }
    }
}
