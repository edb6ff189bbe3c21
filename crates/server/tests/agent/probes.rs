//! How a release is judged: probes before it takes traffic, the watch after.

use crate::world::{SERVER, World, command, config, instance, signal, web};
use onward_core::model::{Probe, ProbeKind, ReleaseNumber};
use onward_core::order::Level;
use onward_core::report::{InstanceState, Progress};
use rustix::process::Signal;
use std::fs;

#[test]
fn an_app_that_listens_elsewhere_is_told_so() {
    let mut world = World::new();
    let elsewhere = onward_server::process::free_port(&Default::default()).unwrap();
    let mut web = web();
    web.run = onward_core::model::Run::Command(format!("python3 -u server.py {elsewhere}"));
    web.probe.as_mut().unwrap().within_ms = 1_500;
    world.release(1, &[("server.py", SERVER)], config(&[("web", web)]));
    world.level(1, Level::Running, false);
    let order = world.order();
    let failure = |report: &onward_core::report::Report| {
        report.releases.get(&ReleaseNumber(1)).and_then(|own| own.failure.clone())
    };
    let report = world.until(&order, |report| failure(report).is_some());
    let failure = failure(&report).unwrap();
    let wanted = format!("it listens on port {elsewhere}, not on the PORT ");
    assert!(failure.reason.contains(&wanted), "{failure:?}");
    assert_eq!(failure.lines, ["listening"]);
}

#[test]
fn a_bad_answer_and_an_early_end_are_told() {
    let mut world = World::new();
    let kind = ProbeKind::Http { path: "/fail".into(), statuses: vec![], body: None };
    let probe = Probe { kind, within_ms: 700, interval_ms: 100, timeout_ms: 500 };
    let bad = onward_core::model::Process { probe: Some(probe), ..web() };
    world.release(1, &[("server.py", SERVER)], config(&[("web", bad)]));
    world.release(2, &[("a", "")], config(&[("web", command("echo oops; exit 9"))]));
    world.level(1, Level::Running, false);
    world.level(2, Level::Running, false);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.values().filter(|own| own.failure.is_some()).count() == 2
    });
    let failures: Vec<_> =
        report.releases.values().map(|own| own.failure.clone().unwrap()).collect();
    assert_eq!(
        failures[0].reason,
        "web did not answer its probe in time: it answered with status 500"
    );
    assert!(failures[0].answer.as_ref().unwrap().starts_with("HTTP 500: release 1 pid"));
    assert_eq!(failures[1].reason, "web exited with status 9 before it was ready");
    assert_eq!(failures[1].lines.last().unwrap(), "oops");
}

#[test]
fn a_static_site_and_every_kind_of_probe() {
    let mut world = World::new();
    let mut site = web();
    site.run = onward_core::model::Run::Static("public".into());
    let page = ProbeKind::Http {
        path: "/index.html".into(),
        statuses: vec![200],
        body: Some("hello".into()),
    };
    site.probe.as_mut().unwrap().kind = page;
    let mut worker = command("sleep 1000");
    let kind = ProbeKind::Command("test ! -e \"$ONWARD_SHARED/bad\"".into());
    worker.probe = Some(Probe { kind, within_ms: 10_000, interval_ms: 30, timeout_ms: 5_000 });
    world.release(
        1,
        &[("public/index.html", "<p>hello</p>")],
        config(&[("web", site), ("worker", worker)]),
    );
    world.serve(1);
    assert_eq!(world.get("/index.html"), (200, "<p>hello</p>".into()));

    let order = world.last_order();
    let is = |state: InstanceState| {
        world.until(&order, |report| instance(report, 1, "worker").state == state)
    };
    let bad = world.tree().shared().join("bad");
    fs::write(&bad, "").unwrap();
    is(InstanceState::Failing);
    fs::remove_file(&bad).unwrap();
    let report = is(InstanceState::Ready);
    assert_eq!(instance(&report, 1, "worker").restarts, 0, "it is not ended for that");

    let mut plain = web();
    plain.probe.as_mut().unwrap().kind = ProbeKind::Tcp;
    world.release(2, &[("server.py", SERVER)], config(&[("web", plain)]));
    world.serve(2);
    assert!(world.get("/").1.starts_with("release 2 "));
}

#[test]
fn a_watch_notices_an_end_and_server_errors() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let quiet = world.order_watch(1, None, 200);
    let outcome =
        |report: &onward_core::report::Report| report.watch.as_ref().map(|own| own.outcome.clone());
    world.until(&quiet, |report| outcome(report) == Some(Progress::Done));

    let noisy = world.order_watch(1, None, 10_000);
    world.until(&noisy, |report| report.watch.is_some());
    for _ in 0..60 {
        assert_eq!(world.get("/fail").0, 500);
    }
    let failed =
        |report: &onward_core::report::Report| matches!(outcome(report), Some(Progress::Failed(_)));
    let report = world.until(&noisy, failed);
    let Some(Progress::Failed(failure)) = outcome(&report) else { panic!("it failed") };
    assert!(failure.reason.contains("answers after the switch were server errors"));

    let ends = world.order_watch(1, None, 10_000);
    let report = world.until(&ends, |report| outcome(report) == Some(Progress::Running));
    signal(instance(&report, 1, "web").pid.unwrap(), Signal::SEGV);
    let report = world.until(&ends, failed);
    let Some(Progress::Failed(failure)) = outcome(&report) else { panic!("it failed") };
    assert_eq!(failure.reason, "web was killed by signal 11 (SIGSEGV)");
}
