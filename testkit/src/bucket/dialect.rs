//! What requests mean, and how answers look, in each cloud.

use super::http::{Answer, Request, decoded};
use super::objects::{Content, Result as Came};

/// Whose protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Amazon S3: `If-None-Match`, `If-Match`.
    S3,
    /// Google Cloud Storage, its XML interface: `x-goog-if-generation-match`.
    Google,
    /// Azure Blob Storage: like S3, with other answers.
    Azure,
}

/// When a write is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    Absent,
    Etag(String),
    Generation(u64),
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Get { key: String },
    Put { key: String, bytes: Vec<u8>, when: Condition },
    Delete { key: String },
    List { prefix: String, after: Option<String> },
}

impl Action {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key } => key,
            Self::List { prefix, .. } => prefix,
        }
    }

    pub(super) fn without_condition(&self) -> Self {
        match self {
            Self::Put { key, bytes, .. } => {
                Self::Put { key: key.clone(), bytes: bytes.clone(), when: Condition::None }
            }
            other => other.clone(),
        }
    }
}

/// The day of every object: nobody here looks at it.
const RFC_2822: &str = "Sat, 21 Nov 2026 12:00:00 GMT";
const RFC_3339: &str = "2026-11-21T12:00:00.000Z";

impl Dialect {
    /// What a request means; the refusal of one that means nothing here.
    pub(super) fn read(self, request: &Request) -> Result<Action, Answer> {
        let unknown = || Answer::error(501, "NotImplemented");
        let path = request.path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket != "bucket" {
            return Err(Answer::error(404, "NoSuchBucket"));
        }
        let key = decoded(key);
        let listing = ["list-type", "comp"].iter().any(|key| request.query.contains_key(*key));
        match request.method.as_str() {
            "GET" if key.is_empty() && listing => {
                let get = |name: &str| request.query.get(name).cloned();
                let after = get("continuation-token").or_else(|| get("marker"));
                Ok(Action::List { prefix: get("prefix").unwrap_or_default(), after })
            }
            "GET" if !key.is_empty() => Ok(Action::Get { key }),
            "PUT" if !key.is_empty() => {
                let when = self.condition(request)?;
                Ok(Action::Put { key, bytes: request.body.clone(), when })
            }
            "DELETE" if !key.is_empty() => Ok(Action::Delete { key }),
            _ => Err(unknown()),
        }
    }

    fn condition(self, request: &Request) -> Result<Condition, Answer> {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        if self == Self::Google {
            return match header("x-goog-if-generation-match").map(str::parse) {
                None => Ok(Condition::None),
                Some(Ok(0)) => Ok(Condition::Absent),
                Some(Ok(number)) => Ok(Condition::Generation(number)),
                Some(Err(_)) => Err(Answer::error(400, "InvalidArgument")),
            };
        }
        if self == Self::Azure && header("x-ms-blob-type") != Some("BlockBlob") {
            return Err(Answer::error(400, "MissingRequiredHeader"));
        }
        match (header("if-none-match"), header("if-match")) {
            (None, None) => Ok(Condition::None),
            (Some("*"), None) => Ok(Condition::Absent),
            (None, Some(etag)) => Ok(Condition::Etag(etag.to_owned())),
            _ => Err(Answer::error(501, "NotImplemented")),
        }
    }

    /// The answer to what came of an action.
    pub(super) fn answer(self, came: &Came) -> Answer {
        match came {
            Came::Found(content) => self
                .with_version(Answer::new(200, content.bytes.clone()), content)
                .header("Last-Modified", RFC_2822)
                .header("Content-Type", "application/json"),
            Came::NotFound => Answer::error(404, self.words("NoSuchKey", "BlobNotFound")),
            Came::Written(content) => {
                let status = if self == Self::Azure { 201 } else { 200 };
                self.with_version(Answer::new(status, Vec::new()), content)
            }
            Came::Deleted => Answer::new(if self == Self::Azure { 202 } else { 204 }, Vec::new()),
            Came::Exists if self == Self::Azure => Answer::error(409, "BlobAlreadyExists"),
            Came::Gone if self == Self::S3 => Answer::error(404, "NoSuchKey"),
            Came::Exists | Came::Changed | Came::Gone => {
                Answer::error(412, self.words("PreconditionFailed", "ConditionNotMet"))
            }
            Came::NotImplemented => Answer::error(501, "NotImplemented"),
            Came::Listed(names, next) => {
                let text = match self {
                    Self::S3 | Self::Google => list_of_s3(names, next.as_deref()),
                    Self::Azure => list_of_azure(names, next.as_deref()),
                };
                Answer::new(200, text.into_bytes()).header("Content-Type", "application/xml")
            }
        }
    }

    fn words(self, all: &'static str, azure: &'static str) -> &'static str {
        if self == Self::Azure { azure } else { all }
    }

    fn with_version(self, answer: Answer, content: &Content) -> Answer {
        let answer = match &content.etag {
            Some(etag) => answer.header("ETag", etag.clone()),
            None => answer,
        };
        match self {
            Self::Google => answer.header("x-goog-generation", content.generation.to_string()),
            Self::S3 | Self::Azure => answer,
        }
    }
}

fn list_of_s3(names: &[(String, Content)], next: Option<&str>) -> String {
    let mut text = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", next.is_some());
    for (key, content) in names {
        text.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>{RFC_3339}</LastModified><ETag>{}</ETag>\
             <Size>{}</Size></Contents>",
            content.etag.as_deref().unwrap_or_default(),
            content.bytes.len()
        ));
    }
    if let Some(next) = next {
        text.push_str(&format!("<NextContinuationToken>{next}</NextContinuationToken>"));
    }
    text.push_str("</ListBucketResult>");
    text
}

fn list_of_azure(names: &[(String, Content)], next: Option<&str>) -> String {
    let mut text = "<EnumerationResults><Blobs>".to_owned();
    for (key, content) in names {
        text.push_str(&format!(
            "<Blob><Name>{key}</Name><Properties><Last-Modified>{RFC_2822}</Last-Modified>\
             <Content-Length>{}</Content-Length><Content-Type>application/json</Content-Type>\
             <Etag>{}</Etag></Properties></Blob>",
            content.bytes.len(),
            content.etag.as_deref().unwrap_or_default()
        ));
    }
    text.push_str(&format!(
        "</Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
        next.unwrap_or_default()
    ));
    text
}
