use super::*;

const SECRET: &str = "canary-7f3a9";

fn given() -> Given {
    let pairs = [("LOG_LEVEL", "info"), ("PORT_OF_DB", "5432"), ("QUOTED", "a \"b\" <c> & 'd'")];
    Given {
        app: "shop".to_owned(),
        environment: "local".to_owned(),
        server: "one".to_owned(),
        shared: "/srv/shared".to_owned(),
        number: 7,
        label: "1.4.2".to_owned(),
        digest: "d1".to_owned(),
        values: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        secrets: [("KEY".to_owned(), Hidden::new(SECRET.to_owned()))].into(),
    }
}

fn text(source: &str) -> String {
    let rendered = render("a.j2", source, &given()).unwrap_or_else(|wrong| panic!("{wrong}"));
    String::from_utf8(rendered.text.to_vec()).expect("text")
}

fn refused(source: &str) -> String {
    render("a.j2", source, &given()).expect_err(source).to_string()
}

#[test]
fn odd_but_legal_templates() {
    for (source, expected) in [
        ("", ""),
        ("plain\n", "plain\n"),
        ("\u{feff}bom", "\u{feff}bom"),
        ("crlf {{ app }}\r\n", "crlf shop\r\n"),
        ("{{ values.LOG_LEVEL }}\n", "info\n"),
        ("{{ values['LOG_LEVEL'] }}", "info"),
        ("{{ values.QUOTED }}", "a \"b\" <c> & 'd'"),
        ("{{ values.QUOTED|tojson }}", "\"a \\\"b\\\" \\u003cc\\u003e \\u0026 \\u0027d\\u0027\""),
        ("{{ values.PORT_OF_DB|int + 1 }}", "5433"),
        ("{{ values.NOPE|default('x') }}", "x"),
        ("{% if values.NOPE is defined %}no{% else %}yes{% endif %}", "yes"),
        ("{# a comment #}x", "x"),
        ("{% raw %}{{ not_ours }}{% endraw %}", "{{ not_ours }}"),
        ("a\n  {% for n in range(2) %}\n- {{ n }}\n  {% endfor %}\nb\n", "a\n- 0\n- 1\nb\n"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(app) }}", "<shop>"),
        ("{{ release.number }} {{ release.label }} {{ release.digest }}", "7 1.4.2 d1"),
        ("{{ environment }}@{{ server }}:{{ shared }}", "local@one:/srv/shared"),
        (
            "{% for name, value in values|items if name == 'LOG_LEVEL' %}{{ name }}={{ value }}{% endfor %}",
            "LOG_LEVEL=info",
        ),
        ("${HOME} $1 %d {not} }} %}", "${HOME} $1 %d {not} }} %}"),
    ] {
        assert_eq!(text(source), expected, "{source:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (source, expected) in [
        ("x\n  {{ values.NOPE }}", "a.j2:2:6: `values.NOPE` is not defined in this environment"),
        ("ünï {{ hsot }}", "a.j2:1:8: `hsot` is not defined; there are app, "),
        ("{{ secrets.NOPE }}", "a.j2:1:4: `secrets.NOPE` is not defined"),
        ("ok\n{% if app %}\n", "a.j2:"),
        ("{{ app | no_filter }}", "there is no such filter"),
        ("{% include 'other' %}", "a template can include no other"),
        ("{% extends 'other' %}", "a template can include no other"),
        ("{{ app", "this is no template: "),
        ("{{ 1 / 0 }}", "a.j2:1:4: "),
        ("{{ open('/etc/passwd') }}", "there is no such function"),
        ("{{ app.__class__ }}", "is not defined"),
    ] {
        let found = refused(source);
        assert!(found.contains(expected), "{source:?}: {found}");
    }
}

#[test]
fn one_that_does_not_end_is_ended() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(refused(endless).contains("too many steps"));
    let long = "{% for a in range(9999) %}".to_owned() + &"x".repeat(4096) + "{% endfor %}";
    assert!(refused(&long).contains("more than 4 MiB"));
    let deep = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
    refused(deep);
    refused(&format!("{}x{}", "{{ (".repeat(20_000), ") }}".repeat(20_000)));
    assert!(refused(&"x".repeat(TEMPLATE_BYTES_MAX + 1)).contains("longer than 256 KiB"));
}

#[test]
fn what_can_hold_a_secret_is_private() {
    let private = |source: &str| render("a", source, &given()).expect(source).private;
    for source in ["{{ secrets.KEY }}", "{% set s = secrets %}{{ s.KEY }}", "key: canary-7f3a9"] {
        assert!(private(source), "{source}");
    }
    assert!(!private("{{ values.LOG_LEVEL }}"), "the control");
}

#[test]
fn no_error_says_what_a_secret_is() {
    for source in [
        "{{ secrets.KEY|int }}",
        "{{ secrets.KEY.x.y }}",
        "{{ secrets.KEY + 1 }}",
        "{{ values[secrets.KEY] }}",
        "{{ secrets.KEY|no_filter }}",
        "{{ secrets.KEY() }}",
        "{% for a, b in secrets.KEY %}{% endfor %}",
        "{{ 1|round(secrets.KEY) }}",
    ] {
        let found = format!("{:?}", render("a", source, &given()).expect_err(source));
        assert!(!found.contains("canary"), "{source}: {found}");
    }
    let shown = format!("{:?} {:?}", given(), render("a", "{{ secrets.KEY }}", &given()));
    assert!(!shown.contains("canary"), "{shown}");
    // The control: the same search finds it where it is.
    assert!(text("{{ secrets.KEY }}").contains("canary"));
}

#[test]
fn what_only_the_server_knows_is_told_apart() {
    let depends = |source: &str| render("a", source, &given()).expect_err(source).depends;
    assert!(!depends("{{ nope }}"));
    assert!(depends("{% if secrets.KEY == 'x' %}{% else %}{{ nope }}{% endif %}"));
}
