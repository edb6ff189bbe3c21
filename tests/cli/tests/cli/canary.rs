//! A marked secret is set, and everything that onward prints, keeps or runs is searched for it: as
//! it is, as Base64, as hexadecimal digits, percent-encoded and escaped.
//!
//! Two controls find it: the logs of the app itself, which belong to the app and are not masked on
//! disk; and, in a build for debugging, the same story with masking switched off.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use onward_cli_tests::{Outcome, Project, binary, ended};

const CANARY: &str = "canary/7f3a+9\"d1 x9q";

/// How the canary can look. Found by hand, so that the masker is not asked about itself.
const FORMS: [&str; 9] = [
    CANARY,
    "canary/7f3a+9\\\"d1 x9q",
    "canary%2F7f3a%2B9%22d1%20x9q",
    "canary%2F7f3a%2B9%22d1+x9q",
    "63616e6172792f376633612b392264312078397",
    "63616E6172792F376633612B39226431207839",
    // Base64 with zero, one and two bytes before it, without what its neighbours decide.
    "Y2FuYXJ5LzdmM2ErOSJkMSB4OX",
    "NhbmFyeS83ZjNhKzkiZDEgeDlx",
    "jYW5hcnkvN2YzYSs5ImQxIHg5c",
];

/// An app that tells everything it knows and dies.
const LEAKS: &str = "env; echo \"CANARY is $CANARY\"; printf %s \"$CANARY\" | base64; \
                     printf %s \"u$CANARY\" | base64; printf %s \"us$CANARY\" | base64; \
                     printf %s \"$CANARY\" | od -An -v -tx1 | tr -d ' \\n'; echo; exit 3";

struct Story {
    project: Project,
    unmasked: bool,
    found: RefCell<Vec<String>>,
}

fn holds(bytes: &[u8]) -> bool {
    FORMS.iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

impl Story {
    fn new(unmasked: bool) -> Self {
        let project = Project::empty();
        let app = project.path().join("test-app");
        fs::copy(env!("CARGO_BIN_EXE_test-app"), app).expect("copy the app");
        Self { project, unmasked, found: RefCell::default() }
    }

    fn file(&self, run: &str, release: &str) {
        let run = run.replace('\\', "\\\\").replace('"', "\\\"");
        self.project.write(
            "onward.toml",
            &format!(
                "app = \"trial\"\n[process.web]\nrun = \"{run}\"\n\
                 probe = {{ path = \"/up\", within = \"1s\" }}\n\
                 [release]\nwatch = \"100ms\"\n{release}[secrets]\nnames = [\"CANARY\"]\n\
                 [file.\"rendered.conf\"]\ntemplate = \"conf.j2\"\n"
            ),
        );
        self.template("key = {{ secrets.CANARY }}\n");
    }

    fn template(&self, text: &str) {
        self.project.write("conf.j2", text);
    }

    /// Runs a command, and searches what it prints and the arguments of all processes meanwhile.
    fn run(&self, input: Option<&str>, arguments: &[&str]) -> Outcome {
        let mut command = self.project.command(arguments);
        if self.unmasked {
            command.env("ONWARD_TEST_UNMASKED", "1");
        }
        if let Some(input) = input {
            let file = self.project.path().parent().expect("a parent").join("input");
            fs::write(&file, input).expect("write the input");
            command.stdin(fs::File::open(&file).expect("open the input"));
            fs::remove_file(file).expect("remove the input");
        }
        let outcome = ended(command.spawn().expect("the binary runs"), || {
            for (pid, line) in self.project.processes() {
                self.note(line.as_bytes(), &format!("arguments of process {pid}: {line}"));
            }
        });
        let printed = format!("{}{}", outcome.stdout, outcome.stderr);
        self.note(printed.as_bytes(), &format!("output of {arguments:?}: {printed}"));
        outcome
    }

    /// The same for people and for programs.
    fn both(&self, arguments: &[&str], code: i32) {
        self.run(None, arguments).code_is(code);
        let mut json = arguments.to_vec();
        json.push("--json");
        self.run(None, &json).code_is(code);
    }

    fn note(&self, bytes: &[u8], place: &str) {
        if holds(bytes) {
            self.found.borrow_mut().push(place.to_owned());
        }
    }

    /// Searches every file. Returns those of the app itself that hold it, as they may.
    fn files(&self) -> Vec<PathBuf> {
        let mut own = Vec::new();
        let root = self.project.path();
        for path in files(root.parent().expect("a parent")) {
            let bytes = fs::read(&path).unwrap_or_default();
            if !holds(&bytes) {
                continue;
            }
            let text = path.display().to_string();
            let rendered = text.contains("/releases/") && text.ends_with("/rendered.conf");
            if text.contains("/local/logs/") || text.ends_with("/CANARY") || rendered {
                own.push(path);
            } else {
                self.found.borrow_mut().push(text);
            }
        }
        own
    }

    /// The environment of agent and proxy, which is not that of the app.
    fn own_processes(&self) {
        for role in ["agent", "proxy"] {
            let Some(pid) = self.project.pid_of(role) else { continue };
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            self.note(&environment, &format!("environment of the {role}"));
        }
    }

    fn tell(&self) {
        let good = "./test-app good record";
        self.file(good, "");
        self.both(&["check"], 0);
        self.both(&["plan"], 0);
        self.both(&["up"], 3);
        self.run(Some(&format!("{CANARY}\n")), &["secret", "set", "CANARY"]).code_is(0);
        self.run(Some(CANARY), &["secret", "set", "CANARY", "--json"]).code_is(0);
        let leaks = "env; echo \"$CANARY\"";
        let commands = format!("run = '{leaks}'\ncheck = '{leaks}'\n");
        self.file(good, &commands);
        for arguments in [["up"], ["plan"], ["status"], ["logs"], ["history"], ["why"], ["doctor"]]
        {
            let code = self.run(None, &arguments).code;
            assert!(matches!(code, Some(0 | 1)), "{arguments:?}");
            let mut json = arguments.to_vec();
            json.push("--json");
            self.run(None, &json);
        }
        self.run(Some("another value"), &["secret", "set", "OTHER_KEY", "--json"]).code_is(0);
        for arguments in [
            vec!["secret", "list"],
            vec!["secret", "share", "list"],
            vec!["secret", "key"],
            vec!["state", "show"],
            vec!["state", "log"],
            vec!["state", "diff"],
            vec!["bundle", "list"],
            vec!["bundle", "verify"],
        ] {
            self.both(&arguments, 0);
        }
        self.run(None, &["bundle", "export", &self.label(), "../out.tar"]).code_is(0);
        self.fail(LEAKS, "");
        self.fail("./test-app tells record", "");
        self.fail(good, &format!("run = '{leaks}; exit 4'\n"));
        self.fail(good, &format!("check = '{leaks}; exit 5'\n"));
        // Right with the made-up secret, wrong with the real one, and that in its words.
        self.file(good, "");
        self.template(
            "{% if '7f3a' in secrets.CANARY %}{{ values[secrets.CANARY]|int }}{% endif %}",
        );
        self.both(&["deploy"], 1);
        self.both(&["why"], 0);
        self.file(good, "");
        self.run(Some("the second value"), &["secret", "set", "CANARY", "--now"]).code_is(0);
        self.both(&["rollback", "1"], 0);
        self.both(&["abort"], 3);
        self.both(&["secret", "get", "MISSING"], 2);
        self.both(&["secret", "share", "revoke", "nobody"], 2);
        self.both(&["secret", "rm", "MISSING"], 2);
        self.both(&["logs", "-n", "1000"], 0);
        self.own_processes();
    }

    fn label(&self) -> String {
        self.project.status()["release"]["label"].as_str().expect("a label").to_owned()
    }

    /// A release that fails and tells all it knows, then everything that is told about it.
    fn fail(&self, run: &str, release: &str) {
        self.file(run, release);
        self.both(&["deploy"], 1);
        for arguments in [["why"], ["history"], ["status"], ["logs"]] {
            self.both(&arguments, 0);
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_secret_is_nowhere_but_where_the_app_gets_it() {
    let story = Story::new(false);
    story.tell();
    let own = story.files();
    let has = |part: &str| own.iter().any(|path| path.display().to_string().contains(part));
    assert!(has("/local/logs/"), "the control: the app printed it, and the search finds it there");
    assert!(has("/secrets/1/CANARY"), "the control: the app has it as a file");
    assert!(has("/releases/1/rendered.conf"), "the control: it was rendered into a file");
    assert_eq!(*story.found.borrow(), Vec::<String>::new());
    story.both(&["down", "-y"], 0);
    let own = story.files();
    let left = |name| own.iter().any(|path| path.ends_with(name));
    assert!(!left("CANARY") && !left("rendered.conf"), "gone with the release: {own:?}");
    story.both(&["logs", "-n", "1000"], 0);
    assert_eq!(*story.found.borrow(), Vec::<String>::new());
}

#[test]
fn without_masking_the_same_search_finds_it_everywhere() {
    let story = Story::new(true);
    story.tell();
    story.files();
    let found = story.found.borrow();
    let is_debug = binary().components().any(|part| part.as_os_str() == "debug");
    if !is_debug {
        assert_eq!(*found, Vec::<String>::new(), "the switch is not in what people install");
        return;
    }
    for part in [
        "output of [\"deploy\"]",
        "output of [\"why\"",
        "output of [\"logs\"",
        "state.json",
        "app.json",
    ] {
        assert!(found.iter().any(|place| place.contains(part)), "{part} in {found:#?}");
    }
}
