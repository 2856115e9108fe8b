//! A report as one HTML page: no scripts, nothing loaded from elsewhere, light and dark as the reader has it.
//!
//! Answers are hostile: all text goes through [`text`], nothing from traffic stands in a tag, and a policy in the page
//! forbids scripts and loads, should that ever fail.

mod plot;

use std::fmt::Write as _;

use tap_proto::v1::{Distribution, EndpointComparison, FieldDifference, ReplayReport};
use tap_replay::report::{distribution_curve, latency_curve, real_fields};

use super::Run;
use crate::render::{escape, unit};
use plot::{Curve, plot};

const STYLE: &str = include_str!("html/style.css");
/// Endpoints and noise beyond are in the JSON report.
const MAX_ENDPOINTS: usize = 200;

pub(crate) fn render(run: &Run<'_>) -> String {
    let Run { title, started, ended, conditions, report } = run;
    let failed: u64 = report.failed.values().sum();
    let holds = conditions.iter().any(|(_, holds)| *holds);
    let bad = holds || (conditions.is_empty() && (report.mismatches > 0 || failed > 0)) || !ended.is_empty();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header class=\"{class}\"><p class=\"mark\">{mark}</p><div><h1>{title}</h1><p>{time} UTC, took {elapsed}{noise}</p></div></header>\n<main>\n",
        title = text(title),
        class = if bad { "bad" } else { "good" },
        mark = if bad { "✗" } else { "✓" },
        time = started.strftime("%Y-%m-%d %H:%M:%S"),
        elapsed = report.elapsed.as_ref().map_or_else(|| "-".to_owned(), unit::duration),
        noise = if report.noise_source.is_empty() {
            String::new()
        } else {
            format!(", noise learned from the {}", text(&report.noise_source))
        },
    );
    for notice in [*ended, &report.aborted].into_iter().chain(report.warnings.iter().map(String::as_str)) {
        if !notice.is_empty() {
            let _ = writeln!(page, "<p class=\"notice\">{}</p>", text(notice));
        }
    }
    if !conditions.is_empty() {
        page.push_str("<section><h2>Conditions</h2><ul class=\"conditions\">\n");
        for (source, holds) in *conditions {
            let (class, word) = if *holds { ("bad", "holds") } else { ("good", "does not hold") };
            let _ = writeln!(page, "<li class=\"{class}\"><code>{}</code> {word}</li>", text(source));
        }
        page.push_str("</ul></section>\n");
    }
    page.push_str(&numbers(report, failed));
    page.push_str(&latency(report));
    page.push_str(&endpoints(report));
    page.push_str(&counts(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn numbers(report: &ReplayReport, failed: u64) -> String {
    let mut section = String::from("<section class=\"numbers\">\n");
    let mut number = |name: &str, count: u64, class: &str| {
        let class = if count == 0 { "" } else { class };
        let _ = writeln!(section, "<div class=\"{class}\"><b>{}</b>{name}</div>", unit::count(count));
    };
    number("sent", report.sent, "");
    number("answered", report.answered, "");
    number("no answer", failed, "bad");
    number("not sent", report.not_sent.values().sum(), "");
    number("matched", report.matched, "good");
    number("differed", report.differed, "");
    number("mismatches", report.mismatches, "bad");
    number("sent late", report.late, "");
    section.push_str("</section>\n");
    section
}

fn latency(report: &ReplayReport) -> String {
    let whole = latency_curve(report);
    let arms: Vec<_> =
        report.arm_latencies.iter().map(|(name, arm)| (name.as_str(), distribution_curve(arm))).collect();
    let mut curves = Vec::new();
    if arms.is_empty() {
        curves.push(Curve { name: "latency", points: &whole });
    }
    curves.extend(arms.iter().map(|(name, points)| Curve { name, points }));
    let send_error = report.send_error.as_ref().map(distribution_curve).unwrap_or_default();
    if arms.is_empty() && !send_error.is_empty() {
        curves.push(Curve { name: "send error", points: &send_error });
    }
    curves.retain(|curve| !curve.points.is_empty());
    if curves.is_empty() {
        return String::new();
    }
    let mut section = format!("<section><h2>Latency</h2>\n{}\n<div class=\"wide\"><table>\n", plot(&curves));
    section.push_str(
        "<tr><th></th><th>min</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
    );
    let rows = [("latency", report.latency.as_ref()), ("send error", report.send_error.as_ref())];
    let arms = report.arm_latencies.iter().map(|(name, arm)| (name.as_str(), Some(arm)));
    for (name, distribution) in rows.into_iter().chain(arms) {
        let Some(Distribution { count: _, min_us, p50_us, p90_us, p99_us, p999_us, max_us }) = distribution
        else {
            continue;
        };
        let _ = write!(section, "<tr><th>{}</th>", text(name));
        for value in [min_us, p50_us, p90_us, p99_us, p999_us, max_us] {
            let _ = write!(section, "<td class=\"number\">{}</td>", unit::microseconds(*value));
        }
        section.push_str("</tr>\n");
    }
    section.push_str("</table></div></section>\n");
    section
}

fn endpoints(report: &ReplayReport) -> String {
    if report.endpoints.is_empty() {
        return String::new();
    }
    let mut section = String::from("<section><h2>Endpoints</h2>\n");
    for endpoint in report.endpoints.iter().take(MAX_ENDPOINTS) {
        section.push_str(&row(endpoint));
    }
    if report.endpoints.len() > MAX_ENDPOINTS {
        let more = report.endpoints.len() - MAX_ENDPOINTS;
        let _ =
            writeln!(section, "<p>{more} more endpoints, with fewer mismatches, are in the JSON report.</p>");
    }
    section.push_str("</section>\n");
    section
}

fn row(endpoint: &EndpointComparison) -> String {
    let EndpointComparison { method, path, answered, differed, mismatches, fields, latency_sum_us, .. } =
        endpoint;
    let (class, open) = if *mismatches > 0 { ("bad", " open") } else { ("good", "") };
    let mean = latency_sum_us.checked_div(*answered).unwrap_or_default();
    let mut row = format!(
        "<details class=\"{class}\"{open}><summary><code>{} {}</code><span>{} answers, {} mismatches, {} differ, mean {}</span></summary>\n",
        text(method),
        text(path),
        unit::count(*answered),
        unit::count(*mismatches),
        unit::count(*differed),
        unit::microseconds(mean),
    );
    real_fields(endpoint).for_each(|found| row.push_str(&field(found)));
    let noise: Vec<_> = fields.iter().filter(|field| field.is_noise).collect();
    if !noise.is_empty() {
        row.push_str("<p class=\"quiet\">Noise: ");
        let noise = noise.iter().map(|field| {
            let FieldDifference { field, differences, noise, noise_reason, .. } = field;
            format!("<code>{}</code> {differences} against {noise} ({})", text(field), text(noise_reason))
        });
        row.push_str(&noise.collect::<Vec<_>>().join(", "));
        row.push_str("</p>\n");
    }
    if fields.is_empty() {
        row.push_str("<p class=\"quiet\">Nothing differs.</p>\n");
    }
    row.push_str("</details>\n");
    row
}

fn field(field: &FieldDifference) -> String {
    let FieldDifference { field, differences, noise, kinds, examples, .. } = field;
    let kinds: Vec<_> = kinds.keys().map(|kind| text(kind)).collect();
    let noise = if *noise > 0 { format!(", {} would anyhow", unit::count(*noise)) } else { String::new() };
    let mut shown = format!(
        "<h3><code>{}</code> <span>{} answers differ: {}{noise}</span></h3>\n",
        text(field),
        unit::count(*differences),
        kinds.join(", ")
    );
    if !examples.is_empty() {
        shown.push_str(
            "<div class=\"wide\"><table><tr><th>exchange</th><th>expected</th><th>answered</th></tr>\n",
        );
        for example in examples {
            let _ = writeln!(
                shown,
                "<tr><td class=\"quiet\">{}</td><td><code class=\"expected\">{}</code></td><td><code class=\"answered\">{}</code></td></tr>",
                text(&example.exchange_id),
                text(&example.expected),
                text(&example.answered)
            );
        }
        shown.push_str("</table></div>\n");
    }
    shown
}

fn counts(report: &ReplayReport) -> String {
    let statuses = report.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    let named = |counts: &std::collections::BTreeMap<String, u64>| -> Vec<(String, u64)> {
        counts.iter().map(|(word, count)| (word.clone(), *count)).collect()
    };
    let redacted = (report.redacted_values > 0).then(|| ("redacted".to_owned(), report.redacted_values));
    let tables: [(&str, Vec<(String, u64)>); 7] = [
        ("Statuses", statuses),
        ("No answer", named(&report.failed)),
        ("No answer, by target", named(&report.arm_failures)),
        ("Not sent", named(&report.not_sent)),
        ("Differences", named(&report.mismatched)),
        ("Not compared", named(&report.not_compared)),
        ("Values not held against an answer", named(&report.dynamic).into_iter().chain(redacted).collect()),
    ];
    let mut section = String::from("<section class=\"counts\">\n");
    for (title, counts) in tables.iter().filter(|(_, counts)| !counts.is_empty()) {
        let _ = writeln!(section, "<div><h2>{title}</h2><table>");
        for (word, count) in counts {
            let _ = writeln!(
                section,
                "<tr><th>{}</th><td class=\"number\">{}</td></tr>",
                text(word),
                unit::count(*count)
            );
        }
        section.push_str("</table></div>\n");
    }
    section.push_str("</section>\n");
    section
}

/// Text of traffic, for a place between tags or in a quoted attribute.
pub(super) fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in escape::text(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, run};
    use super::*;

    #[test]
    fn hostile_answers_stay_text() {
        let report = hostile();
        let page = render(&run(&report));
        for forbidden in
            ["<script", "<img", "onerror=\"", "javascript:\"", "</style><", "src=", "href=", "url(", "\x1b"]
        {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    }

    #[test]
    fn it_is_one_well_formed_page() {
        let report = hostile();
        let page = render(&run(&report));
        for element in [
            "html", "head", "body", "main", "section", "table", "tr", "details", "svg", "div", "code", "span",
        ] {
            let opened =
                page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
        assert!(page.contains("class=\"bad\" open"), "what differs is open");
        // A report of nothing is a page, too.
        let empty = ReplayReport::default();
        assert!(render(&run(&empty)).ends_with("</html>\n"));
    }
}
