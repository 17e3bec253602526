//! What a fiber asks its worker to do once it is off its stack (S3: publish after the switch).

/// The word that a fiber hands to its worker with each switch out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum AfterSwitch {
    /// Run it again after the others: it yielded.
    Requeue,
    /// Move it to PARKED, unless it was called meanwhile.
    Park,
    /// Take its stack back: it has ended.
    Finish,
    /// It was made to leave a stack that it overflowed. Nothing there is ever used again (S4).
    Retire,
}

impl AfterSwitch {
    /// The fiber does not come back.
    pub(crate) fn is_last(self) -> bool {
        matches!(self, AfterSwitch::Finish | AfterSwitch::Retire)
    }

    pub(super) fn encode(self) -> usize {
        self as usize
    }

    pub(super) fn decode(word: usize) -> AfterSwitch {
        match word {
            0 => AfterSwitch::Requeue,
            1 => AfterSwitch::Park,
            2 => AfterSwitch::Finish,
            _ => AfterSwitch::Retire,
        }
    }
}
