//! What is said about a handful of samples: the median, the quartiles and the ends.
//!
//! Not here: where samples come from. Means are not used: one round that another process interrupted would move them.

use serde::{Deserialize, Serialize};

/// How far samples lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest sample.
    pub min: f64,
    /// A quarter of the samples lie below.
    pub lower: f64,
    /// Half of the samples lie below.
    pub median: f64,
    /// A quarter of the samples lie above.
    pub upper: f64,
    /// The largest sample.
    pub max: f64,
}

impl Spread {
    /// The spread of `samples`, in any order.
    ///
    /// # Panics
    ///
    /// If there are none, or one is not finite.
    pub fn of(samples: &[f64]) -> Self {
        assert!(!samples.is_empty(), "no samples");
        assert!(
            samples.iter().all(|sample| sample.is_finite()),
            "a sample is not finite: {samples:?}"
        );
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            min: sorted[0],
            lower: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            upper: quantile(&sorted, 0.75),
            max: sorted[sorted.len() - 1],
        }
    }
}

/// The value below which `part` of the sorted samples lie, on a straight line between the two nearest.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let weight = place - place.floor();
    sorted[below] * (1.0 - weight) + sorted[above] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_is_its_own_spread() {
        let spread = Spread::of(&[3.5]);
        assert_eq!(
            [
                spread.min,
                spread.lower,
                spread.median,
                spread.upper,
                spread.max
            ],
            [3.5; 5]
        );
    }

    #[test]
    fn an_odd_count_has_its_middle_as_median() {
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(
            spread,
            Spread {
                min: 1.0,
                lower: 2.0,
                median: 3.0,
                upper: 4.0,
                max: 5.0
            }
        );
    }

    #[test]
    fn an_even_count_has_the_half_way_point_as_median() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            (spread.lower, spread.median, spread.upper),
            (1.75, 2.5, 3.25)
        );
    }

    #[test]
    fn one_wild_sample_does_not_move_the_median() {
        let spread = Spread::of(&[1.0, 1.0, 1.0, 1.0, 1e9]);
        assert_eq!((spread.median, spread.upper), (1.0, 1.0));
    }

    #[test]
    #[should_panic(expected = "no samples")]
    fn no_samples_have_no_spread() {
        Spread::of(&[]);
    }

    #[test]
    #[should_panic(expected = "not finite")]
    fn a_division_by_zero_is_not_a_sample() {
        Spread::of(&[1.0, f64::INFINITY]);
    }
}
