//! Who may ask: a request must name a host that is this node, and a browser's page must be its own. It stops
//! pages of foreign sites from reaching a cluster on the reader's machine (DNS rebinding, cross-site requests).

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};
use crosstalk_contract::topology::Topology;

use super::Refusal;

/// Host names that this node answers to, without ports. Loopback addresses are always among them.
#[derive(Debug, Clone)]
pub(crate) struct Allowed(Arc<HashSet<String>>);

impl Allowed {
    pub(crate) fn new(topology: &Topology, extra: &[String]) -> Self {
        let nodes = topology.nodes.values().flat_map(|node| [Some(&node.http), node.published.as_ref()]).flatten();
        let names = nodes.map(|address| host_of(address)).chain(extra.iter().map(String::as_str));
        Self(Arc::new(names.map(str::to_ascii_lowercase).collect()))
    }

    fn admits(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let loopback = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback || host.eq_ignore_ascii_case("localhost") || self.0.contains(&host.to_ascii_lowercase())
    }
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

pub(crate) async fn check(State(allowed): State<Allowed>, request: Request, next: Next) -> Result<Response, Refusal> {
    admit(&allowed, &request)?;
    Ok(next.run(request).await)
}

fn admit(allowed: &Allowed, request: &Request) -> Result<(), Refusal> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST).or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let Some(host) = host.filter(|host| allowed.admits(host)) else {
        let got = host.unwrap_or("none").chars().take(80).collect::<String>();
        let detail = format!(
            "Host {got:?} is not this node; ask it by its address in the topology or by localhost, or list the name in http.allowed_hosts"
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, detail));
    };
    let own =
        |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    match header(header::ORIGIN) {
        Some(origin) if !own(origin) => {
            Err(Refusal::new(StatusCode::FORBIDDEN, "pages of other origins may not use this node"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_the_topology_and_listed_names_are_admitted() {
        let mut topology = Topology::default();
        topology.nodes.insert(
            "producer".into(),
            crosstalk_contract::topology::NodeAddress { http: "producer:8080".into(), ..Default::default() },
        );
        let allowed = Allowed::new(&topology, &["lab.example".into()]);
        for host in [
            "localhost",
            "localhost:4401",
            "127.0.0.1:1",
            "[::1]:80",
            "[::1]",
            "producer:8080",
            "Producer",
            "lab.example",
        ] {
            assert!(allowed.admits(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:4401", "127.0.0.1.evil.example", "10.0.0.1:4401", "localhost.evil"]
        {
            assert!(!allowed.admits(host), "{host}");
        }
    }
}
