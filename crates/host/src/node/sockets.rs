//! The sockets of a node and their addresses. It does not know who speaks on them.

use crosstalk_contract::topology::Topology;
use tokio::net::{TcpListener, UdpSocket};

use super::{NodeArgs, NodeError, NodeSpec};
use crate::topology;

/// What a node listens on besides HTTP.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For datagrams, in a node that has one.
    pub udp: Option<UdpSocket>,
    /// For AMQP, in the broker.
    pub amqp: Option<TcpListener>,
}

pub(super) async fn bind(
    spec: &'static NodeSpec,
    args: &NodeArgs,
    topology: Option<&Topology>,
) -> Result<(TcpListener, Sockets), NodeError> {
    let address = choose(spec, "listen", args.listen.as_deref(), topology)?;
    let listener = listen(spec, "listen", &address).await?;
    let mut sockets = Sockets::default();
    if spec.udp {
        let address = choose(spec, "listen-udp", args.listen_udp.as_deref(), topology)?;
        let socket = UdpSocket::bind(&address).await;
        sockets.udp = Some(socket.map_err(|source| cannot(spec, "listen-udp", &address, source))?);
    }
    if spec.amqp {
        let address = choose(spec, "listen-amqp", args.listen_amqp.as_deref(), topology)?;
        sockets.amqp = Some(listen(spec, "listen-amqp", &address).await?);
    }
    Ok((listener, sockets))
}

/// The address for HTTP, without listening on it.
pub(super) fn http_address(spec: &'static NodeSpec, args: &NodeArgs) -> Result<String, NodeError> {
    if let Some(given) = &args.listen {
        return Ok(given.clone());
    }
    choose(spec, "listen", None, Some(&topology::load(&args.topology, args.port_base)?))
}

/// What was asked for, else the node's own address in the topology: as it is when it is a number, and its port
/// on any interface when it is a name, which only a network of containers gives out.
fn choose(
    spec: &'static NodeSpec,
    option: &'static str,
    given: Option<&str>,
    topology: Option<&Topology>,
) -> Result<String, NodeError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let node = topology.and_then(|topology| topology.nodes.get(spec.name));
    let own = match option {
        "listen" => node.map(|node| node.http.clone()),
        "listen-udp" => node.and_then(|node| node.udp.clone()),
        _ => topology.and_then(own_amqp),
    };
    let own = own.ok_or(NodeError::NoAddress { node: spec.name, option })?;
    match own.rsplit_once(':') {
        Some((host, port)) if host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err() => {
            Ok(format!("0.0.0.0:{port}"))
        }
        _ => Ok(own),
    }
}

/// `host:port` of the embedded broker's URL.
fn own_amqp(topology: &Topology) -> Option<String> {
    let url = &topology.brokers.iter().find(|broker| broker.name == "embedded")?.url;
    let place = url.rsplit_once('@').map_or_else(|| url.trim_start_matches("amqp://"), |(_, place)| place);
    let authority = place.split('/').next()?;
    Some(if authority.contains(':') { authority.to_owned() } else { format!("{authority}:5672") })
}

async fn listen(spec: &'static NodeSpec, option: &'static str, address: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|source| cannot(spec, option, address, source))
}

fn cannot(spec: &'static NodeSpec, option: &'static str, address: &str, source: std::io::Error) -> NodeError {
    NodeError::Listen { node: spec.name, address: address.to_owned(), option, source }
}

/// All addresses, for a log line.
pub(super) fn described(listener: &TcpListener, sockets: &Sockets) -> String {
    let mut text = listener.local_addr().map_or_else(|_| "http".to_owned(), |address| format!("http://{address}"));
    if let Some(address) = sockets.udp.as_ref().and_then(|socket| socket.local_addr().ok()) {
        text += &format!(", udp {address}");
    }
    if let Some(address) = sockets.amqp.as_ref().and_then(|listener| listener.local_addr().ok()) {
        text += &format!(", amqp://{address}");
    }
    text
}
