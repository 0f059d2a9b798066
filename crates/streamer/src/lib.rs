//! The streamer: streams to whoever opened a session with it. It composes roles; what they do stands in
//! `paradigms/`.

use std::error::Error;

use crosstalk_host::{Host, NodeSpec, Sockets, http::Role};

/// What the streamer is.
pub const SPEC: NodeSpec = NodeSpec {
    name: "streamer",
    about: "streams messages at a pace, over UDP or a WebSocket, to the consumer that opened a session",
    udp: false,
    amqp: false,
    lasting: false,
    repair: None,
    threads: None,
    sections: &["http", "log", "run", "peers", "streaming", "topology"],
    examples: "",
};

/// The streamer's ends of all paradigms it takes part in.
///
/// # Errors
/// When an option is wrong.
pub async fn roles(host: Host, _: Sockets) -> Result<Vec<Role>, Box<dyn Error + Send + Sync>> {
    Ok(vec![crosstalk_streaming::streamer::role(&host)?])
}
