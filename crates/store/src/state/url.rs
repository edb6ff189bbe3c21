//! The URL of a store in a cloud, as the project file says it.
//!
//! ```text
//! s3://BUCKET/PREFIX?region=…&endpoint=…    gs://BUCKET/PREFIX    az://ACCOUNT/CONTAINER/PREFIX
//! ```
//!
//! It says where and never who: credentials come from the environment, and one in the URL is
//! refused. The grammar is here in every build, so that a file is checked without the feature.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Longer than any that is meant.
pub const STORE_URL_BYTES_MAX: usize = 1024;

/// A store in a cloud.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreUrl {
    /// Whose it is.
    pub bucket: Bucket,
    /// What every object's name begins with; empty, or segments with `/` between them.
    pub prefix: String,
    /// Another address than the cloud's own, without a `/` at its end.
    pub endpoint: Option<String>,
}

/// The bucket of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Amazon S3, or what speaks its protocol.
    S3 {
        /// Its name.
        name: String,
        /// Where it is; from the environment when it does not say.
        region: Option<String>,
    },
    /// Google Cloud Storage.
    Google {
        /// Its name.
        name: String,
    },
    /// Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// The container in it.
        container: String,
    },
}

/// Why a text is not the URL of a store. It never repeats what may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct InvalidStoreUrl {
    /// The bytes of the text that are meant.
    pub at: Range<usize>,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub help: String,
    /// Whether what is there is a secret, which must not be shown.
    pub secret: bool,
}

const FORMS: &str = "write \"s3://BUCKET/PREFIX?region=REGION\", \"gs://BUCKET/PREFIX\" or \
                     \"az://ACCOUNT/CONTAINER/PREFIX\"";
const NO_SECRETS: &str = "remove it here and give it to onward in the environment, as the cloud's \
                          own tools read it; whoever has read this file may know it, so make a new \
                          one";
/// Parts of the names of parameters that hold secrets, in lower case.
const SECRET_WORDS: [&str; 8] =
    ["key", "secret", "token", "password", "credential", "sig", "sas", "auth"];

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        Reader { text }.read()
    }
}

struct Reader<'t> {
    text: &'t str,
}

impl<'t> Reader<'t> {
    fn read(&self) -> Result<StoreUrl, InvalidStoreUrl> {
        let all = 0..self.text.len();
        if self.text.len() > STORE_URL_BYTES_MAX {
            return Err(wrong(all, "the URL is too long", FORMS));
        }
        let Some((scheme, rest)) = self.text.split_once("://") else {
            return Err(wrong(all, "this is not the URL of a store", FORMS));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        self.no_user(path)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut parts = path.split('/');
        let first = parts.next().unwrap_or_default();
        let bucket = match scheme {
            "s3" => {
                self.name(first, "a bucket", 3..64, "-.")?;
                Bucket::S3 { name: first.to_owned(), region: None }
            }
            "gs" => {
                self.name(first, "a bucket", 3..223, "-._")?;
                Bucket::Google { name: first.to_owned() }
            }
            "az" => {
                self.name(first, "a storage account", 3..25, "")?;
                let container = parts.next().unwrap_or_default();
                self.name(container, "a container", 3..64, "-")?;
                Bucket::Azure { account: first.to_owned(), container: container.to_owned() }
            }
            _ => return Err(wrong(0..scheme.len(), "no store has this scheme", FORMS)),
        };
        let segments: Vec<&str> = parts.collect();
        segments.iter().try_for_each(|segment| self.segment(segment))?;
        let url = StoreUrl { bucket, prefix: segments.join("/"), endpoint: None };
        self.parameters(url, query)
    }

    /// The bytes of a part of the text.
    fn place(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + part.len()
    }

    fn no_user(&self, authority: &'t str) -> Result<(), InvalidStoreUrl> {
        match authority.rsplit_once('@') {
            Some((user, _)) => Err(secret(self.place(user))),
            None => Ok(()),
        }
    }

    fn name(
        &self,
        name: &str,
        what: &str,
        length: Range<usize>,
        marks: &str,
    ) -> Result<(), InvalidStoreUrl> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c);
        let ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric());
        if length.contains(&name.len()) && name.chars().all(legal) && ends {
            return Ok(());
        }
        let place = if name.is_empty() { 0..self.text.len() } else { self.place(name) };
        let and = if marks.is_empty() { String::new() } else { format!(" and {marks:?}") };
        let what = format!(
            "the name of {what} has {} to {} lower-case letters, digits{and}",
            length.start,
            length.end - 1
        );
        Err(wrong(place, what, FORMS))
    }

    fn segment(&self, segment: &str) -> Result<(), InvalidStoreUrl> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let dots = segment.chars().all(|c| c == '.');
        if !segment.is_empty() && segment.chars().all(legal) && !dots {
            return Ok(());
        }
        let place = self.place(segment);
        let help = "a prefix has segments of letters, digits, `-`, `.` and `_`, with one `/` \
                    between them";
        Err(wrong(place.start..place.end.max(place.start + 1), "not part of a prefix", help))
    }

    fn parameters(&self, mut url: StoreUrl, query: &'t str) -> Result<StoreUrl, InvalidStoreUrl> {
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (key, &mut url.bucket) {
                ("region", Bucket::S3 { region, .. }) if region.is_none() => {
                    self.region(value)?;
                    *region = Some(value.to_owned());
                }
                ("endpoint", _) if url.endpoint.is_none() => {
                    url.endpoint = Some(self.endpoint(value)?);
                }
                ("region" | "endpoint", _) => {
                    let help = "`region` belongs to s3://, and each parameter is given once";
                    return Err(wrong(
                        self.place(part),
                        "this parameter has no meaning here",
                        help,
                    ));
                }
                _ if is_secret(key) => return Err(secret(self.place(part))),
                _ => {
                    let help = "a store has the parameters `region` and `endpoint`";
                    return Err(wrong(self.place(key), "a store has no such parameter", help));
                }
            }
        }
        Ok(url)
    }

    fn region(&self, value: &str) -> Result<(), InvalidStoreUrl> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !value.is_empty() && value.chars().all(legal) {
            return Ok(());
        }
        Err(wrong(self.place(value), "not a region", "write for example `region=eu-west-1`"))
    }

    fn endpoint(&self, value: &'t str) -> Result<String, InvalidStoreUrl> {
        let help = "write for example `endpoint=https://objects.example.com`";
        let bad = |what: &str| wrong(self.place(value), what, help);
        let Some((scheme, rest)) = value.split_once("://") else {
            return Err(bad("not an endpoint"));
        };
        let authority = rest.split('/').next().unwrap_or_default();
        self.no_user(authority)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
        if authority.is_empty() || !rest.chars().all(legal) {
            return Err(bad("not an endpoint"));
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(authority) => {}
            "http" => return Err(bad("an endpoint on another machine has to be https")),
            _ => return Err(bad("not an endpoint")),
        }
        Ok(value.trim_end_matches('/').to_owned())
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn wrong(at: Range<usize>, what: impl Into<String>, help: &str) -> InvalidStoreUrl {
    InvalidStoreUrl { at, what: what.into(), help: help.to_owned(), secret: false }
}

fn secret(at: Range<usize>) -> InvalidStoreUrl {
    let what = "a secret has no place in the URL of a store".to_owned();
    InvalidStoreUrl { at, what, help: NO_SECRETS.to_owned(), secret: true }
}

impl StoreUrl {
    /// The endpoint is on this machine and speaks without TLS.
    pub fn is_plain(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

/// As it is written in the project file: reading it again gives the same.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut region = None;
        match &self.bucket {
            Bucket::S3 { name, region: of } => {
                write!(f, "s3://{name}")?;
                region = of.as_ref();
            }
            Bucket::Google { name } => write!(f, "gs://{name}")?,
            Bucket::Azure { account, container } => write!(f, "az://{account}/{container}")?,
        }
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let parameters = [("region", region), ("endpoint", self.endpoint.as_ref())];
        let given = parameters.into_iter().filter_map(|(key, value)| Some((key, value?)));
        for (i, (key, value)) in given.enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StoreUrl {
        text.parse().unwrap_or_else(|error: InvalidStoreUrl| panic!("{text}: {error}"))
    }

    #[test]
    fn legal_urls_are_read_and_written_the_same() {
        for text in [
            "s3://bucket",
            "s3://my.bucket-1/a/b_c?region=eu-west-1",
            "s3://bucket/p?region=auto&endpoint=https://x.example.com:9000/base",
            "s3://bucket?endpoint=http://127.0.0.1:5000",
            "gs://bucket_1/state",
            "az://account/container/state",
            "az://account/container?endpoint=http://[::1]:10000/account",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("s3://bucket/state/"), read("s3://bucket/state"));
        assert_eq!(
            read("s3://bucket?endpoint=https://x.example.com/"),
            read("s3://bucket?endpoint=https://x.example.com")
        );
    }

    /// The text that is marked, whether it is a secret.
    fn refused(text: &str) -> (String, bool) {
        let error = StoreUrl::from_str(text).expect_err(text);
        (text[error.at].to_owned(), error.secret)
    }

    #[test]
    fn the_place_of_what_is_wrong_is_named() {
        for (text, marked) in [
            ("bucket", "bucket"),
            ("ftp://bucket", "ftp"),
            ("s3://", "s3://"),
            ("s3://UPPER/x", "UPPER"),
            ("s3://ab", "ab"),
            ("s3://bucket/../x", ".."),
            ("s3://bucket/a b", "a b"),
            ("s3://bucket/%2e", "%2e"),
            ("az://account", "az://account"),
            ("az://account/UP", "UP"),
            ("gs://bucket?region=x", "region=x"),
            ("s3://bucket?region=a&region=b", "region=b"),
            ("s3://bucket?region=A!", "A!"),
            ("s3://bucket?size=1", "size"),
            ("s3://bucket?endpoint=x.example.com", "x.example.com"),
            ("s3://bucket?endpoint=http://x.example.com", "http://x.example.com"),
        ] {
            assert_eq!(refused(text), (marked.to_owned(), false), "{text}");
        }
    }

    #[test]
    fn a_secret_is_refused_and_not_repeated() {
        for (text, marked) in [
            ("s3://AKIA:hunter2@bucket/x", "AKIA:hunter2"),
            ("s3://bucket?secret_access_key=hunter2", "secret_access_key=hunter2"),
            ("s3://bucket?aws_session_token=hunter2", "aws_session_token=hunter2"),
            ("az://account/container?sig=hunter2", "sig=hunter2"),
            ("s3://bucket?endpoint=https://user:hunter2@x.example.com", "user:hunter2"),
        ] {
            assert_eq!(refused(text), (marked.to_owned(), true), "{text}");
            let error = StoreUrl::from_str(text).expect_err(text);
            assert!(!format!("{} {}", error.what, error.help).contains("hunter2"));
        }
    }
}
