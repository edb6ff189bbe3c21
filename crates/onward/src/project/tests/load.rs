//! Finding and reading the file: each way that can go wrong, with what to type next.

use std::path::Path;

use super::super::{FILE_BYTES_MAX, FILE_NAME, LoadError, load};

/// The error and its help as a person reads them; the directory of the test stands as `DIR`.
fn refused(dir: &Path, asked: &Path) -> String {
    let error = load(asked).expect_err("refused");
    let dir = dir.to_str().expect("a plain path");
    format!("{error}\n{}", error.help()).replace(dir, "DIR")
}

#[test]
fn a_file_that_is_there_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "app = \"a\"\nprocess.web.run = \"b\"\n";
    std::fs::write(dir.path().join(FILE_NAME), text).expect("written");
    let (project, read) = load(dir.path()).expect("legal");
    assert_eq!((project.app.as_str(), read.as_str()), ("a", text));
}

#[test]
fn each_way_to_have_no_project_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let file = dir.join(FILE_NAME);
    let mut shown = Vec::new();
    shown.push(refused(dir, dir));
    shown.push(refused(dir, &dir.join("nowhere")));

    std::fs::create_dir_all(dir.join("a/b")).expect("made");
    std::fs::write(&file, "app = 1\n").expect("written");
    shown.push(refused(dir, &dir.join("a/b")));
    shown.push(refused(dir, dir));

    std::fs::write(&file, b"app = \"\xc3\xa4\n\xc3\xa4\xff\"\n").expect("written");
    shown.push(refused(dir, dir));

    let large = usize::try_from(FILE_BYTES_MAX).expect("small") + 1;
    std::fs::write(&file, vec![b'#'; large]).expect("written");
    shown.push(refused(dir, dir));

    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("made");
    shown.push(refused(dir, dir));

    std::fs::remove_dir(&file).expect("removed");
    std::os::unix::fs::symlink(FILE_NAME, &file).expect("made");
    shown.push(refused(dir, dir));
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn the_largest_file_is_still_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut text = "app = \"a\"\nprocess.web.run = \"b\"\n#".to_owned();
    text.push_str(&"x".repeat(usize::try_from(FILE_BYTES_MAX).expect("small") - text.len()));
    std::fs::write(dir.path().join(FILE_NAME), text).expect("written");
    assert!(load(dir.path()).is_ok());
}

#[test]
fn findings_name_the_file_as_the_user_would() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join(FILE_NAME), "").expect("written");
    let Err(LoadError::Invalid(findings)) = load(dir.path()) else { panic!("nothing in it") };
    assert_eq!(Path::new(&findings.file), dir.path().join(FILE_NAME));
}
