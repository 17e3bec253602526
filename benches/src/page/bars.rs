//! A row as a chart: a bar for each peer, its quartiles as a whisker.

use std::fmt::Write;

use super::axis::Axis;
use super::text::escape;
use crate::Row;
use crate::table::{amount, digits};

const WIDTH: f64 = 720.0;
/// Names end here, bars begin.
const LEFT: f64 = 172.0;
/// Bars end here, figures follow.
const RIGHT: f64 = 520.0;
const TOP: f64 = 8.0;
const LINE: f64 = 28.0;
const BAR: f64 = 16.0;

/// With a wider range than this the smaller bars would not be seen.
const LINEAR_UP_TO: f64 = 12.0;

pub(super) fn chart(row: &Row) -> String {
    let least = row
        .figures
        .iter()
        .map(|figure| figure.value.lower)
        .fold(f64::MAX, f64::min);
    let most = row
        .figures
        .iter()
        .map(|figure| figure.value.upper)
        .fold(0.0, f64::max);
    let axis = if most / least <= LINEAR_UP_TO {
        Axis::linear(most, LEFT, RIGHT)
    } else {
        // Half a decade less, so that the shortest is a bar still.
        Axis::log(least / 3.0, most, LEFT, RIGHT)
    };
    let bottom = TOP + LINE * row.figures.len() as f64;
    let mut svg = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text).expect("a String takes any text");
    };
    put(format_args!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">",
        bottom + 26.0,
        escape(&row.name)
    ));
    for mark in axis.marks() {
        let x = axis.at(mark);
        put(format_args!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            escape(&short_amount(mark, &row.unit)),
        ));
    }
    for (place, figure) in row.figures.iter().enumerate() {
        let middle = TOP + LINE * (place as f64 + 0.5);
        let end = axis.at(figure.value.median);
        let (lower, upper) = (axis.at(figure.value.lower), axis.at(figure.value.upper));
        let class = if place == 0 { "ours" } else { "peer" };
        put(format_args!(
            "<text class=\"name {class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            middle + 4.5,
            escape(&figure.peer)
        ));
        put(format_args!(
            "<rect class=\"bar {class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            middle - BAR / 2.0,
            (end - LEFT).max(1.0)
        ));
        put(format_args!(
            "<path class=\"whisker\" d=\"M{lower:.1} {0:.1}v8M{upper:.1} {0:.1}v8M{lower:.1} {middle:.1}H{upper:.1}\"/>",
            middle - 4.0
        ));
        put(format_args!(
            "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            RIGHT + 100.0,
            middle + 4.5,
            escape(&bare_amount(figure.value.median, &row.unit))
        ));
        if place > 0 {
            put(format_args!(
                "<text class=\"ratio\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - 6.0,
                middle + 4.5,
                times(figure.ratio.median)
            ));
        }
    }
    put(format_args!("</svg>"));
    if axis.is_log() {
        svg.push_str("<p class=\"scale\">logarithmic</p>");
    }
    svg
}

/// Ours over the peer's.
pub(super) fn times(ratio: f64) -> String {
    match ratio {
        0.0..0.01 => format!("× {ratio:.4}"),
        0.01..0.1 => format!("× {ratio:.3}"),
        _ => format!("× {ratio:.2}"),
    }
}

/// A count stands for itself: its unit is said once, above the chart.
fn bare_amount(value: f64, unit: &str) -> String {
    match unit {
        "ns" | "bytes" => amount(value, unit),
        _ => digits(value),
    }
}

/// An amount without decimals that say nothing.
pub(super) fn short_amount(value: f64, unit: &str) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = bare_amount(value, unit);
    match text.split_once(' ') {
        None if text.contains('.') => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        Some((number, unit)) if number.contains('.') => {
            format!(
                "{} {unit}",
                number.trim_end_matches('0').trim_end_matches('.')
            )
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn every_peer_has_its_bar_and_nothing_leaves_the_drawing() {
        for row in sample().rows {
            let svg = chart(&row);
            assert_eq!(svg.matches("<rect").count(), row.figures.len(), "{svg}");
            assert_eq!(svg.matches("class=\"whisker\"").count(), row.figures.len());
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let widths = svg.split(" width=\"").skip(1);
            for width in widths {
                let width: f64 = width.split('"').next().unwrap().parse().unwrap();
                assert!((1.0..=RIGHT - LEFT).contains(&width), "{svg}");
            }
        }
    }

    #[test]
    fn marks_are_short() {
        assert_eq!(short_amount(0.0, "ns"), "0");
        assert_eq!(short_amount(10.0, "ns"), "10 ns");
        assert_eq!(short_amount(2_500.0, "ns"), "2.5 µs");
        assert_eq!(short_amount(100.0, "ns"), "100 ns");
        assert_eq!(short_amount(2.5, "calls"), "2.5");
        assert_eq!(short_amount(4_000.0, "instructions"), "4000");
    }
}
