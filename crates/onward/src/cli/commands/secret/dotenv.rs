//! Files of `NAME=value` lines, as `.env` files are.
//!
//! Nothing is replaced in a value: a `$` in a password stays one. Errors never repeat a value.

use onward_secret::Secret;

/// What is wrong in a file, and where. Line and column are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: String,
}

/// One entry of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name as it stands there.
    pub(super) name: String,
    /// The line on which it stands.
    pub(super) line: usize,
    pub(super) value: Secret,
}

/// Reads a file:
///
/// ```text
/// # comment
/// NAME=value # comment
/// export NAME='as it is'
/// NAME="with \n, \", \\ and
/// several lines"
/// ```
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Wrong> {
    let mut reader =
        Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1, column: 1 };
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        reader.skip_blank_lines();
        if reader.rest.is_empty() {
            return Ok(entries);
        }
        let entry = reader.entry()?;
        if let Some(first) = entries.iter().find(|first| first.name == entry.name) {
            let what = format!("{} is there twice; first on line {}", entry.name, first.line);
            return Err(Wrong { line: entry.line, column: 1, what });
        }
        entries.push(entry);
    }
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
    column: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(next)
    }

    fn take(&mut self, matches: impl Fn(char) -> bool) -> &'t str {
        let before = self.rest;
        while self.rest.chars().next().is_some_and(&matches) {
            self.next();
        }
        &before[..before.len() - self.rest.len()]
    }

    fn wrong<T>(&self, what: &str) -> Result<T, Wrong> {
        Err(Wrong { line: self.line, column: self.column, what: what.to_owned() })
    }

    fn skip_blank_lines(&mut self) {
        loop {
            self.take(char::is_whitespace);
            if !self.rest.starts_with('#') {
                return;
            }
            self.take(|next| next != '\n');
        }
    }

    fn entry(&mut self) -> Result<Entry, Wrong> {
        let line = self.line;
        if self.rest.starts_with("export ") || self.rest.starts_with("export\t") {
            self.take(|next| next != ' ' && next != '\t');
            self.take(|next| next == ' ' || next == '\t');
        }
        let name =
            self.take(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '-'));
        if name.is_empty() {
            return self.wrong("a line is `NAME=value`");
        }
        self.take(|next| next == ' ' || next == '\t');
        if self.next() != Some('=') {
            return Err(Wrong { line, column: self.column, what: "`=` is missing".to_owned() });
        }
        self.take(|next| next == ' ' || next == '\t');
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'' | '`')) => self.quoted(quote)?,
            _ => self.plain(),
        };
        Ok(Entry { name: name.to_owned(), line, value })
    }

    /// Up to the end of the line, or to a ` #`.
    fn plain(&mut self) -> Secret {
        let line = self.take(|next| next != '\n');
        let comment = line.find(" #").or_else(|| line.find("\t#"));
        let comment = if line.starts_with('#') { Some(0) } else { comment };
        Secret::from(comment.map_or(line, |at| &line[..at]).trim())
    }

    fn quoted(&mut self, quote: char) -> Result<Secret, Wrong> {
        let (line, column) = (self.line, self.column);
        self.next();
        let mut value =
            zeroize::Zeroizing::new(String::with_capacity(self.rest.len().min(64 << 10)));
        loop {
            match self.next() {
                None => {
                    let what = "the quote that begins here does not end".to_owned();
                    return Err(Wrong { line, column, what });
                }
                Some(end) if end == quote => break,
                Some('\\') if quote == '"' => value.push(match self.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(other @ ('\\' | '"' | '\'' | '$')) => other,
                    _ => return self.wrong("`\\` stands before n, r, t, \\, \", ' or $"),
                }),
                Some(other) => value.push(other),
            }
        }
        self.take(|next| next == ' ' || next == '\t' || next == '\r');
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '#']) {
            return self.wrong("something stands behind the closing quote");
        }
        self.take(|next| next != '\n');
        Ok(Secret::from(value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String)> {
        let text_of =
            |entry: Entry| (entry.name, String::from_utf8(entry.value.expose().to_vec()).unwrap());
        read(text).unwrap().into_iter().map(text_of).collect()
    }

    #[test]
    fn the_files_that_people_have_are_understood() {
        let text = "\u{feff}# a comment\r\n\nA=1\r\nexport B = two words # why\nC='#$HOME\\n'\n\
                    D=\"x\\ny\\\"z\\$\"  # end\nE=\"two\nlines\"\nF=\nG=a#b$c=d\nH=#none\n  I=`x y`";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "#$HOME\\n"),
            ("D", "x\ny\"z$"),
            ("E", "two\nlines"),
            ("F", ""),
            ("G", "a#b$c=d"),
            ("H", ""),
            ("I", "x y"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(entries(text), expected);
        assert_eq!(entries(""), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_the_value() {
        for (text, line, column, what) in [
            ("A=1\nsecret canary", 2, 9, "`=` is missing"),
            ("=canary", 1, 1, "a line is `NAME=value`"),
            ("A=1\n\nB=\"canary", 3, 3, "the quote that begins here does not end"),
            ("A='canary' canary", 1, 12, "something stands behind the closing quote"),
            ("A=\"ca\\nary\\q\"", 1, 13, "`\\` stands before n, r, t, \\, \", ' or $"),
            ("A=1\nB=2\nA=canary", 3, 1, "A is there twice; first on line 1"),
        ] {
            let expected = Wrong { line, column, what: what.to_owned() };
            assert_eq!(read(text).map(drop), Err(expected), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(?s).{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn double_quotes_hold_every_value(value in "(?s)[^\0]{0,60}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let found = entries(&format!("A=\"{escaped}\"\nB=1"));
            proptest::prop_assert_eq!(&found[0].1, &value);
            proptest::prop_assert_eq!(&found[1].1, "1");
        }
    }
}
