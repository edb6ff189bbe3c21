//! A static site: a directory with an `index.html`.

use std::path::Path;

use super::{Draft, Runs};

/// Where an `index.html` is looked for, and whether git usually ignores that directory.
const PLACES: [(&str, bool); 5] =
    [(".", false), ("public", false), ("dist", true), ("build", true), ("_site", true)];

/// Adds the site, if there is one.
pub(super) fn describe(dir: &Path, draft: &mut Draft) -> bool {
    let found = PLACES.iter().find(|(place, _)| dir.join(place).join("index.html").is_file());
    let Some((place, ignored)) = found else { return false };
    if *ignored {
        draft.include(*place);
    }
    let whose = if *place == "." { "this directory".to_owned() } else { format!("{place}/") };
    draft.found(format!(
        "{}index.html: a page",
        if *place == "." { String::new() } else { format!("{place}/") }
    ));
    draft.assume(format!("{whose} is a static site, because it has an index.html"));
    draft.web(Runs::Static((*place).to_owned()));
    true
}
