//! Errors over HTTP: the problem details object of RFC 9457. It knows no web framework.

use serde::{Deserialize, Serialize};

/// The media type (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One problem. `type` is `about:blank` (RFC 9457, section 4.2.1): the status says what kind it is, `detail`
/// what was wrong, what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status in words (RFC 9110, section 15).
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What was wrong, what was expected, what to do.
    pub detail: String,
    /// The parameter, header or member of the body at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem with the given status, its title, and what was wrong.
    #[must_use]
    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self { kind: about_blank(), title: title.to_owned(), status, detail: detail.into(), field: None }
    }
}
