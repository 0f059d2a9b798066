//! The producer: starts exchanges. It composes roles; what they do stands in `paradigms/`.

use std::error::Error;

use crosstalk_host::{Host, NodeSpec, Sockets, http::Role};

/// What the producer is.
pub const SPEC: NodeSpec = NodeSpec {
    name: "producer",
    about: "starts exchanges: calls the consumer, publishes to queues and topics, keeps a mailbox for pollers",
    udp: false,
    amqp: false,
    lasting: false,
    repair: None,
    threads: None,
    sections: &["http", "log", "run", "peers", "amqp", "request-response", "queue", "pubsub", "polling", "topology"],
    examples: "",
};

/// The producer's ends of all paradigms it takes part in.
///
/// # Errors
/// When an option is wrong.
pub async fn roles(host: Host, _: Sockets) -> Result<Vec<Role>, Box<dyn Error + Send + Sync>> {
    let links = crosstalk_amqp_link::Links::open(&host)?;
    Ok(vec![
        crosstalk_request_response::producer::role(&host)?,
        crosstalk_polling::producer::role(&host)?,
        crosstalk_queue::producer::role(&host, &links)?,
        crosstalk_pubsub::producer::role(&host, &links)?,
    ])
}
