//! What a newer onward says and this one does not know.
//!
//! Fields that are unknown to a type are dropped when it is read. For what only informs that is
//! right; an order or a kept file that asks for something must not be followed in part, and not be
//! overwritten by what is left of it.

use serde::Serialize;
use serde_json::Value;

/// The path of the first field in `given` that `read`, which was read from it, has not kept; `None`
/// when it has kept all that asks for something. A field without a content asks for nothing.
pub fn field<T: Serialize>(given: &Value, read: &T) -> Option<String> {
    let kept = serde_json::to_value(read).ok()?;
    lost(given, &kept).map(|path| path.trim_start_matches('.').to_owned())
}

fn lost(given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            given.iter().find_map(|(name, value)| match kept.get(name) {
                Some(kept) => lost(value, kept).map(|rest| format!(".{name}{rest}")),
                None if is_empty(value) => None,
                None => Some(format!(".{name}")),
            })
        }
        (Value::Array(given), Value::Array(kept)) => {
            given.iter().zip(kept).enumerate().find_map(|(at, (given, kept))| {
                lost(given, kept).map(|rest| format!("[{at}]{rest}"))
            })
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Own {
        name: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inner: Vec<Inner>,
    }

    #[derive(Serialize, Deserialize)]
    struct Inner {
        port: u16,
    }

    fn of(given: &Value) -> Option<String> {
        let read: Own = serde_json::from_value(given.clone()).expect("it reads");
        field(given, &read)
    }

    #[test]
    fn what_asks_for_something_and_is_not_known_is_named() {
        assert_eq!(of(&json!({"name": "a", "inner": [{"port": 1}]})), None);
        assert_eq!(of(&json!({"name": "a", "gpu": 2})), Some("gpu".into()));
        let deep = json!({"name": "a", "inner": [{"port": 1}, {"port": 2, "tls": {"on": true}}]});
        assert_eq!(of(&deep), Some("inner[1].tls".into()));
    }

    #[test]
    fn what_asks_for_nothing_is_no_matter() {
        let given = json!({"name": "a", "inner": [], "gpu": null, "tags": [], "x": {}, "y": false});
        assert_eq!(of(&given), None);
    }
}
