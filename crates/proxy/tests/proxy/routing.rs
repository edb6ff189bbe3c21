//! Several apps behind one proxy: by host, by path, and what the proxy answers itself.

use onward_proxy::{Instance, Limited, Maintenance, Route, Table, Why};

use crate::support::{Answer, App, Proxy, wait_until};

fn route(name: &str, hosts: &[&str], app: &App) -> Route {
    Route {
        name: name.into(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        release: 1,
        instances: vec![Instance { id: app.id.clone(), addr: app.addr }],
        ..Route::default()
    }
}

fn set(proxy: &Proxy, version: u64, routes: &[Route]) {
    let table = Table { version, routes: routes.to_vec(), ..Table::default() };
    proxy.client().set(&table).unwrap();
}

fn ask(proxy: &Proxy, method: &str, host: &str, target: &str) -> Answer {
    let mut wire = proxy.connect();
    wire.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
    wire.answer_to(method).unwrap()
}

#[test]
fn each_host_and_path_has_its_app() {
    let proxy = Proxy::start();
    let (shop, admin, blog) = (App::start("shop"), App::start("admin"), App::start("blog"));
    let mut mounted = route("admin/local", &["shop.example"], &admin);
    (mounted.path, mounted.strip) = ("/admin".into(), true);
    let kept = Route { path: "/raw".into(), ..route("raw/local", &["shop.example"], &admin) };
    let blogs = route("blog/local", &["*.blog.example"], &blog);
    set(&proxy, 1, &[route("shop/local", &["shop.example"], &shop), mounted, kept, blogs]);
    for (host, target, expected) in [
        ("shop.example", "/", "shop /"),
        ("SHOP.example:8080", "/a?b=c", "shop /a?b=c"),
        ("shop.example", "/administrator", "shop /administrator"),
        ("shop.example", "/admin", "admin /"),
        ("shop.example", "/admin?x=1", "admin /?x=1"),
        ("shop.example", "/admin/users?x=1", "admin /users?x=1"),
        ("shop.example", "/raw/users", "admin /raw/users"),
        ("ana.blog.example", "/", "blog /"),
    ] {
        assert_eq!(ask(&proxy, "GET", host, target).text(), expected, "{host}{target}");
    }
    let prefixes: Vec<_> = admin
        .seen()
        .iter()
        .map(|seen| seen.header("x-forwarded-prefix").map(str::to_owned))
        .collect();
    let told = Some("/admin".to_owned());
    assert_eq!(prefixes, [told.clone(), told.clone(), told, None]);
    let unknown = ask(&proxy, "GET", "evil.example", "/");
    assert_eq!(unknown.status, 404);
    assert!(!unknown.text().contains("shop"), "{}", unknown.text());
    assert_eq!(ask(&proxy, "GET", "blog.example", "/").status, 404);
    assert_eq!(proxy.status().unrouted, 2);
}

/// Many frameworks believe these, because they should come from the proxy alone.
#[test]
fn a_client_cannot_speak_for_the_proxy() {
    let proxy = Proxy::start();
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let said = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-For: 6.6.6.7",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 443",
        "X-Forwarded-Ssl: on",
        "X-Forwarded-Scheme: https",
        "X-Forwarded-Server: evil",
        "X-Forwarded-User: admin",
        "X_Forwarded_Ssl: on",
        "Forwarded: for=6.6.6.6",
        "X-Forward: is nobody's",
    ];
    let mut wire = proxy.connect();
    wire.send(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{}\r\n\r\n", said.join("\r\n")));
    assert_eq!(wire.answer().unwrap().status, 200);
    let mut seen = app.seen().remove(0).headers;
    seen.retain(|name, _| name.contains("forward"));
    let told = [
        ("x-forward", "is nobody's"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "http"),
    ];
    let told = told.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
    assert_eq!(seen, std::collections::BTreeMap::from(told));
}

#[test]
fn a_client_cannot_say_where_it_is_mounted() {
    let proxy = Proxy::start();
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /evil\r\nX_Forwarded_Prefix: /e\r\n\r\n",
    );
    assert_eq!(wire.answer().unwrap().status, 200);
    let seen = &app.seen()[0];
    assert_eq!(
        (seen.header("x-forwarded-prefix"), seen.header("x_forwarded_prefix")),
        (None, None)
    );
}

#[test]
fn other_names_lead_to_the_canonical_one() {
    let proxy = Proxy::start();
    let app = App::start("app");
    let mut shop = route("shop/local", &["shop.example", "shop.test"], &app);
    shop.aliases = vec!["www.shop.example".into(), "*.old.example".into()];
    set(&proxy, 1, &[shop]);
    for (method, host, target, status, place) in [
        ("GET", "www.shop.example", "/a?b=%20", 301, "//shop.example/a?b=%20"),
        ("HEAD", "www.shop.example:8080", "/", 301, "//shop.example:8080/"),
        ("POST", "x.old.example", "//evil/x", 308, "//shop.example//evil/x"),
        ("OPTIONS", "x.old.example", "*", 308, "//shop.example/"),
    ] {
        let answer = ask(&proxy, method, host, target);
        assert_eq!((answer.status, answer.header("location")), (status, Some(place)), "{host}");
    }
    assert_eq!(ask(&proxy, "GET", "shop.test", "/x").text(), "app /x", "also a host of its own");
    let counters = proxy.status().release("shop/local", 1);
    assert_eq!((counters.requests, counters.own, counters.lost), (1, 4, 0));
}

#[test]
fn maintenance_answers_for_the_app_and_loses_nothing() {
    let proxy = Proxy::start();
    let (started, release) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
    let (began, may_end) = (std::sync::Mutex::new(started.0), std::sync::Mutex::new(release.1));
    let slow = App::with("slow", move |_, stream| {
        use std::io::Write;
        began.lock().unwrap().send(()).unwrap();
        may_end.lock().unwrap().recv().unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
        Ok(true)
    });
    let shop = route("shop/local", &[], &slow);
    set(&proxy, 1, std::slice::from_ref(&shop));
    let mut in_flight = proxy.connect();
    in_flight.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    started.1.recv().unwrap();
    let on = Maintenance { page: None, retry_after_s: 300 };
    set(&proxy, 2, &[Route { maintenance: Some(on), ..shop.clone() }]);
    let page = proxy.get("/");
    assert_eq!((page.status, page.header("retry-after")), (503, Some("300")));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.text().contains("<h1>Down for maintenance</h1>"));
    let mut wire = proxy.connect();
    wire.send(
        "POST /api HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: 2\r\n\r\n{}",
    );
    let json = wire.answer().unwrap();
    assert_eq!((json.status, json.text().trim()), (503, r#"{"error":"maintenance"}"#));
    release.0.send(()).unwrap();
    assert_eq!(in_flight.answer().unwrap().text(), "done", "what was in flight has finished");
    let own = Maintenance { page: Some("<p>back at six</p>".into()), retry_after_s: 60 };
    set(&proxy, 3, &[Route { maintenance: Some(own), ..shop.clone() }]);
    assert_eq!(proxy.get("/").text(), "<p>back at six</p>");
    set(&proxy, 4, &[shop]);
    release.0.send(()).unwrap();
    assert_eq!(proxy.get("/").text(), "done");
    let counters = proxy.status().release("shop/local", 1);
    assert_eq!((counters.requests, counters.own, counters.lost), (2, 3, 0));
}

#[test]
fn one_route_cannot_take_more_than_its_share() {
    let proxy = Proxy::start();
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let slow = App::with("slow", move |_, stream| {
        use std::io::Write;
        opened.lock().unwrap().recv().unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    });
    let quick = App::start("quick");
    let mut greedy = route("greedy/local", &["greedy.example"], &slow);
    greedy.limits = Limited { body_bytes: Some(10), requests: Some(3) };
    set(&proxy, 1, &[greedy, route("quick/local", &["quick.example"], &quick)]);
    let mut open: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    for wire in &mut open {
        wire.send("GET / HTTP/1.1\r\nHost: greedy.example\r\n\r\n");
    }
    wait_until("three are under way", || {
        proxy.status().instances.iter().map(|own| own.in_flight).sum::<u64>() == 3
    });
    let refused = ask(&proxy, "GET", "greedy.example", "/");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(ask(&proxy, "GET", "quick.example", "/").status, 200, "the neighbour is served");
    (0..3).for_each(|_| gate.send(()).unwrap());
    for wire in &mut open {
        assert_eq!(wire.answer().unwrap().status, 200);
    }
    for (request, status) in [
        ("Content-Length: 11\r\n\r\n12345678901", 413),
        ("Content-Length: 10\r\n\r\n1234567890", 200),
        ("Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n5\r\n78901\r\n0\r\n\r\n", 413),
        ("Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n4\r\n7890\r\n0\r\n\r\n", 200),
    ] {
        gate.send(()).unwrap();
        let mut wire = proxy.connect();
        wire.send(format!("POST / HTTP/1.1\r\nHost: greedy.example\r\n{request}"));
        assert_eq!(wire.answer().unwrap().status, status, "{request}");
    }
    assert_eq!(proxy.status().release("greedy/local", 1).lost, 0);
}

#[test]
fn two_routes_cannot_claim_the_same() {
    let proxy = Proxy::start();
    let app = App::start("app");
    let routes =
        vec![route("a/local", &["x.example"], &app), route("b/local", &["X.example"], &app)];
    let table = Table { version: 1, routes, ..Table::default() };
    let refused = proxy.client().set(&table).unwrap_err();
    assert_eq!(refused.refusal(), Some(Why::Invalid));
    assert!(refused.to_string().contains("x.example is taken by route \"a/local\""), "{refused}");
}

#[test]
fn the_access_log_has_each_request_once_and_no_query() {
    let proxy = Proxy::start();
    let app = App::start("app");
    let logged = Route { access_log: true, ..route("shop/local", &["shop.example"], &app) };
    set(&proxy, 1, &[logged, route("quiet/local", &["quiet.example"], &app)]);
    assert_eq!(ask(&proxy, "GET", "shop.example", "/a?token=secret").status, 200);
    assert_eq!(ask(&proxy, "GET", "quiet.example", "/unlogged").status, 200);
    app.kill();
    assert_eq!(ask(&proxy, "POST", "shop.example", "/b").status, 502);
    let log = proxy.directory.path().join("access.log");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("both are logged", || lines().lines().count() == 2);
    assert!(!lines().contains("secret"), "{}", lines());
    let parsed: Vec<serde_json::Value> =
        lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = &parsed[0];
    for (field, expected) in [
        ("route", serde_json::json!("shop/local")),
        ("client", serde_json::json!("127.0.0.1")),
        ("host", serde_json::json!("shop.example")),
        ("method", serde_json::json!("GET")),
        ("path", serde_json::json!("/a")),
        ("status", serde_json::json!(200)),
        ("bytes", serde_json::json!("app /a?token=secret".len())),
        ("release", serde_json::json!(1)),
        ("instance", serde_json::json!("app")),
        ("by", serde_json::json!("app")),
    ] {
        assert_eq!(first[field], expected, "{field} of {first}");
    }
    assert_eq!((&parsed[1]["status"], &parsed[1]["by"]), (&502.into(), &"proxy".into()));
}

#[test]
fn metrics_are_told_where_the_table_says_and_only_there() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start();
    let app = App::start("app");
    let routes = vec![route("shop/local", &[], &app)];
    let table = Table { version: 1, routes, metrics: vec![free], ..Table::default() };
    proxy.client().set(&table).unwrap();
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/metrics").text(), "app /metrics", "the app's own");
    let ask = |target: &str| {
        let mut stream = TcpStream::connect(free).ok()?;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    wait_until("metrics are told", || ask("/metrics").is_some());
    let text = ask("/metrics").unwrap();
    assert!(text.contains("\nonward_requests_total{route=\"shop/local\"} 2\n"), "{text}");
    assert!(ask("/").unwrap().starts_with("HTTP/1.1 404"));
    let routes = vec![route("shop/local", &[], &app)];
    proxy.client().set(&Table { version: 2, routes, ..Table::default() }).unwrap();
    wait_until("nobody listens any more", || TcpStream::connect(free).is_err());
}
