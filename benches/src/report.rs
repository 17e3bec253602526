//! What a run hands back, and its JSON.
//!
//! Not here: how a row was measured, and how it looks.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Conditions, Machine, Spread};

/// What one peer took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Who it was.
    pub peer: String,
    /// Per operation, over the rounds.
    pub value: Spread,
    /// Ours over the peer's, over the rounds. Below 1 we need less.
    pub ratio: Spread,
    /// Operations in a round.
    pub operations: u64,
}

/// Who has no figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// Who it is.
    pub peer: String,
    /// Why there is none.
    pub why: String,
}

/// One piece of work and what it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// Rows that differ only in size share it.
    pub group: String,
    /// How many fibers, connections, leaves.
    pub size: u64,
    /// Unit of the figures.
    pub unit: String,
    /// What a figure is the price of.
    pub operation: String,
    /// Rounds measured; each ran all sides.
    pub rounds: usize,
    /// What a reader must know to judge the row, if anything.
    pub note: Option<String>,
    /// Whether it stands in the short table.
    pub short: bool,
    /// Ours first, then that of the peer it is judged by.
    pub figures: Vec<Figure>,
    /// Peers without a figure.
    pub missing: Vec<Missing>,
}

/// The rows of one run, where it was and how quiet it was there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where the run happened.
    pub machine: Machine,
    /// What went on around it.
    pub conditions: Conditions,
    /// One per piece of work.
    pub rows: Vec<Row>,
}

impl Report {
    /// Everything; [`Report::from_json`] reads it.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("reports are numbers and strings")
    }

    /// Reads what [`Report::json`] wrote.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn from_json(text: &str) -> serde_json::Result<Report> {
        serde_json::from_str(text)
    }

    /// The rows as a JSON array of objects: our figure, that of the peer it is judged by, and their ratio.
    pub fn short_json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| {
                let [ours, peer, ..] = row.figures.as_slice() else {
                    return None;
                };
                Some(json!({
                    "name": row.name,
                    "ours_ns": ours.value.median,
                    "peer": peer.peer,
                    "peer_ns": peer.value.median,
                    "ratio": peer.ratio.median,
                    "ratio_spread": peer.ratio,
                    "rounds": row.rounds,
                    "operations": ours.operations,
                    "note": row.note,
                }))
            })
            .collect();
        serde_json::to_string_pretty(&rows).expect("rows are numbers and strings")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::conditions::Before;

    /// Two rows, the second with a longer name and a peer less.
    pub(crate) fn sample() -> Report {
        let figure = |peer: &str, value: f64, ratio: f64| Figure {
            peer: peer.to_owned(),
            value: Spread::of(&[value * 0.9, value, value * 1.2]),
            ratio: Spread::of(&[ratio * 0.5, ratio, ratio * 2.0]),
            operations: 1_000,
        };
        let row = Row {
            name: "nothing, twice".to_owned(),
            group: "nothing".to_owned(),
            size: 2,
            unit: "ns".to_owned(),
            operation: "a nothing".to_owned(),
            rounds: 3,
            note: Some("on both sides the same <nothing>".to_owned()),
            short: true,
            figures: vec![
                figure("sisal", 2.5, 1.0),
                figure("nobody", 1250.0, 0.002),
                figure("somebody", 5.0, 0.5),
            ],
            missing: Vec::new(),
        };
        let mut longer = Row {
            name: "nothing, but with a longer name".to_owned(),
            size: 200,
            note: None,
            missing: vec![Missing {
                peer: "somebody".to_owned(),
                why: "it ended".to_owned(),
            }],
            ..row.clone()
        };
        longer.figures.pop();
        Report {
            machine: Machine::this(),
            conditions: Before::now().until_now(true),
            rows: vec![row, longer],
        }
    }

    #[test]
    fn short_json_is_an_array_of_rows() {
        let json: Value = serde_json::from_str(&sample().short_json()).unwrap();
        let rows = json.as_array().expect("an array");
        assert_eq!(rows.len(), 2);
        let row = &rows[0];
        assert_eq!(row["name"], "nothing, twice");
        assert_eq!(row["ours_ns"], 2.5);
        assert_eq!(row["peer"], "nobody");
        assert_eq!(row["peer_ns"], 1250.0);
        assert_eq!(row["ratio"], 0.002);
        assert_eq!(row["ratio_spread"]["median"], 0.002);
        assert_eq!(row["ratio_spread"]["max"], 0.004);
        assert_eq!(row["rounds"], 3);
        assert_eq!(row["operations"], 1_000);
        assert!(rows[1]["note"].is_null());
    }

    #[test]
    fn json_can_be_read_again() {
        let json = sample().json();
        assert_eq!(Report::from_json(&json).unwrap().json(), json);
    }
}
