//! Defaults, and what one environment changes.

use std::time::Duration;

use super::super::*;

fn project(text: &str) -> Project {
    parse(&format!("app = \"shop\"\n{text}")).expect("a legal file")
}

fn wanted(project: &Project, name: &str) -> Result<Resolved, UnknownEnvironment> {
    resolve(project, Some(name.parse().expect("a legal name")))
}

#[test]
fn a_minimal_file_gets_every_default() {
    let resolved = resolve(&project("[process.web]\nrun = \"a\""), None).expect("local");
    assert_eq!(resolved.environment.as_str(), "local");
    assert_eq!(resolved.provider, Provider::Local);
    let web = &resolved.processes[0];
    let probe = web.probe.as_ref().expect("`web` is always probed");
    let Try::Http { path, status, body: None } = &probe.how else { panic!("{probe:?}") };
    assert_eq!(path, "/");
    for (code, accepted) in [(200, true), (302, true), (404, true), (499, true), (500, false)] {
        assert_eq!(status.accept(code), accepted, "{code}");
    }
    assert_eq!(probe.within, Duration::from_secs(30));
    assert_eq!(probe.interval, Duration::from_secs(1));
    assert_eq!(probe.timeout, Duration::from_secs(5));
    assert_eq!((web.stop_signal, web.stop_within), (Signal::Term, Duration::from_secs(10)));
    assert!(web.overlap);
    assert_eq!(resolved.release.watch, Duration::from_secs(1));
    assert_eq!(resolved.release.warm, Duration::from_secs(600));
}

#[test]
fn a_probe_with_a_path_wants_success() {
    let given = project("[process.web]\nrun = \"a\"\nprobe = { path = \"/up\", within = \"3s\" }");
    let resolved = resolve(&given, None).expect("local");
    let probe = resolved.processes[0].probe.as_ref().expect("a probe");
    let Try::Http { path, status, .. } = &probe.how else { panic!("{probe:?}") };
    assert_eq!((path.as_str(), probe.within), ("/up", Duration::from_secs(3)));
    for (code, accepted) in [(200, true), (302, true), (404, false), (500, false)] {
        assert_eq!(status.accept(code), accepted, "{code}");
    }
    let given = project("[process.web]\nrun = \"a\"\nprobe = { path = \"/up\", status = 404 }");
    let resolved = resolve(&given, None).expect("local");
    let probe = resolved.processes[0].probe.as_ref().expect("a probe");
    let Try::Http { status, .. } = &probe.how else { panic!("{probe:?}") };
    assert!(status.accept(404) && !status.accept(200));
}

#[test]
fn only_times_keep_the_default_probe() {
    let given = project("[process.web]\nrun = \"a\"\nprobe = { within = \"5m\" }");
    let resolved = resolve(&given, None).expect("local");
    let probe = resolved.processes[0].probe.as_ref().expect("a probe");
    assert!(matches!(&probe.how, Try::Http { status: Statuses::Below(500), .. }));
    assert_eq!(probe.within, Duration::from_secs(300));
}

#[test]
fn a_worker_is_only_probed_when_asked_for() {
    let given = project(
        "[process.a]\nrun = \"a\"\n[process.b]\nrun = \"b\"\nprobe = { command = \"true\" }",
    );
    let resolved = resolve(&given, None).expect("local");
    assert_eq!(resolved.processes[0].probe, None);
    assert!(!resolved.processes[0].overlap);
    let probe = resolved.processes[1].probe.as_ref().expect("a probe");
    assert!(matches!(&probe.how, Try::Command(command) if command.as_str() == "true"));
}

#[test]
fn a_static_site_has_no_probe_of_its_own() {
    let resolved = resolve(&project("[process.web]\nstatic = \"public\""), None).expect("local");
    assert_eq!(resolved.processes[0].probe, None);
    assert!(
        matches!(&resolved.processes[0].serves, Serves::Static(dir, _) if dir.as_str() == "public")
    );
}

const TWO: &str = "[process.web]\nrun = \"a\"\n[values]\nA = \"all\"\nB = \"all\"\n\
                   [environment.qa]\ndefault = true\nvalues = { B = \"qa\", C = \"qa\" }\n\
                   [environment.stage]\n";

#[test]
fn values_of_the_environment_win() {
    let given = project(TWO);
    let values = |resolved: Resolved| -> Vec<String> {
        resolved.values.iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    assert_eq!(values(wanted(&given, "qa").expect("qa")), ["A=all", "B=qa", "C=qa"]);
    assert_eq!(values(wanted(&given, "stage").expect("stage")), ["A=all", "B=all"]);
    assert_eq!(values(wanted(&given, "local").expect("local")), ["A=all", "B=all"]);
}

#[test]
fn the_default_is_what_the_file_says_else_local() {
    assert_eq!(resolve(&project(TWO), None).expect("qa").environment.as_str(), "qa");
    let given = project("[process.web]\nrun = \"a\"\n[environment.qa]\n");
    assert_eq!(resolve(&given, None).expect("local").environment.as_str(), "local");
    let given = project("[process.web]\nrun = \"a\"\n[environment.local]\nvalues = { A = \"1\" }");
    assert_eq!(resolve(&given, None).expect("local").values.len(), 1);
}

#[test]
fn an_unknown_environment_says_which_there_are() {
    let given = project(TWO);
    let mut shown = String::new();
    for name in ["stag", "production"] {
        let error = wanted(&given, name).expect_err(name);
        shown.push_str(&format!("{error}\n{}\n", error.help()));
    }
    insta::assert_snapshot!(shown);
}

fn roles(resolved: &Resolved) -> Vec<String> {
    let words = |roles: &std::collections::BTreeSet<onward_core::model::Role>| {
        roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let servers = wishes::servers(resolved);
    servers.iter().map(|(name, roles)| format!("{name}: {}", words(roles))).collect()
}

#[test]
fn servers_without_roles_do_everything_and_the_first_one_balances() {
    let given = project(
        "[process.web]\nrun = \"a\"\n[process.mail]\nrun = \"b\"\n\
         [process.clock]\nrun = \"b\"\non = [\"jobs\"]\n[environment.three]\ncount = 3\n\
         [environment.named]\nservers = [{ name = \"one\", roles = [\"balancer\"] }, \
         { name = \"two\" }]\n",
    );
    let local = resolve(&given, None).expect("local");
    assert_eq!(roles(&local), ["local: balancer jobs mail manager web worker"]);
    let three = wanted(&given, "three").expect("three");
    assert_eq!(
        roles(&three),
        [
            "local: balancer jobs mail manager web worker",
            "local-2: jobs mail web worker",
            "local-3: jobs mail web worker",
        ]
    );
    let named = wanted(&given, "named").expect("named");
    assert_eq!(roles(&named), ["one: balancer", "two: jobs mail web worker"]);
}

#[test]
fn counted_servers_of_a_lab_are_not_called_local() {
    let given = project(
        "[process.web]\nrun = \"a\"\n[environment.lab]\nprovider = \"nspawn\"\ncount = 2\n",
    );
    let lab = wanted(&given, "lab").expect("lab");
    assert_eq!(roles(&lab), ["server-1: balancer manager web worker", "server-2: web worker"]);
}
