//! The HTTP side of a node: endpoints that describe themselves, checked parameters, bounded bodies, and errors
//! that teach. It knows no paradigm; a role brings its endpoints.

pub mod body;
pub mod endpoint;
mod guard;
mod openapi;
pub mod params;
mod pretty;
pub mod refusal;
mod server;

pub use endpoint::{Endpoint, Role};
pub use params::{Kind, Param, Params};
pub use pretty::Pretty;
pub use refusal::Refusal;
pub(crate) use server::{router, serve};
