//! The consumer: answers calls, works off queues, subscribes, receives streams. It composes roles; what they do
//! stands in `paradigms/`.

use std::error::Error;

use crosstalk_host::{Host, NodeSpec, Receiver, Sockets, http::Role};

/// What the consumer is.
pub const SPEC: NodeSpec = NodeSpec {
    name: "consumer",
    about: "receives: answers calls, works off queues, subscribes to topics, listens to streams",
    udp: true,
    amqp: false,
    lasting: false,
    repair: None,
    threads: None,
    sections: &["http", "log", "inbox", "receiver", "peers", "amqp", "queue", "pubsub", "streaming", "topology"],
    examples: "",
};

/// The consumer's ends of all paradigms it takes part in.
///
/// # Errors
/// When an option is wrong, or the inbox cannot be opened.
pub async fn roles(host: Host, sockets: Sockets) -> Result<Vec<Role>, Box<dyn Error + Send + Sync>> {
    let receiver = Receiver::open(&host)?;
    let links = crosstalk_amqp_link::Links::open(&host)?;
    Ok(vec![
        receiver.role(),
        crosstalk_request_response::consumer::role(&host, &receiver),
        crosstalk_queue::consumer::role(&host, &receiver, &links)?,
        crosstalk_pubsub::consumer::role(&host, &receiver, &links)?,
        crosstalk_streaming::consumer::role(&host, &receiver, sockets.udp)?,
    ])
}
