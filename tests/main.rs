//! The cluster as a user meets it: real processes, real sockets, on free ports. Each test starts its own cluster by
//! running `crosstalk`, and knows nothing of the nodes but what they say over HTTP and on their standard output.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what goes wrong in a test is to end it, loudly")]

mod bad_input;
mod cluster;
mod command_line;
mod curl_lines;
mod paradigms;
mod restart;
mod shutdown;
mod tour;
mod transfer;
