//! The policy from outside: cases and broken files that anyone can add to, what must hold for every input, and every example
//! of the documentation and the shipped rules.

mod cases;
mod documentation;
mod examples;
mod faults;
mod invariants;
mod lint;
mod shipped;
mod support;
mod turning;
