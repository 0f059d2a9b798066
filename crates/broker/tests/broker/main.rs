//! The broker over real sockets: with lapin, as its users will, and with raw bytes, as its attackers may.
//!
//! Waits are on conditions, each under one deadline; nothing asserts how long something took.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]

mod access;
mod consumers;
mod damage;
#[cfg(target_os = "linux")]
mod disk_faults;
mod durable;
#[cfg(target_os = "linux")]
mod full_disk;
mod harness;
mod hostile;
mod limits;
mod messages;
mod pages;
mod process;
mod program;
mod queue_arguments;
mod raw;
mod refusals;
mod reply_to;
#[cfg(target_os = "linux")]
mod strace;
#[cfg(target_os = "linux")]
mod system_limits;
#[cfg(feature = "tls")]
mod tls;
mod transactions;
