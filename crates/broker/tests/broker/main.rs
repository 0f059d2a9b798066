//! The broker over real sockets: with lapin, as its users will, and with raw bytes, as its attackers may.
//!
//! Waits are on conditions, each under one deadline; nothing asserts how long something took.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]

mod harness;
mod messages;
mod raw;
mod refusals;
