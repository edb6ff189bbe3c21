//! What a client asks about a file: which coding, which part, and whether it has it already.

use http::header::{self, HeaderMap, HeaderValue};

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    /// Best first: what is usually smallest.
    pub(crate) const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in headers.
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What a file's name ends with that holds another one so.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The coding to answer with, of those that are there; `None`: as it is.
///
/// The client's weights decide, ours only between equal ones (RFC 9110, 12.5.3). A client that says
/// nothing takes the file as it is.
pub(crate) fn coding(headers: &HeaderMap, offered: impl Fn(Coding) -> bool) -> Option<Coding> {
    let mut values = headers.get_all(header::ACCEPT_ENCODING).iter().peekable();
    values.peek()?;
    let mut weights: [Option<u16>; 3] = [None; 3];
    let (mut others, mut identity) = (None, None);
    for part in values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')) {
        let (name, weight) = weighted(part);
        match Coding::ALL.iter().position(|own| name.eq_ignore_ascii_case(own.token())) {
            Some(at) => weights[at] = Some(weight),
            None if name == "*" => others = Some(weight),
            None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
            None if name.eq_ignore_ascii_case("x-gzip") => weights[2] = Some(weight),
            None => {}
        }
    }
    let weight = |at: usize| weights[at].or(others).unwrap_or(0);
    let acceptable = (0..3).filter(|at| weight(*at) > 0 && offered(Coding::ALL[*at]));
    let best = acceptable.max_by_key(|at| (weight(*at), std::cmp::Reverse(*at)))?;
    (weight(best) >= identity.unwrap_or(0)).then_some(Coding::ALL[best])
}

/// `gzip;q=0.5` as its name and its weight in thousandths.
fn weighted(part: &str) -> (&str, u16) {
    let mut parts = part.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts.find_map(|own| own.strip_prefix("q=").or_else(|| own.strip_prefix("Q=")));
    let weight = match quality.map(str::parse::<f32>) {
        None => 1000,
        Some(Ok(quality)) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u16,
        Some(_) => 0,
    };
    (name, weight)
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing stands in the way.
    Go,
    /// The client has it: 304.
    NotModified,
    /// The client wanted another one: 412.
    Failed,
}

/// Compares what the client knows with the file's tag. Times are not looked at: files of a release
/// have none that mean anything.
pub(crate) fn condition(headers: &HeaderMap, etag: &HeaderValue) -> Condition {
    if headers.contains_key(header::IF_MATCH) && !names(headers, &header::IF_MATCH, etag, false) {
        return Condition::Failed;
    }
    if names(headers, &header::IF_NONE_MATCH, etag, true) {
        return Condition::NotModified;
    }
    Condition::Go
}

/// Whether a list of tags names ours. `weak`: a weak tag counts too.
fn names(headers: &HeaderMap, field: &header::HeaderName, etag: &HeaderValue, weak: bool) -> bool {
    let own = etag.as_bytes();
    headers.get_all(field).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|tag| tag == b"*" || tag == own || (weak && tag.strip_prefix(b"W/") == Some(own)))
    })
}

/// Which part of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// From the first to the last of these bytes.
    Range(u64, u64),
    /// None that exists: 416.
    Nothing,
}

/// Whether the request asks for a part at all.
pub(crate) fn wants_part(headers: &HeaderMap) -> bool {
    headers.contains_key(header::RANGE)
}

/// The part that is asked for. Several ranges at once are answered with the whole file, as RFC 9110
/// allows: they cost more than they save, and have been used to tire servers out.
pub(crate) fn part(headers: &HeaderMap, etag: &HeaderValue, size: u64) -> Part {
    let mut all = headers.get_all(header::RANGE).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return Part::Whole };
    // Only a strong tag that is ours; a date never is.
    if headers.get(header::IF_RANGE).is_some_and(|known| known != etag) {
        return Part::Whole;
    }
    let text = only.to_str().unwrap_or_default();
    let Some((unit, range)) = text.split_once('=') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => within(first, size.saturating_sub(1), size),
        (Some(first), Some(last)) if first <= last => within(first, last, size),
        (None, Some(count)) if first.is_empty() && count > 0 && size > 0 => {
            Part::Range(size.saturating_sub(count), size - 1)
        }
        (None, Some(_)) if first.is_empty() => Part::Nothing,
        _ => Part::Whole,
    }
}

/// Digits only: a sign is no part of a range.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn within(first: u64, last: u64, size: u64) -> Part {
    if first >= size { Part::Nothing } else { Part::Range(first, last.min(size - 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_clients_weights_decide() {
        let all = |_| true;
        for (accepts, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("gzip, br", Some(Coding::Brotli)),
            ("gzip;q=0.9, br;q=0.1", Some(Coding::Gzip)),
            ("br;q=0, *", Some(Coding::Zstd)),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("GZIP ; q=1.0", Some(Coding::Gzip)),
            ("deflate", None),
            ("gzip;q=7", None),
            ("", None),
        ] {
            assert_eq!(
                coding(&headers(&[("accept-encoding", accepts)]), all),
                expected,
                "{accepts}"
            );
        }
        assert_eq!(coding(&headers(&[]), all), None);
        let only_gzip = |coding| coding == Coding::Gzip;
        let everything = headers(&[("accept-encoding", "gzip, deflate, br, zstd")]);
        assert_eq!(coding(&everything, only_gzip), Some(Coding::Gzip));
    }

    #[test]
    fn parts_of_ten_bytes() {
        let etag = HeaderValue::from_static("\"x\"");
        for (range, expected) in [
            ("bytes=0-3", Part::Range(0, 3)),
            ("bytes=5-", Part::Range(5, 9)),
            ("bytes=-3", Part::Range(7, 9)),
            ("bytes=-99", Part::Range(0, 9)),
            ("bytes=9-99", Part::Range(9, 9)),
            ("bytes=10-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            assert_eq!(part(&headers(&[("range", range)]), &etag, 10), expected, "{range}");
        }
        let twice = headers(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
        assert_eq!(part(&twice, &etag, 10), Part::Whole);
        assert_eq!(part(&headers(&[("range", "bytes=-1")]), &etag, 0), Part::Nothing);
        for (known, expected) in [
            ("\"x\"", Part::Range(0, 1)),
            ("\"y\"", Part::Whole),
            ("W/\"x\"", Part::Whole),
            ("Sat, 21 Nov 2026 12:00:00 GMT", Part::Whole),
        ] {
            let asked = headers(&[("range", "bytes=0-1"), ("if-range", known)]);
            assert_eq!(part(&asked, &etag, 10), expected, "{known}");
        }
    }

    #[test]
    fn what_the_client_has_already() {
        let etag = HeaderValue::from_static("\"x\"");
        for (pair, expected) in [
            (("if-none-match", "\"x\""), Condition::NotModified),
            (("if-none-match", "\"a\", W/\"x\""), Condition::NotModified),
            (("if-none-match", "*"), Condition::NotModified),
            (("if-none-match", "\"y\""), Condition::Go),
            (("if-match", "\"x\""), Condition::Go),
            (("if-match", "*"), Condition::Go),
            (("if-match", "W/\"x\""), Condition::Failed),
            (("if-match", "\"y\""), Condition::Failed),
            (("if-modified-since", "Sat, 21 Nov 2026 12:00:00 GMT"), Condition::Go),
        ] {
            assert_eq!(condition(&headers(&[pair]), &etag), expected, "{pair:?}");
        }
    }
}
