//! Where a value lies on an axis, and which values are marked there.

/// An axis from `start` to `end`, in the drawing's units; `end` may lie before `start`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Axis {
    /// From zero to a little past `most`.
    pub(super) fn linear(most: f64, start: f64, end: f64) -> Axis {
        let step = step_of(most);
        Axis {
            from: 0.0,
            to: (most / step).ceil() * step,
            start,
            end,
            log: false,
        }
    }

    /// Whole decades around what lies between `least` and `most`, both above zero.
    pub(super) fn log(least: f64, most: f64, start: f64, end: f64) -> Axis {
        let from = least.log10().floor();
        Axis {
            from,
            to: most.log10().ceil().max(from + 1.0),
            start,
            end,
            log: true,
        }
    }

    /// Where `value` is drawn; what lies outside is drawn at the edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let place = match self.log {
            true if value <= 0.0 => self.from,
            true => value.log10(),
            false => value,
        };
        let part = (place - self.from) / (self.to - self.from);
        self.start + part.clamp(0.0, 1.0) * (self.end - self.start)
    }

    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    /// Values to mark: decades, or steps that a reader can count.
    pub(super) fn marks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.to - self.from) as i32;
            return (0..=decades)
                .map(|n| 10_f64.powf(self.from + f64::from(n)))
                .collect();
        }
        let step = step_of(self.to);
        let steps = (self.to / step).round() as u32;
        (0..=steps).map(|n| f64::from(n) * step).collect()
    }
}

/// 1, 2 or 5 of some decade, so that `most` is three to seven steps away.
fn step_of(most: f64) -> f64 {
    let decade = 10_f64.powf((most / 3.0).log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|times| times * decade);
    let fits = steps.into_iter().find(|step| most / step >= 3.0);
    fits.unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_starts_at_zero_and_ends_at_a_mark() {
        let axis = Axis::linear(87.0, 100.0, 300.0);
        assert_eq!(axis.marks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(
            (axis.at(0.0), axis.at(50.0), axis.at(100.0)),
            (100.0, 200.0, 300.0)
        );
    }

    #[test]
    fn a_log_axis_has_whole_decades() {
        let axis = Axis::log(3.0, 450.0, 300.0, 0.0);
        assert_eq!(axis.marks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!((axis.at(1.0), axis.at(1000.0)), (300.0, 0.0));
        assert!((axis.at(10.0) - 200.0).abs() < 1e-9);
        assert_eq!(axis.at(0.0), 300.0, "at the edge");
    }

    #[test]
    fn steps_can_be_counted() {
        for (most, step) in [
            (1.0, 0.2),
            (3.0, 1.0),
            (6.4, 2.0),
            (7.0, 2.0),
            (16.0, 5.0),
            (0.004, 0.001),
        ] {
            assert!(
                (step_of(most) - step).abs() < 1e-12,
                "{most}: {}",
                step_of(most)
            );
        }
    }
}
