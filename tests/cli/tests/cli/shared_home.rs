//! Several projects and environments on one proxy, and a page in front of one of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use onward_cli_tests::{Project, eventually};

/// A static site that says `text`.
fn site(app: &str, text: &str, environments: &str) -> Project {
    let project = Project::empty();
    project.write(
        "onward.toml",
        &format!("app = \"{app}\"\n[process.web]\nstatic = \"public\"\n{environments}"),
    );
    project.write("public/index.html", text);
    project
}

/// The head and the body of an answer of the proxy at this address, asked by this name.
fn ask(port: &str, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the proxy listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn port_of(url: &str) -> String {
    let authority = url.trim_start_matches("http://").split('/').next().expect("an authority");
    authority.rsplit(':').next().expect("a port").to_owned()
}

#[test]
fn two_projects_share_one_proxy() {
    let shop = site(
        "shop",
        "the shop",
        "[environment.local]\ndomain = \"shop.localhost\"\naliases = [\"www.shop.localhost\"]\n\
         access_log = true\n[environment.qa]\ndomain = \"qa.localhost\"\n",
    );
    let blog = site("blog", "the blog", "");
    let home = shop.path().join("../home");
    let home = home.to_str().expect("text");
    let in_home = |project: &Project, arguments: &[&str]| {
        project.run(&[&["--home", home], arguments].concat())
    };
    in_home(&shop, &["up"]).code_is(0);
    in_home(&shop, &["up", "-e", "qa"]).code_is(0);
    in_home(&blog, &["up"]).code_is(0);
    let url = |project: &Project, environment: &str| {
        let status = in_home(project, &["status", "--json", "-e", environment]).code_is(0).json();
        status["url"].as_str().expect("an address").to_owned()
    };
    let port = port_of(&url(&shop, "local"));
    assert_eq!(url(&shop, "local"), format!("http://shop.localhost:{port}"));
    assert_eq!(url(&shop, "qa"), format!("http://qa.localhost:{port}"));
    assert_eq!(url(&blog, "local"), format!("http://local.blog.localhost:{port}"));
    for (host, text) in [
        ("shop.localhost", "the shop"),
        ("qa.localhost", "the shop"),
        ("local.blog.localhost", "the blog"),
        ("127.0.0.1", "the blog"),
    ] {
        let answer = ask(&port, host, "/");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(text), "{host}: {answer}");
    }
    let redirect = ask(&port, "www.shop.localhost", "/a?b");
    let place = format!("location: //shop.localhost:{port}/a?b\r\n");
    assert!(redirect.starts_with("HTTP/1.1 301") && redirect.contains(&place), "{redirect}");

    let logged = || in_home(&shop, &["logs", "--access", "--json"]).code_is(0).stdout;
    eventually("both requests are logged", || {
        (logged().matches("shop/local").count() == 2).then_some(())
    });
    assert!(logged().contains(r#""status":301"#), "{}", logged());
    assert_eq!(in_home(&blog, &["logs", "--access"]).code_is(0).stdout.matches("GET").count(), 0);
    let metrics = in_home(&blog, &["metrics"]).code_is(0).stdout;
    assert!(metrics.contains("onward_requests_total{route=\"shop/qa\"} 1\n"), "{metrics}");

    let thief = site("thief", "stolen", "[environment.local]\ndomain = \"QA.localhost\"\n");
    let refused = in_home(&thief, &["up"]).code_is(3);
    assert!(refused.stderr.contains("qa.localhost is taken by shop/qa"), "{}", refused.stderr);
    let twin = site("shop", "another", "");
    let refused = in_home(&twin, &["up"]).code_is(3);
    assert!(refused.stderr.contains("belongs to the project in"), "{}", refused.stderr);
    assert!(ask(&port, "qa.localhost", "/").ends_with("the shop"));

    in_home(&blog, &["down", "-y"]).code_is(0);
    let unknown = ask(&port, "127.0.0.1", "/");
    assert!(unknown.starts_with("HTTP/1.1 404") && !unknown.contains("shop"), "{unknown}");
    assert!(ask(&port, "shop.localhost", "/").ends_with("the shop"), "the others go on");
    in_home(&shop, &["down", "-y"]).code_is(0);
    in_home(&shop, &["down", "-y", "-e", "qa"]).code_is(0);
}

#[test]
fn maintenance_stays_until_it_is_taken_away() {
    let shop = site("shop", "the shop", "");
    let early = shop.run(&["maintenance", "on"]);
    assert_eq!(early.code, Some(3), "{early:?}");
    shop.run(&["up"]).code_is(0);
    let port = port_of(&shop.url());
    let get = || ask(&port, "127.0.0.1", "/");
    let on = shop.run(&["maintenance", "on", "--retry-after", "2m"]).code_is(0);
    assert!(on.stdout.contains("Maintenance is on"), "{}", on.stdout);
    let page = get();
    assert!(page.starts_with("HTTP/1.1 503"), "{page}");
    assert!(page.contains("retry-after: 120") && page.contains("Down for maintenance"), "{page}");
    let again = shop.run(&["maintenance", "on", "--retry-after", "2m"]).code_is(0);
    assert!(again.stdout.contains("on already"), "{}", again.stdout);

    shop.write("public/index.html", "the new shop");
    let deploy = shop.run(&["deploy"]).code_is(0);
    assert!(deploy.stderr.contains("maintenance is on"), "{deploy:?}");
    shop.pid_of("proxy").into_iter().for_each(Project::kill);
    shop.pid_of("agent").into_iter().for_each(Project::kill);
    let status = shop.status();
    assert_eq!(status["maintenance"]["retry_after_s"], 120);
    eventually("the proxy is back", || get().starts_with("HTTP/1.1 503").then_some(()));

    shop.write("page.html", "<h1>back at six</h1>");
    shop.run(&["maintenance", "on", "--page", "page.html"]).code_is(0);
    assert!(get().ends_with("<h1>back at six</h1>"));
    let off = shop.run(&["maintenance", "off", "--json"]).code_is(0);
    assert_eq!(off.finished()["kind"], "maintenance");
    assert!(get().ends_with("the new shop"));
    assert_eq!(shop.status()["maintenance"], serde_json::Value::Null);
    let history = shop.run(&["history", "--json"]).code_is(0).json();
    assert_eq!(history["operations"][0]["kind"], "maintenance");
    shop.run(&["down", "-y"]).code_is(0);
}
