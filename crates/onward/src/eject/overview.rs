//! What to do with the directories of several servers.

use std::fmt::Write;

use super::File;
use super::nginx::FITS;

/// One server that is left.
#[derive(Debug)]
pub struct Leaving {
    /// Its name, and that of its directory.
    pub server: String,
    /// What runs and answers there, in words.
    pub does: String,
    /// What a person types on their machine, in the directory of all, to bring it there.
    pub brings: String,
    /// The directory on the server in which it will be.
    pub place: String,
}

/// The file that is beside the directories. `down`: what takes onward off all servers at once, when that
/// is one command.
pub fn overview(title: &str, all: &[Leaving], down: Option<&str>) -> File {
    let mut text = format!("# {title} without onward\n\nA directory for each server:\n\n");
    text.push_str("| directory | goes to | what it does there |\n|---|---|---|\n");
    for own in all {
        writeln!(text, "| `{}/` | `{}` | {} |", own.server, own.place, own.does).expect(FITS);
    }
    text.push_str(
        "\n**Secrets are in `env/` and `secrets/` in clear**, keys in `certificates/`.\n",
    );
    text.push_str(
        "\n## Steps\n\n1. Bring each directory to its server, from the directory of this file:\n\n",
    );
    text.push_str("   ```sh\n");
    for own in all {
        writeln!(text, "   {}", own.brings).expect(FITS);
    }
    text.push_str(
        "   ```\n\n2. On each server, the first part of the `README.md` that is there now. It changes nothing of what \
   runs; go on when it has ended well on all of them.\n",
    );
    match down {
        Some(line) => writeln!(text, "3. On your machine: `{line}`. Nothing answers from here on."),
        None => writeln!(text, "3. The next part takes onward off: nothing answers from there on."),
    }
    .expect(FITS);
    text.push_str(
        "4. On each server, the second part; the balancers last. Everything answers again then.\n\nWhat apps have \
         stored is moved, not copied: it is with the app again when its units start.\n",
    );
    File::public("README.md", text)
}
