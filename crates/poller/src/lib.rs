//! The poller: asks the producer's mailbox. It composes roles; what they do stands in `paradigms/`.

use std::error::Error;

use crosstalk_host::{Host, NodeSpec, Receiver, Sockets, http::Role};

/// What the poller is.
pub const SPEC: NodeSpec = NodeSpec {
    name: "poller",
    about: "asks the producer's mailbox for messages: short polling or long polling",
    udp: false,
    amqp: false,
    lasting: false,
    repair: None,
    threads: None,
    sections: &["http", "log", "run", "inbox", "receiver", "peers", "polling", "topology"],
    examples: "",
};

/// The poller's ends of all paradigms it takes part in.
///
/// # Errors
/// When an option is wrong, or the inbox cannot be opened.
pub async fn roles(host: Host, _: Sockets) -> Result<Vec<Role>, Box<dyn Error + Send + Sync>> {
    let receiver = Receiver::open(&host)?;
    Ok(vec![receiver.role(), crosstalk_polling::poller::role(&host, &receiver)?])
}
