//! Systems whose unwinder cannot be told anything.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::ptr::NonNull;

use super::error::RegisterError;
use super::registration::Registration;
use crate::unwind_info::FrameLayout;

#[derive(Debug)]
pub(super) struct Registered(Infallible);

impl Registered {
    /// # Safety
    /// None needed.
    pub(super) unsafe fn eh_frame(_: Vec<u8>) -> Result<Registered, RegisterError> {
        Err(RegisterError::Unsupported)
    }
}

#[derive(Debug)]
pub(super) struct Pages(Infallible);

impl Pages {
    pub(super) fn map(_: usize) -> Result<Pages, RegisterError> {
        Err(RegisterError::Unsupported)
    }

    pub(super) const fn start(&self) -> NonNull<u8> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(super) struct Descriptions(Infallible);

impl Descriptions {
    pub(super) const fn new(pages: &Pages) -> Descriptions {
        match pages.0 {}
    }

    pub(super) fn add(&mut self, _: u64, _: &FrameLayout) -> Result<(), RegisterError> {
        match self.0 {}
    }

    /// # Safety
    /// None needed.
    pub(super) unsafe fn seal(
        self,
        _: &mut Pages,
        _: usize,
    ) -> Result<Registration, RegisterError> {
        match self.0 {}
    }
}
