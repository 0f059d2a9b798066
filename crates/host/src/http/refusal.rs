//! Errors as `application/problem+json` (RFC 9457). It does not know what went wrong, only how to say it.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use crosstalk_contract::problem::{MEDIA_TYPE, Problem};

/// An answer that says no, and why.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    retry_after_s: Option<u16>,
}

impl Refusal {
    /// A refusal with the given status; `detail` says what was wrong, what was expected and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, retry_after_s: None }
    }

    /// 400: the parameter, header or member `field` is wrong.
    pub fn bad(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 404: there is no such thing here.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 413: a body or payload is over its bound.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 503: a peer is not there, or too much is going on; worth trying again after a second.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 507: a message that cannot be kept, and is therefore not taken (RFC 4918, section 11.5).
    pub fn insufficient_storage(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, format!("the message was not taken: {error}"))
    }

    /// 500: a fault of this node.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// The same, with the parameter, header or member at fault.
    #[must_use]
    pub fn naming(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// The same, said of something in particular.
    #[must_use]
    pub fn of(mut self, what: &str) -> Self {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let problem = Problem { field: self.field, ..Problem::new(self.status.as_u16(), title, self.detail) };
        let mut body = serde_json::to_vec_pretty(&problem).unwrap_or_default();
        body.push(b'\n');
        let mut response = (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
