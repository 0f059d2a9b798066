//! What caller and callee agree on. It does no input or output.

use axum::http::HeaderMap;
use crosstalk_contract::{Identity, text};

/// The paradigm's name in runs, reports and metrics.
pub const PARADIGM: &str = "request-response";
/// Path of one exchange: the body is the message's payload, its identity stands in the headers of
/// [`text::NAMES`]; 204 when the work is done.
pub const PATH: &str = "/request-response/exchange";

/// Reads the identity of a request.
///
/// # Errors
/// Names the header that is missing or wrong.
pub fn identity(headers: &HeaderMap) -> Result<Identity, text::TextError> {
    text::parse(|name| headers.get(name).and_then(|value| value.to_str().ok()))
}
