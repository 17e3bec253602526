//! A report as one HTML page that needs nothing else: inline SVG, light and dark.

mod axis;
mod bars;
mod curves;
mod document;
mod text;
