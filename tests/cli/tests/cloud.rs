//! The state in a bucket, the servers on this machine: the real binary against a bucket that
//! really speaks S3.

use onward_cli_tests::{Outcome, Project, http};
use onward_testkit::bucket::{Bucket, Dialect};

const SECRET: &str = "canary-of-a-secret";

fn run(project: &Project, arguments: &[&str]) -> Outcome {
    let began = std::time::Instant::now();
    let output = project
        .command(arguments)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "{stdout}{stderr}");
    Outcome { code: output.status.code(), stdout, stderr, took: began.elapsed() }
}

fn project() -> Project {
    let project = Project::empty();
    project.write("public/index.html", "one\n");
    with_store(&project, None);
    project
}

fn with_store(project: &Project, url: Option<&str>) {
    let store = url.map_or_else(String::new, |url| format!("store = \"{url}\"\n"));
    project.write(
        "onward.toml",
        &format!(
            "app = \"shop\"\n[process.web]\nstatic = \"public\"\n[release]\nwatch = \"0s\"\n\
             [environment.local]\n{store}"
        ),
    );
}

fn body(project: &Project) -> String {
    let url = run(project, &["status", "--json"]).code_is(0).json()["url"].clone();
    http::get(url.as_str().expect("an address"), "/").expect("it answers").body
}

#[test]
fn a_line_whose_state_is_in_a_bucket() {
    let bucket = Bucket::start(Dialect::S3);
    let project = project();
    with_store(&project, Some(&bucket.url("state")));
    run(&project, &["up"]).code_is(0);
    assert_eq!(body(&project), "one\n");
    assert!(!project.path().join(".onward/state/shop").exists(), "the state is not here");
    assert!(bucket.keys().contains(&"state/shop/local/state.json".to_owned()));

    project.write("public/index.html", "two\n");
    let before = bucket.log().len();
    run(&project, &["deploy"]).code_is(0);
    let deploy = bucket.log().split_off(before);
    let of = |method: &str| deploy.iter().filter(|asked| asked.method == method).count();
    eprintln!("a deploy: {} reads or lists, {} writes", of("GET"), of("PUT"));
    assert!(deploy.len() < 80, "{}", deploy.len());
    assert_eq!(body(&project), "two\n");

    run(&project, &["rollback"]).code_is(0);
    assert_eq!(body(&project), "one\n");
    let log = run(&project, &["state", "log"]).code_is(0);
    assert!(log.stdout.lines().count() > 5, "{}", log.stdout);
    run(&project, &["state", "diff"]).code_is(0);
    run(&project, &["why", "2"]).code_is(0);

    // A hand in the bucket.
    let head = "state/shop/local/state.json";
    let text = String::from_utf8(bucket.object(head).expect("a head")).expect("text");
    bucket.put(head, text.replace("\"written\": \"2", "\"written\": \"1").as_bytes());
    let refused = run(&project, &["deploy", "--force"]).code_is(3);
    assert!(refused.stderr.contains("is not what onward wrote"), "{}", refused.stderr);
    run(&project, &["state", "undo"]).code_is(0);
    run(&project, &["down", "-y"]).code_is(0);
}

#[test]
fn the_state_moves_to_a_bucket_and_back() {
    let bucket = Bucket::start(Dialect::S3);
    let url = bucket.url("state");
    let project = project();
    run(&project, &["up"]).code_is(0);

    // The line is written before the state is moved: that would be two states.
    with_store(&project, Some(&url));
    let refused = run(&project, &["status"]).code_is(3);
    assert!(refused.stderr.contains("two states"), "{}", refused.stderr);
    assert_eq!(bucket.keys().len(), 0, "nothing was made there");
    with_store(&project, None);

    let moved = run(&project, &["state", "move", &url, "--json"]).code_is(0).finished();
    assert_eq!(moved["outcome"], "moved");
    let line = moved["next"].as_str().expect("what to write");
    assert!(line.ends_with(&format!("store = \"{url}\"")), "{line}");

    // The file still names the old place.
    for arguments in [&["status"][..], &["up"], &["deploy"], &["down", "-y"]] {
        let refused = run(&project, arguments).code_is(3);
        assert!(refused.stderr.contains(&format!("was moved to {url}")), "{}", refused.stderr);
    }
    let again = run(&project, &["state", "move", &url, "--json"]).code_is(0).finished();
    assert_eq!(again["outcome"], "unchanged");

    with_store(&project, Some(&url));
    let again = run(&project, &["state", "move", &url]).code_is(0);
    assert!(again.stdout.contains("Nothing to do"), "{}", again.stdout);
    project.write("public/index.html", "two\n");
    run(&project, &["deploy"]).code_is(0);
    assert_eq!(body(&project), "two\n");

    // A file that names yet another bucket disagrees with what is written here.
    let other = Bucket::start(Dialect::S3);
    with_store(&project, Some(&other.url("state")));
    let refused = run(&project, &["up"]).code_is(3);
    assert!(refused.stderr.contains("two states"), "{}", refused.stderr);

    with_store(&project, Some(&url));
    let back = run(&project, &["state", "move", "default"]).code_is(0);
    assert!(back.stdout.contains("remove the line `store`"), "{}", back.stdout);
    run(&project, &["status"]).code_is(3);
    with_store(&project, None);
    project.write("public/index.html", "three\n");
    run(&project, &["deploy"]).code_is(0);
    assert_eq!(body(&project), "three\n");
    run(&project, &["down", "-y"]).code_is(0);
}

#[test]
fn a_bucket_that_cannot_be_reached_is_told_and_nothing_is_lost() {
    let bucket = Bucket::start(Dialect::S3);
    let project = project();
    with_store(&project, Some(&bucket.url("state")));
    run(&project, &["up"]).code_is(0);
    bucket.plan(|_| onward_testkit::bucket::Trouble::OnlyAnswered(403));
    let refused = run(&project, &["deploy", "--force"]).code_is(1);
    assert!(refused.stderr.contains("the store answered 403"), "{}", refused.stderr);
    bucket.plan(|_| onward_testkit::bucket::Trouble::None);
    assert_eq!(body(&project), "one\n");
    run(&project, &["down", "-y"]).code_is(0);
}
