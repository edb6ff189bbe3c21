//! The files that AWS's own tools read: credentials and region of a profile.
//!
//! Keys that stand in the files are read. Single sign-on and commands that print credentials are
//! not carried out; `aws configure export-credentials --format env` turns both into variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the files say of the profile in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) keys: Option<Keys>,
    pub(super) region: Option<String>,
}

/// Long-lived or temporary keys.
#[derive(PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(hidden)")
    }
}

/// The profile that the environment names, else the default one.
///
/// # Errors
/// When a profile is named and no file has it.
pub(super) fn profile(variable: impl Fn(&str) -> Option<String>) -> Result<Profile, String> {
    let named = variable("AWS_PROFILE");
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".aws"));
    let file = |name: &str, default: &str| {
        variable(name).map(PathBuf::from).or_else(|| Some(home()?.join(default)))
    };
    let name = named.as_deref().unwrap_or("default");
    let credentials = section(file("AWS_SHARED_CREDENTIALS_FILE", "credentials").as_deref(), name);
    let title = if name == "default" { name.to_owned() } else { format!("profile {name}") };
    let config = section(file("AWS_CONFIG_FILE", "config").as_deref(), &title);
    if named.is_some() && credentials.is_none() && config.is_none() {
        return Err(format!("AWS_PROFILE names `{name}`, which is in none of AWS's files"));
    }
    let all: BTreeMap<String, String> = config.into_iter().chain(credentials).flatten().collect();
    let get = |key: &str| all.get(key).cloned();
    let keys = match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Some(Keys { id, secret, token: get("aws_session_token") }),
        _ => None,
    };
    Ok(Profile { keys, region: get("region") })
}

fn section(path: Option<&Path>, title: &str) -> Option<BTreeMap<String, String>> {
    in_text(&std::fs::read_to_string(path?).ok()?, title)
}

/// The keys below `[title]`.
fn in_text(text: &str, title: &str) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        // Indented lines belong to the key above, which is none that is read here.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.split_whitespace().eq(title.split_whitespace());
            if inside {
                found.get_or_insert_default();
            }
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            let all = found.get_or_insert_default();
            all.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[default]\naws_access_key_id = AK\nregion=eu-west-1\n\
                        s3 =\n  max_concurrent_requests = 20\n[ profile  shop ]\n\
                        aws_access_key_id=OTHER\n";

    #[test]
    fn a_section_has_its_own_keys() {
        let default = in_text(TEXT, "default").expect("it is there");
        assert_eq!(default["aws_access_key_id"], "AK");
        assert_eq!(default["region"], "eu-west-1");
        assert!(!default.contains_key("max_concurrent_requests"));
        let shop = in_text(TEXT, "profile shop").expect("it is there");
        assert_eq!(shop["aws_access_key_id"], "OTHER");
        assert_eq!(in_text(TEXT, "other"), None);
    }

    #[test]
    fn the_environment_says_which_files_and_which_profile() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::write(&path, text).expect("write");
            path.display().to_string()
        };
        let keys = write("keys", "[shop]\naws_access_key_id=A\naws_secret_access_key=B\n");
        let config = write("config", "[profile shop]\nregion = eu-north-1\n");
        let with = |name: &'static str| {
            let (keys, config) = (keys.clone(), config.clone());
            move |variable: &str| match variable {
                "AWS_PROFILE" => Some(name.to_owned()),
                "AWS_SHARED_CREDENTIALS_FILE" => Some(keys.clone()),
                "AWS_CONFIG_FILE" => Some(config.clone()),
                _ => None,
            }
        };
        let shop = profile(with("shop")).expect("it is there");
        assert_eq!(shop.region.as_deref(), Some("eu-north-1"));
        assert!(shop.keys.is_some_and(|keys| keys.id == "A" && keys.token.is_none()));
        assert!(profile(with("other")).is_err());
        assert_eq!(profile(|_| None), Ok(Profile::default()));
    }
}
