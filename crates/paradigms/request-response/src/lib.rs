//! Request/response: the caller keeps the exchange open until the callee responds.
//!
//! | file | what stands there |
//! | --- | --- |
//! | [`wire`] | the path and the headers that both ends agree on |
//! | [`producer`] | the caller: reqwest |
//! | [`consumer`] | the callee: axum |
//!
//! The response comes only when the work is done, so the caller waits for the final receiver. It knows nothing
//! of brokers, and does not try again: a request without a response is reported as what it is.

pub mod consumer;
pub mod producer;
pub mod wire;
