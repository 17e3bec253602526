//! Equal pieces of a buffer, kept once.

use alloc::vec;
use alloc::vec::Vec;

/// Pieces in one buffer, each at a multiple of 4. Functions of a JIT have few frames that differ.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// One more than the place in `pieces`, or 0: open addressing, at most half full, a power of two.
    slots: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    len: u32,
    hash: u32,
}

impl Pieces {
    pub(super) const fn new() -> Pieces {
        Pieces {
            bytes: Vec::new(),
            pieces: Vec::new(),
            slots: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Where the piece is that `write` appends: `None` if the buffer is 4 GiB long. `write` must leave what is
    /// there before it.
    pub(super) fn add<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<u32>, E> {
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let len = self.bytes.len() - start;
        let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) else {
            self.bytes.truncate(start);
            return Ok(None);
        };
        if 2 * (self.pieces.len() + 1) > self.slots.len() {
            self.grow();
        }
        let piece = Piece {
            start,
            len,
            hash: hash(&self.bytes[start as usize..]),
        };
        let slot = self.find(piece);
        match self.slots[slot] {
            0 => {
                self.pieces.push(piece);
                self.slots[slot] =
                    u32::try_from(self.pieces.len()).expect("each has 4 bytes or more of 4 GiB");
                self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
                Ok(Some(start))
            }
            index => {
                self.bytes.truncate(start as usize);
                Ok(Some(self.pieces[index as usize - 1].start))
            }
        }
    }

    /// The slot of an equal piece, or the empty one where it belongs.
    fn find(&self, piece: Piece) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = piece.hash as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return slot,
                index => {
                    let other = self.pieces[index as usize - 1];
                    if other.hash == piece.hash && self.of(other) == self.of(piece) {
                        return slot;
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn of(&self, piece: Piece) -> &[u8] {
        &self.bytes[piece.start as usize..][..piece.len as usize]
    }

    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(64);
        self.slots = vec![0; len];
        for index in 0..self.pieces.len() {
            // No two are equal: the first empty slot is theirs.
            let mut slot = self.pieces[index].hash as usize & (len - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (len - 1);
            }
            self.slots[slot] = u32::try_from(index + 1).expect("each has 4 bytes or more of 4 GiB");
        }
    }
}

/// Multiplies word by word; the upper half has what all words had to say.
fn hash(bytes: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = bytes.len() as u64;
    let mut mix = |word: u32| sum = (sum ^ u64::from(word)).wrapping_mul(ODD).rotate_left(29);
    let (words, rest) = bytes.as_chunks();
    for &word in words {
        mix(u32::from_le_bytes(word));
    }
    for &byte in rest {
        mix(byte.into());
    }
    (sum.wrapping_mul(ODD) >> 32) as u32
}
