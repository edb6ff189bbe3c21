//! The smallest client that can tell whether an app answers over HTTP.

use onward_core::document::Failure;
use onward_secret::Masker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{connect, says};

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How much of a body is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 200;
/// Statuses that count as success when the probe names none.
const SUCCESS: std::ops::Range<u16> = 200..500;

/// What counts as success.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The statuses; those of [`SUCCESS`] when it names none.
    pub(super) statuses: &'a [u16],
    /// What the body contains.
    pub(super) text: Option<&'a str>,
}

/// Asks for the path once.
pub(super) async fn ask(
    port: u16,
    path: &str,
    wanted: Wanted<'_>,
    masker: &Masker,
) -> Result<(), Failure> {
    let mut stream = connect(port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: onward-probe\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    let broken = |error: std::io::Error| says(format!("it broke the connection: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.map_err(broken)?;
        answer.extend_from_slice(&piece[..read]);
        let is_over = read == 0 || answer.len() >= ANSWER_BYTES_MAX;
        if let Some(parsed) = Parsed::of(&answer) {
            match judge(&parsed, wanted, masker) {
                Ok(()) => return Ok(()),
                Err(failure) if is_over || parsed.is_whole => return Err(failure),
                Err(_) => {}
            }
        } else if is_over {
            return Err(says("it did not answer in HTTP".to_owned()));
        }
    }
}

/// A success may be seen before the whole answer is there, a failure may not.
fn judge(parsed: &Parsed<'_>, wanted: Wanted<'_>, masker: &Masker) -> Result<(), Failure> {
    let Parsed { status, body, .. } = parsed;
    let Wanted { statuses, text } = wanted;
    let good =
        if statuses.is_empty() { SUCCESS.contains(status) } else { statuses.contains(status) };
    // Before it is cut: half a secret is not recognised.
    let shown = masker.mask_bytes(body);
    let shown = String::from_utf8_lossy(&shown[..shown.len().min(SHOWN_BYTES_MAX)]);
    let answer = Some(format!("HTTP {status}: {}", shown.trim()));
    if !good {
        let reason = format!("it answered with status {status}");
        return Err(Failure { reason, answer, ..Failure::default() });
    }
    match text {
        Some(text) if !String::from_utf8_lossy(body).contains(text) => {
            let reason = format!("its answer does not contain `{text}`");
            Err(Failure { reason, answer, ..Failure::default() })
        }
        _ => Ok(()),
    }
}

struct Parsed<'a> {
    status: u16,
    body: &'a [u8],
    /// Whether all of the body is there.
    is_whole: bool,
}

impl<'a> Parsed<'a> {
    /// Takes an answer apart once its head is complete. What follows the head is shown and searched
    /// as it came, chunks and all.
    fn of(answer: &'a [u8]) -> Option<Self> {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&answer[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let is_http = first.next().is_some_and(|version| version.starts_with("HTTP/"));
        let status = first.next()?.parse().ok().filter(|_| is_http)?;
        let body = &answer[end..];
        let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let is_whole = match length {
            Some(length) => body.len() >= length,
            None => body.ends_with(b"0\r\n\r\n"),
        };
        Some(Self { status, body, is_whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_status_and_text() {
        let answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nwait";
        let parsed = Parsed::of(answer).unwrap();
        assert!(parsed.is_whole);
        let none = Masker::default();
        let judge = |statuses, text| judge(&parsed, Wanted { statuses, text }, &none);
        let failure = judge(&[], None).unwrap_err();
        assert_eq!(failure.answer.as_deref(), Some("HTTP 503: wait"));
        assert!(judge(&[503], Some("ai")).is_ok());
        assert!(judge(&[503], Some("go")).is_err());
    }

    #[test]
    fn a_secret_is_taken_out_of_an_answer_before_it_is_cut() {
        let secret = "canary-0123456789";
        let masker = Masker::new([(&"KEY".parse().unwrap(), &secret.into())]);
        let lead = "x".repeat(SHOWN_BYTES_MAX - 6);
        let answer = format!("HTTP/1.1 500 No\r\n\r\n{lead}{secret}");
        let parsed = Parsed::of(answer.as_bytes()).unwrap();
        let failure = judge(&parsed, Wanted { statuses: &[], text: None }, &masker).unwrap_err();
        let shown = failure.answer.unwrap();
        assert!(shown.ends_with("x[KEY]"), "{shown}");
    }

    #[test]
    fn a_part_of_a_head_is_not_an_answer() {
        assert!(Parsed::of(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n").is_none());
        assert!(Parsed::of(b"SSH-2.0 200\r\n\r\n").is_none());
    }
}
