//! What a fiber asks its worker to do once it is off its stack (S3: publish after the switch).

/// The word that a fiber hands to its worker with each switch out. (No enum, which would have to be made of the word each time.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AfterSwitch(usize);

impl AfterSwitch {
    /// Run it again after the others: it yielded.
    pub(crate) const REQUEUE: AfterSwitch = AfterSwitch(0);
    /// Move it to PARKED, unless it was called meanwhile.
    pub(crate) const PARK: AfterSwitch = AfterSwitch(1);
    /// Take its stack back: it has ended.
    pub(crate) const FINISH: AfterSwitch = AfterSwitch(2);
    /// It was made to leave a stack that it overflowed. Nothing there is ever used again (S4).
    pub(crate) const RETIRE: AfterSwitch = AfterSwitch(3);

    /// The fiber does not come back.
    #[inline]
    pub(crate) fn is_last(self) -> bool {
        self == AfterSwitch::FINISH || self == AfterSwitch::RETIRE
    }

    #[inline]
    pub(super) fn encode(self) -> usize {
        self.0
    }

    #[inline]
    pub(super) fn decode(word: usize) -> AfterSwitch {
        AfterSwitch(word)
    }
}
