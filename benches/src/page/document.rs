//! The page around the charts.

use std::fmt::Write;

use super::bars::times;
use super::text::escape;
use super::{bars, curves};
use crate::table::amount;
use crate::{Report, Row};

const STYLE: &str = include_str!("style.css");

impl Report {
    /// The report as an HTML page that needs no other file.
    pub fn page(&self) -> String {
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>Sisal beside its peers</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        );
        html.push_str("<h1>Sisal beside its peers</h1>\n");
        html.push_str(&self.header());
        html.push_str("<h2 id=\"targets\">Targets</h2>\n");
        html.push_str(&self.targets());
        html.push_str("<h2 id=\"summary\">In short</h2>\n");
        html.push_str(&self.summary());
        for group in self.groups() {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.group == group).collect();
            section(&mut html, group, &rows);
        }
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }

    /// Groups in the order of their first row.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        groups
    }

    fn header(&self) -> String {
        let mut html = String::new();
        for line in self.about() {
            writeln!(html, "<p class=\"about\">{}</p>", escape(&line))
                .expect("a String takes any text");
        }
        if let Some(warning) = self.warning() {
            writeln!(html, "<p class=\"warning\">{}</p>", escape(&warning))
                .expect("a String takes any text");
        }
        html.push_str(
            "<p>Each bar is the median of the rounds, its whisker the quartiles; less is better unless it says otherwise. \
             The last column is ours over the peer's, the median of the rounds' ratios: below 1, Sisal needs less. \
             Only ratios of one run mean anything.</p>\n\
             <p>Repeat it: <code>cargo run --release -p sisal-benches -- all</code></p>\n",
        );
        html
    }

    fn targets(&self) -> String {
        let mut html = String::from(
            "<div class=\"wide\"><table>\n<thead><tr><th>target</th><th class=\"n\">at most</th><th class=\"n\">measured</th>\
             <th></th></tr></thead>\n<tbody>\n",
        );
        for verdict in self.verdicts() {
            let why = verdict.why.map(|why| format!(": {why}"));
            writeln!(
                html,
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}{}</td></tr>",
                escape(&verdict.what),
                verdict.most,
                verdict.measured,
                verdict.outcome,
                escape(&why.unwrap_or_default())
            )
            .expect("a String takes any text");
        }
        html.push_str("</tbody>\n</table></div>\n");
        html
    }

    fn summary(&self) -> String {
        let mut html = String::from(
            "<div class=\"wide\"><table>\n<thead><tr><th>work</th><th class=\"n\">ours</th><th>beside</th>\
             <th class=\"n\">theirs</th><th class=\"n\">ours / theirs</th><th class=\"n\">quartiles</th></tr></thead>\n<tbody>\n",
        );
        for row in &self.rows {
            let [ours, peer, ..] = row.figures.as_slice() else {
                continue;
            };
            let ratio = peer.ratio;
            writeln!(
                html,
                "<tr><td><a href=\"#{}\">{}</a></td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{:.2}–{:.2}</td></tr>",
                anchor(&row.name),
                escape(&row.name),
                amount(ours.value.median, &row.unit),
                escape(&peer.peer),
                amount(peer.value.median, &row.unit),
                times(ratio.median),
                ratio.lower,
                ratio.upper
            )
            .expect("a String takes any text");
        }
        html.push_str("</tbody>\n</table></div>\n");
        html
    }
}

fn section(html: &mut String, group: &str, rows: &[&Row]) {
    let mut put = |text: std::fmt::Arguments<'_>| {
        html.write_fmt(text).expect("a String takes any text");
    };
    put(format_args!(
        "<h2 id=\"group-{}\">{}</h2>\n<div class=\"cards\">\n",
        anchor(group),
        escape(group)
    ));
    if curves::are_curves(rows) {
        put(format_args!(
            "<figure class=\"card\"><h3>By size</h3><p class=\"what\">{}</p>{}</figure>\n",
            escape(&rows[0].operation),
            curves::chart(rows)
        ));
    }
    for row in rows {
        put(format_args!(
            "<figure class=\"card\" id=\"{}\"><h3>{}</h3><p class=\"what\">{} of {}, {} round{}</p>",
            anchor(&row.name),
            escape(&row.name),
            match row.unit.as_str() {
                "ns" => "time",
                "bytes" => "memory",
                counted => counted,
            },
            escape(&row.operation),
            row.rounds,
            if row.rounds == 1 { "" } else { "s" }
        ));
        if !row.figures.is_empty() {
            put(format_args!("{}", bars::chart(row)));
        }
        for missing in &row.missing {
            put(format_args!(
                "<p class=\"note\">skipped: {}: {}</p>",
                escape(&missing.peer),
                escape(&missing.why)
            ));
        }
        if let Some(note) = &row.note {
            put(format_args!("<p class=\"note\">{}</p>", escape(note)));
        }
        put(format_args!("</figure>\n"));
    }
    put(format_args!("</div>\n"));
}

/// A name as the target of a link.
fn anchor(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let report = sample();
        let page = report.page();
        for row in &report.rows {
            // In the summary and over its chart.
            assert_eq!(
                page.matches(&format!(">{}<", row.name)).count(),
                2,
                "{page}"
            );
        }
        assert!(
            page.contains("on both sides the same &lt;nothing&gt;"),
            "{page}"
        );
        assert!(page.contains("skipped: somebody: it ended"), "{page}");
        for outside in ["src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} in {page}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.ends_with("</html>\n"));
    }
}
