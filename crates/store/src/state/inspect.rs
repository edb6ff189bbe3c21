//! What the current file is, compared with the generations that were written.

use onward_core::document::Document;
use onward_core::model::{Digest, Generation};
use onward_core::ports::StoreError;

use super::sign::Sign;

/// The current file, judged.
#[derive(Debug)]
pub(super) enum Current {
    /// There is none and there never was one.
    None,
    /// It is what was written.
    Good(Document, Digest),
    /// It was written, and its copy in the history is still to be made.
    Unrecorded(Document, Digest),
    /// A sign: the documents are elsewhere.
    Elsewhere(Sign),
    /// A person edited it, validly, and raised the generation by one.
    Edited(Document),
    /// It is neither.
    Damaged(String),
}

/// Judges the bytes of `state.json` against the last generations of the history.
///
/// A document that onward wrote names the digest of its predecessor's bytes as its parent. One
/// that a person made of its predecessor still has the predecessor's own parent.
pub(super) fn judge(
    bytes: Option<&[u8]>,
    last: Option<Generation>,
    recorded: impl Fn(Generation) -> Option<Vec<u8>>,
) -> Current {
    let Some(bytes) = bytes else {
        return match last {
            None => Current::None,
            Some(_) => Current::Damaged("the file is missing".to_owned()),
        };
    };
    if let Some(sign) = Sign::decode(bytes) {
        return Current::Elsewhere(sign);
    }
    let document = match Document::decode(bytes) {
        Ok(document) => document,
        Err(reason) => return Current::Damaged(reason.to_string()),
    };
    let digest = Digest::of(bytes);
    let generation = document.generation;
    if let Some(copy) = recorded(generation) {
        return if copy == bytes {
            Current::Good(document, digest)
        } else {
            Current::Damaged(format!(
                "it differs from generation {generation} as it was written, and does not raise \
                 `generation` to {}",
                last.unwrap_or_default().next()
            ))
        };
    }
    let previous = generation.0.checked_sub(1).map(Generation);
    let parent = previous.and_then(&recorded).map(|copy| Digest::of(&copy));
    if document.parent == parent && (parent.is_some() || generation == Generation(1)) {
        return Current::Unrecorded(document, digest);
    }
    if last.is_some() && previous == last {
        return Current::Edited(document);
    }
    Current::Damaged(format!(
        "its generation is {generation}, and the last one written is {}",
        last.unwrap_or_default()
    ))
}

/// The error of whoever wants a document where there is a sign.
pub(super) fn elsewhere(place: String, sign: Sign) -> StoreError {
    match sign {
        Sign::Moved { to, .. } => StoreError::Moved { place, to: to.to_string() },
        Sign::Arriving { from } => StoreError::Arriving { place, from: from.to_string() },
    }
}

/// The file or object name of a generation.
pub(super) fn recorded_name(generation: Generation) -> String {
    format!("{:08}.json", generation.0)
}

/// The generation of a file or object name.
pub(super) fn recorded_generation(name: &str) -> Option<Generation> {
    name.strip_suffix(".json")?.parse().ok().map(Generation)
}
