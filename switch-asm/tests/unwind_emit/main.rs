//! Prologues and epilogues that `emit` writes, and the check of code against a layout.
//!
//! | file | what |
//! |---|---|
//! | `goldens` | the bytes of known prologues, and what both formats say of them |
//! | `errors` | what no function can be made of |
//! | `places` | locals, arguments, what is filled in later |
//! | `executed` | functions that are run |
//! | `accepted` | code that fits its layout |
//! | `releases` | how frames are released from a frame register |
//! | `refused` | code and layouts that do not fit |
//! | `specs` | random specifications |

mod accepted;
mod errors;
mod executed;
mod goldens;
mod places;
mod refused;
mod releases;
mod specs;
