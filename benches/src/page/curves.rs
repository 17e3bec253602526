//! Rows that differ in size as curves, both axes logarithmic: how something grows.

use std::fmt::Write;

use super::axis::Axis;
use super::bars::short_amount;
use super::text::{escape, thousands};
use crate::{Figure, Row};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 704.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 324.0;

/// Whether these rows are points of curves.
pub(super) fn are_curves(rows: &[&Row]) -> bool {
    let mut sizes: Vec<u64> = rows.iter().map(|row| row.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let one_unit = rows.iter().all(|row| row.unit == rows[0].unit);
    sizes.len() >= 3 && sizes.len() == rows.len() && one_unit
}

/// Peers in the order of their first appearance.
fn peers<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut peers = Vec::new();
    for figure in rows.iter().flat_map(|row| &row.figures) {
        if !peers.contains(&figure.peer.as_str()) {
            peers.push(figure.peer.as_str());
        }
    }
    peers
}

pub(super) fn chart(rows: &[&Row]) -> String {
    let figures = || rows.iter().flat_map(|row| &row.figures);
    let least = figures()
        .map(|figure| figure.value.lower)
        .fold(f64::MAX, f64::min);
    let most = figures()
        .map(|figure| figure.value.upper)
        .fold(0.0, f64::max);
    let sizes = || rows.iter().map(|row| row.size.max(1) as f64);
    let across = Axis::log(
        sizes().fold(f64::MAX, f64::min),
        sizes().fold(0.0, f64::max),
        LEFT + 14.0,
        RIGHT - 14.0,
    );
    let up = Axis::log(least, most, BOTTOM, TOP);

    let mut svg = String::from("<ul class=\"legend\">");
    let peers = peers(rows);
    for (place, peer) in peers.iter().enumerate() {
        write!(
            svg,
            "<li><svg viewBox=\"0 0 28 12\" class=\"key\"><path class=\"curve c{place}\" d=\"M1 6H27\"/>{}</svg>{}</li>",
            dot(place, 14.0, 6.0),
            escape(peer)
        )
        .expect("a String takes any text");
    }
    svg.push_str("</ul>");

    let mut put = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text).expect("a String takes any text");
    };
    put(format_args!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by size\">",
        escape(&rows[0].group)
    ));
    for mark in up.marks() {
        let y = up.at(mark);
        put(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            escape(&short_amount(mark, &rows[0].unit)),
        ));
    }
    for mark in across.marks() {
        let x = across.at(mark);
        put(format_args!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
             <text class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            thousands(mark as u64),
        ));
    }
    put(format_args!(
        "<text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">how many</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 42.0
    ));
    // Ours last, on top of the others.
    for (place, peer) in peers.iter().enumerate().rev() {
        let mut points: Vec<(u64, &Figure)> = rows
            .iter()
            .filter_map(|row| {
                Some((
                    row.size,
                    row.figures.iter().find(|figure| figure.peer == *peer)?,
                ))
            })
            .collect();
        points.sort_by_key(|(size, _)| *size);
        let places: Vec<String> = points
            .iter()
            .map(|(size, figure)| {
                format!(
                    "{:.1} {:.1}",
                    across.at((*size).max(1) as f64),
                    up.at(figure.value.median)
                )
            })
            .collect();
        put(format_args!(
            "<path class=\"curve c{place}\" d=\"M{}\"/>",
            places.join("L")
        ));
        for (size, figure) in points {
            let x = across.at(size.max(1) as f64);
            put(format_args!(
                "<path class=\"spread c{place}\" d=\"M{x:.1} {:.1}V{:.1}\"/>{}",
                up.at(figure.value.lower),
                up.at(figure.value.upper),
                dot(place, x, up.at(figure.value.median))
            ));
        }
    }
    put(format_args!("</svg>"));
    svg
}

/// Shapes tell curves apart where colours do not.
fn dot(place: usize, x: f64, y: f64) -> String {
    let class = format!("dot c{place}");
    match place % 3 {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
        1 => format!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>",
            x - 4.0,
            y - 4.0
        ),
        _ => format!(
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}l5 9h-10z\"/>",
            y - 5.5
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    fn rows(sizes: [u64; 3]) -> Vec<Row> {
        let row = sample().rows.remove(0);
        sizes
            .map(|size| Row {
                size,
                ..row.clone()
            })
            .into()
    }

    #[test]
    fn three_sizes_make_a_curve_and_the_same_size_twice_does_not() {
        let different = rows([1, 10, 1_000]);
        assert!(are_curves(&different.iter().collect::<Vec<_>>()));
        assert!(!are_curves(&different[1..].iter().collect::<Vec<_>>()));
        let same = rows([1, 10, 10]);
        assert!(!are_curves(&same.iter().collect::<Vec<_>>()));
    }

    #[test]
    fn there_is_a_colour_for_every_peer_of_a_row() {
        let style = include_str!("style.css");
        let works = crate::rows::ALL.iter().copied().flatten();
        let most = works
            .map(|work| work.sides.len() + work.foreign.len())
            .max();
        for place in 0..most.expect("there are rows") {
            assert!(style.contains(&format!(".curve.c{place}, ")), "{place}");
            // In light and in dark.
            assert_eq!(
                style.matches(&format!("--c{place}: ")).count(),
                2,
                "{place}"
            );
        }
    }

    #[test]
    fn every_peer_has_its_curve_and_points() {
        let rows = rows([1, 10, 1_000]);
        let svg = chart(&rows.iter().collect::<Vec<_>>());
        let peers = rows[0].figures.len();
        // One in the legend, one in the drawing.
        assert_eq!(svg.matches("class=\"curve ").count(), 2 * peers);
        assert_eq!(svg.matches("class=\"spread ").count(), 3 * peers);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
