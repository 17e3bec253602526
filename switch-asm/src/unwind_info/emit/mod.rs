//! Prologues and epilogues, and their layouts, from one description.
