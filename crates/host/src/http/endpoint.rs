//! What a role offers over HTTP: handlers together with their description, so that the router, `/` and
//! `/openapi.json` cannot disagree.

use axum::{
    Extension,
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use crosstalk_contract::describe::RoleDescription;

use super::params::{Declared, Param};

/// One method of one path.
pub struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) details: Option<&'static str>,
    pub(crate) params: Vec<Param>,
    pub(crate) body: Option<&'static str>,
    pub(crate) curl: Vec<Curl>,
    pub(crate) handler: MethodRouter,
}

/// A curl line: what it shows, and the arguments with `{base}` for the node's own address.
pub(crate) struct Curl {
    pub(crate) about: &'static str,
    pub(crate) arguments: String,
}

impl Endpoint {
    fn new<H, T, S>(method: Method, path: &'static str, summary: &'static str, handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let handler = on(filter, handler).with_state(state);
        Self { method, path, summary, details: None, params: Vec::new(), body: None, curl: Vec::new(), handler }
    }

    /// `GET path`: `handler` with `state`.
    pub fn get<H, T, S>(path: &'static str, summary: &'static str, handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Self::new(Method::GET, path, summary, handler, state)
    }

    /// `POST path`: `handler` with `state`.
    pub fn post<H, T, S>(path: &'static str, summary: &'static str, handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Self::new(Method::POST, path, summary, handler, state)
    }

    /// `PUT path`: `handler` with `state`.
    pub fn put<H, T, S>(path: &'static str, summary: &'static str, handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Self::new(Method::PUT, path, summary, handler, state)
    }

    /// Adds what is to be known about the answer beyond the summary, for `/openapi.json`.
    #[must_use]
    pub fn details(mut self, about: &'static str) -> Self {
        self.details = Some(about);
        self
    }

    /// Declares query parameters; others are refused.
    #[must_use]
    pub fn params(mut self, params: impl IntoIterator<Item = Param>) -> Self {
        self.params.extend(params);
        self
    }

    /// Describes the request's body.
    #[must_use]
    pub fn body(mut self, about: &'static str) -> Self {
        self.body = Some(about);
        self
    }

    /// Adds a line for `/`. `arguments` follow `curl -sS`; `{base}` becomes the node's address.
    #[must_use]
    pub fn curl(mut self, about: &'static str, arguments: impl Into<String>) -> Self {
        self.curl.push(Curl { about, arguments: arguments.into() });
        self
    }

    /// The handler, with the declared parameters in reach of [`super::Params`].
    pub(crate) fn route(&self) -> MethodRouter {
        self.handler.clone().layer(Extension(Declared(self.params.clone().into())))
    }
}

/// One end of a paradigm within a node (or another group of endpoints that belong together).
pub struct Role {
    /// What it says about itself.
    pub description: RoleDescription,
    /// What it offers.
    pub endpoints: Vec<Endpoint>,
}

impl Role {
    /// Endpoints that belong to no paradigm, such as an inbox.
    #[must_use]
    pub fn pages(endpoints: Vec<Endpoint>) -> Self {
        Self { description: RoleDescription::default(), endpoints }
    }
}
