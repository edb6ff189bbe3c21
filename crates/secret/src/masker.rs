//! Taking known secrets out of text.
//!
//! This is the second line of defence: onward shows no secret by itself, but an app may print one,
//! and what it printed is shown and kept where a release fails.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use onward_core::secrets::SecretName;

use crate::hidden::Secret;

/// Shorter values are not looked for, in bytes: they would be found in ordinary words.
pub const MASKED_BYTES_MIN: usize = 6;
/// Shorter lines of a value with several lines are not looked for alone, in bytes.
const LINE_BYTES_MIN: usize = 12;
/// Shorter pieces of Base64 are not looked for, in bytes.
const BASE64_BYTES_MIN: usize = 8;
/// Of a longer value the encoded forms are not looked for, in bytes, so that large values stay
/// cheap. Its plain lines are.
const ENCODED_BYTES_MAX: usize = 8 << 10;
/// Lets the values through, so that a test can show that it would find them. Only of use in builds
/// for debugging.
pub const UNMASKED: &str = "ONWARD_TEST_UNMASKED";

/// Knows secrets, and takes them out of text: as they are, line by line, as Base64 (also inside a
/// longer text that was encoded as a whole), as hexadecimal digits, percent-encoded and escaped as
/// in JSON.
///
/// # Caveats
/// Values shorter than [`MASKED_BYTES_MIN`] are left. Any other encoding is not recognised.
#[derive(Clone, Default)]
pub struct Masker {
    search: Option<AhoCorasick>,
    /// What stands in the place of each pattern.
    masks: Vec<String>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} patterns)", self.masks.len())
    }
}

impl Masker {
    /// One that knows these.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a SecretName, &'a Secret)>) -> Self {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut masks = Vec::new();
        if cfg!(debug_assertions) && std::env::var_os(UNMASKED).is_some() {
            return Self::default();
        }
        for (name, secret) in secrets {
            for form in forms(secret.expose()) {
                patterns.push(form);
                masks.push(format!("[{name}]"));
            }
        }
        if patterns.is_empty() {
            return Self::default();
        }
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns);
        let wiped = patterns.into_iter().map(Secret::new);
        drop(wiped.collect::<Vec<_>>());
        Self { search: Some(search.expect("a few thousand short patterns fit")), masks }
    }

    /// The text with `[NAME]` in the place of each known secret.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.search {
            Some(search) if search.is_match(text) => search.replace_all(text, &self.masks).into(),
            _ => Cow::Borrowed(text),
        }
    }

    /// The same for bytes that need not be text.
    pub fn mask_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        match &self.search {
            Some(search) if search.is_match(bytes) => {
                search.replace_all_bytes(bytes, &self.masks).into()
            }
            _ => Cow::Borrowed(bytes),
        }
    }
}

/// The forms in which a value is looked for.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let several = lines.clone().count() > 1;
    if several {
        forms.extend(lines.filter(|line| line.len() >= LINE_BYTES_MIN).map(<[u8]>::to_vec));
    }
    let value = value.trim_ascii();
    if value.len() < MASKED_BYTES_MIN {
        return forms;
    }
    forms.push(value.to_vec());
    if value.len() > ENCODED_BYTES_MAX {
        return forms;
    }
    for alphabet in [BASE64, BASE64_URL] {
        forms.extend((0..3).map(|lead| inside_base64(value, lead, alphabet)));
    }
    forms.retain(|form| form.len() >= MASKED_BYTES_MIN);
    forms.push(value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    forms.push(value.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect());
    for (upper, plus) in [(true, false), (false, false), (true, true)] {
        forms.push(percent(value, upper, plus));
    }
    forms.push(json(value));
    forms.sort_unstable();
    forms.dedup();
    forms
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The letters of Base64 that the value alone decides when `lead` bytes (modulo 3) stand before it.
/// Empty when they are too few to be told from chance.
fn inside_base64(value: &[u8], lead: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let mut bits = vec![0_u8; lead];
    bits.extend_from_slice(value);
    let letters = bits.len() * 8 / 6;
    let letter = |at: usize| {
        let (byte, shift) = (at * 6 / 8, at * 6 % 8);
        let pair = u16::from(bits[byte]) << 8 | u16::from(*bits.get(byte + 1).unwrap_or(&0));
        alphabet[usize::from(pair >> (10 - shift) & 0x3f)]
    };
    let first = (lead * 8).div_ceil(6);
    let found: Vec<u8> = (first..letters).map(letter).collect();
    if found.len() < BASE64_BYTES_MIN { Vec::new() } else { found }
}

fn percent(value: &[u8], upper: bool, plus: bool) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => vec![*byte],
        b' ' if plus => b"+".to_vec(),
        _ if upper => format!("%{byte:02X}").into_bytes(),
        _ => format!("%{byte:02x}").into_bytes(),
    };
    value.iter().flat_map(one).collect()
}

fn json(value: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        b'"' => br#"\""#.to_vec(),
        b'\\' => br"\\".to_vec(),
        b'\n' => br"\n".to_vec(),
        b'\r' => br"\r".to_vec(),
        b'\t' => br"\t".to_vec(),
        0..=0x1f => format!("\\u{byte:04x}").into_bytes(),
        _ => vec![*byte],
    };
    value.iter().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "s3cr3t/canary+42 \"x\"";

    fn masker(value: &str) -> Masker {
        Masker::new([(&"KEY".parse().unwrap(), &Secret::from(value))])
    }

    /// Base64 of a whole text, as any program writes it.
    fn base64(text: &[u8], alphabet: &[u8; 64]) -> String {
        let mut out = String::new();
        for three in text.chunks(3) {
            let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
            let word = word << (8 * (3 - three.len()));
            for at in 0..=three.len() {
                out.push(char::from(alphabet[(word >> (18 - 6 * at) & 0x3f) as usize]));
            }
        }
        out
    }

    #[test]
    fn every_form_is_taken_out() {
        let masker = masker(CANARY);
        assert_eq!(base64(b"onward!", BASE64), "b253YXJkIQ");
        let mut texts = vec![
            CANARY.to_owned(),
            format!("pass={CANARY}; next"),
            "73336372337 no".to_owned()
                + &CANARY.bytes().map(|b| format!("{b:02x}")).collect::<String>(),
            CANARY.bytes().map(|b| format!("{b:02X}")).collect(),
            "s3cr3t%2Fcanary%2B42%20%22x%22".to_owned(),
            "s3cr3t%2Fcanary%2B42+%22x%22".to_owned(),
            r#"{"a":"s3cr3t/canary+42 \"x\""}"#.to_owned(),
        ];
        for before in ["", "u:", "us:", "user:"] {
            for after in ["", "!", "@host", "@h"] {
                let text = format!("{before}{CANARY}{after}");
                texts.push(base64(text.as_bytes(), BASE64));
                texts.push(base64(text.as_bytes(), BASE64_URL));
            }
        }
        for text in texts {
            let masked = masker.mask(&text);
            assert!(masked.contains("[KEY]"), "{text} → {masked}");
            assert!(!masked.contains("canary"), "{masked}");
        }
        assert_eq!(masker.mask("an ordinary line"), "an ordinary line");
    }

    #[test]
    fn the_lines_of_a_long_value_are_taken_out_one_by_one() {
        let masker = masker("-----BEGIN KEY-----\nMIIBVgIBADANBgkq\nshort\n-----END KEY-----\n");
        assert_eq!(masker.mask("got MIIBVgIBADANBgkq and short"), "got [KEY] and short");
        assert_eq!(masker.mask_bytes(b"\xffMIIBVgIBADANBgkq\xff").as_ref(), b"\xff[KEY]\xff");
    }

    #[test]
    fn short_values_are_left() {
        assert_eq!(masker("12345").mask("12345"), "12345");
        assert_eq!(masker("123456").mask("123456"), "[KEY]");
    }

    proptest::proptest! {
        #[test]
        fn what_was_masked_is_not_there(
            value in "[a-zA-Z0-9/+=\"\\\\ ]{8,40}",
            before in ".{0,20}",
            after in ".{0,20}",
        ) {
            let trimmed = value.trim();
            proptest::prop_assume!(trimmed.len() >= MASKED_BYTES_MIN);
            let masker = masker(&value);
            let text = format!("{before}{trimmed}{after}");
            let masked = masker.mask(&text);
            proptest::prop_assert!(!masked.contains(trimmed) || trimmed.contains("[KEY]"));
        }
    }
}
