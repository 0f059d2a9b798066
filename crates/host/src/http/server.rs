//! The router of a node and the loop that serves it, with bounds on connections, header time and shutdown.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use crosstalk_contract::describe::{CurlLine, NodeDescription};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Endpoint, Pretty, Refusal, Role, guard, openapi};
use crate::{Host, readiness};

/// Longest time for a request's head: longer, and slow clients could hold all connections.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Longest time that open exchanges get to end once the node is told to stop.
const DRAIN_MAX: Duration = Duration::from_millis(700);

/// What the standard pages show.
struct Pages {
    host: Host,
    description: NodeDescription,
    openapi: String,
}

/// All endpoints of `roles`, and the standard ones, behind the guard.
pub(crate) fn router(host: &Host, roles: Vec<Role>, allowed_hosts: &[String]) -> Router {
    let (descriptions, endpoints): (Vec<_>, Vec<_>) =
        roles.into_iter().map(|role| (role.description, role.endpoints)).unzip();
    let mut endpoints: Vec<Endpoint> = endpoints.into_iter().flatten().collect();
    let paradigms: Vec<_> = descriptions.into_iter().filter(|role| !role.paradigm.is_empty()).collect();
    let pages = Arc::new_cyclic(|pages| {
        endpoints.extend(standard(pages.clone()));
        Pages {
            description: NodeDescription {
                node: host.name().to_owned(),
                about: host.about().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                roles: paradigms,
                curl: endpoints.iter().flat_map(curl_lines).collect(),
                topology: host.topology().public(),
            },
            openapi: openapi::document(host.name(), host.about(), &endpoints).to_string(),
            host: host.clone(),
        }
    });
    let routes = endpoints.iter().fold(Router::new(), |router, endpoint| router.route(endpoint.path, endpoint.route()));
    let known: Arc<[String]> =
        endpoints.iter().map(|endpoint| format!("{} {}", endpoint.method, endpoint.path)).collect();
    routes
        .method_not_allowed_fallback({
            let known = Arc::clone(&known);
            move |method: Method, request: Request| wrong_method(method, request, known)
        })
        .fallback(move |request: Request| no_such_path(request, known))
        .layer(middleware::from_fn_with_state(Arc::clone(&pages), count))
        .layer(middleware::from_fn_with_state(guard::Allowed::new(host.topology(), allowed_hosts), guard::check))
}

type WeakPages = std::sync::Weak<Pages>;

fn standard(pages: WeakPages) -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/",
            "What this node is, with lines to copy; as JSON with Accept: application/json",
            index,
            pages.clone(),
        )
        .curl("what this node is, for programs", "-H 'Accept: application/json' '{base}/'"),
        Endpoint::get("/healthz", "Whether the process answers", || async { "ok\n" }, ())
            .curl("is the process there?", "'{base}/healthz'"),
        Endpoint::get(
            "/readyz",
            "Whether everything this node needs is there; 503 names what is not",
            ready,
            pages.clone(),
        )
        .curl("is everything it needs there?", "'{base}/readyz'"),
        Endpoint::get("/metrics", "Counters in the Prometheus text format", metrics, pages.clone())
            .curl("counters for Prometheus", "'{base}/metrics'"),
        Endpoint::get("/openapi.json", "This interface as OpenAPI 3.1", openapi_document, pages)
            .curl("the whole interface", "'{base}/openapi.json'"),
    ]
}

fn curl_lines(endpoint: &Endpoint) -> impl Iterator<Item = CurlLine> {
    let method = match endpoint.method {
        Method::GET => String::new(),
        ref method => format!("-X {method} "),
    };
    endpoint.curl.iter().map(move |curl| CurlLine {
        about: curl.about.to_owned(),
        line: format!("curl -sS {method}{}", curl.arguments),
    })
}

fn upgraded(pages: &WeakPages) -> Result<Arc<Pages>, Refusal> {
    pages.upgrade().ok_or_else(|| Refusal::unavailable("the node is stopping"))
}

async fn index(State(pages): State<WeakPages>, headers: HeaderMap) -> Result<Response, Refusal> {
    let pages = upgraded(&pages)?;
    let header = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let base = format!("http://{}", header(header::HOST).unwrap_or("localhost"));
    let mut description = pages.description.clone();
    for curl in &mut description.curl {
        curl.line = curl.line.replace("{base}", &base);
    }
    if header(header::ACCEPT).is_some_and(|accept| accept.contains("application/json")) {
        return Ok(Pretty(description).into_response());
    }
    let mut text = format!("{}: {}\n", description.node, description.about);
    text += &format!("Crosstalk {}, process {}\n", description.version, description.pid);
    for role in &description.roles {
        text += &format!("\n  {:17} {}", role.paradigm, role.about);
    }
    text += if description.roles.is_empty() { "\nLines to copy:\n" } else { "\n\nLines to copy:\n" };
    for curl in &description.curl {
        text += &format!("\n# {}\n{}\n", curl.about, curl.line);
    }
    Ok(text.into_response())
}

async fn ready(State(pages): State<WeakPages>) -> Result<Response, Refusal> {
    let needs = upgraded(&pages)?.host.readiness().needs();
    let missing: Vec<_> = needs.iter().filter_map(readiness::Need::complaint).collect();
    if missing.is_empty() { Ok(Pretty(needs).into_response()) } else { Err(Refusal::unavailable(missing.join("; "))) }
}

async fn metrics(State(pages): State<WeakPages>) -> Result<Response, Refusal> {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // Held for the counters only: a scrape must not keep the pages of a node that ends.
    let metrics = upgraded(&pages)?.host.metrics().clone();
    Ok(([(header::CONTENT_TYPE, TEXT)], metrics.render().await).into_response())
}

async fn openapi_document(State(pages): State<WeakPages>) -> Result<Response, Refusal> {
    Ok(([(header::CONTENT_TYPE, "application/json")], upgraded(&pages)?.openapi.clone()).into_response())
}

async fn count(State(pages): State<Arc<Pages>>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let path = path.as_ref().map_or("other", MatchedPath::as_str);
    pages.host.metrics().request(path, response.status().as_u16());
    response
}

async fn no_such_path(request: Request, known: Arc<[String]>) -> Refusal {
    let path: String = request.uri().path().chars().take(80).collect();
    Refusal::not_found(format!("no {path:?} here; known are {}", known.join(", ")))
}

async fn wrong_method(method: Method, request: Request, known: Arc<[String]>) -> Refusal {
    let path = request.uri().path();
    let fits: Vec<_> = known.iter().filter(|line| line.ends_with(&format!(" {path}"))).map(String::as_str).collect();
    let hint = if fits.is_empty() { known.join(", ") } else { fits.join(", ") };
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path; known are {hint}"))
}

/// Serves until the host is told to stop, then gives open exchanges [`DRAIN_MAX`] to end.
pub(crate) async fn serve(listener: TcpListener, router: Router, host: &Host, connections_max: usize) {
    let connections = Arc::new(Semaphore::new(connections_max));
    let open = TaskTracker::new();
    let stopped = host.shutdown();
    loop {
        let Some(permit) = stopped.run_until_cancelled(Arc::clone(&connections).acquire_owned()).await else { break };
        let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((stream, _)) => {
                let serving = serve_connection(stream, router.clone(), host.clone());
                open.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must end before the next one can begin.
                debug!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    drop(listener);
    open.close();
    let _ = timeout(DRAIN_MAX, open.wait()).await;
}

async fn serve_connection(stream: TcpStream, router: Router, host: Host) {
    let _ = stream.set_nodelay(true);
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = host.shutdown().cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("a connection broke off: {error}");
    }
}
