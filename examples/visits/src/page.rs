//! The page.

use crate::clock::Seconds;
use crate::history::{History, Release};

/// How many releases the page shows.
const SHOWN_MAX: usize = 25;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1.05rem/1.6 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}\
p.total{margin:1.5rem 0}p.total strong{font-size:3.5rem;line-height:1;margin-right:.6rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid #8884;\
overflow-wrap:anywhere}\
tr.now{font-weight:600}\
footer,.quiet{opacity:.7;font-size:.9rem}";

/// The whole page as HTML.
pub fn page(history: &History, release: &Release, host: &str, now: Seconds) -> String {
    let Release { number, label } = release;
    let (label, host) = (escaped(label), escaped(host));
    let visits = history.visits;
    let noun = if visits == 1 { "visit" } else { "visits" };
    let rows: String =
        history.deploys.iter().rev().take(SHOWN_MAX).fold(String::new(), |rows, deploy| {
            let class = if deploy.release == *release { " class=\"now\"" } else { "" };
            let (number, label) = (deploy.release.number, escaped(&deploy.release.label));
            rows + &format!(
                "<tr{class}><td>{number}</td><td>{label}</td><td>{}</td></tr>\n",
                deploy.first_started
            )
        });
    let earlier = match history.deploys.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!("<p class=\"quiet\">and {more} earlier</p>\n"),
    };
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>visits: release {number}</title>\n\
         <style>{STYLE}</style>\n\
         <h1>Release {number} <span class=\"quiet\">{label} on {host}</span></h1>\n\
         <p class=\"total\"><strong>{visits}</strong> {noun} over all releases</p>\n\
         <table>\n\
         <tr><th>Release</th><th>Label</th><th>First started</th></tr>\n\
         {rows}</table>\n\
         {earlier}<footer>{now}</footer>\n\
         </html>\n"
    )
}

/// The text as it may stand in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Event;

    #[test]
    fn the_current_release_is_marked_and_the_newest_comes_first() {
        let mut history = History { visits: 1, ..History::default() };
        for number in 1..=30 {
            let release = Release::new(number, "x");
            history.add(&Event::Started { release, at: Seconds(number) });
        }
        let html = page(&history, &Release::new(29, "x"), "a", Seconds(0));
        assert!(html.contains("<tr class=\"now\"><td>29</td>"));
        assert!(html.find("<td>30</td>") < html.find("<td>29</td>"));
        assert!(html.contains("and 5 earlier"));
        assert!(html.contains("</strong> visit over"));
    }

    #[test]
    fn labels_cannot_write_html() {
        let html = page(&History::default(), &Release::new(1, "<script>&\"'"), "<b>", Seconds(0));
        assert!(html.contains("&lt;script&gt;&amp;&quot;&#39;") && html.contains("&lt;b&gt;"));
        assert!(!html.contains("<script>") && !html.contains("<b>"));
    }
}
