//! JSON with line breaks, for answers that people read in a terminal. It does not know what they say.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::Refusal;

/// An answer as JSON with line breaks.
#[derive(Debug, Clone, Copy)]
pub struct Pretty<T>(pub T);

impl<T: Serialize> IntoResponse for Pretty<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec_pretty(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => Refusal::internal(error).into_response(),
        }
    }
}
