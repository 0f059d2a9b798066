//! What the owner of a broker decides: who may log in, what is announced, and every bound.
//!
//! Holds values only. Does not know where they were read from (the binary's configuration) or who enforces them.

use std::fmt;
use std::time::Duration;

/// How a [`Broker`](crate::Broker) behaves. The default is a broker for one machine: user `guest`, vhost `/`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every bound, in one place.
    pub limits: Limits,
    /// The heartbeat interval offered to clients; they may ask for a shorter one or for none (0). Whole seconds,
    /// as on the wire. Default 60 s, RabbitMQ's.
    pub heartbeat: Duration,
    /// The `product` in the server properties.
    pub product: String,
    /// The `cluster_name` in the server properties, for people who look at clients' logs.
    pub name: String,
    /// Who may log in. Default: `guest` with password `guest`.
    pub users: Vec<User>,
    /// Whether the user `guest` may log in with its default password from elsewhere than loopback. Default `false`:
    /// a password that everyone knows must not open a broker to a network.
    pub allow_remote_default_user: bool,
    /// The virtual hosts, each a namespace of its own for queues and exchanges. Default: `/` alone.
    pub vhosts: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            heartbeat: Duration::from_secs(60),
            product: "Crosstalk broker".to_owned(),
            name: "crosstalk".to_owned(),
            users: vec![User::default_user()],
            allow_remote_default_user: false,
            vhosts: vec!["/".to_owned()],
        }
    }
}

/// Someone who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: String,
}

impl User {
    /// A user with a password.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: password.into() }
    }

    /// `guest`/`guest`, which every client tries first.
    pub fn default_user() -> Self {
        Self::new("guest", "guest")
    }

    /// The name, which also appears in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether name and password are these; takes the same time wherever they differ.
    pub(crate) fn matches(&self, name: &[u8], password: &[u8]) -> bool {
        same_bytes(self.name.as_bytes(), name) & same_bytes(self.password.as_bytes(), password)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |seen, (a, b)| seen | (a ^ b));
    (left.len() == right.len()) & (differences == 0)
}

/// Every bound of the broker. A peer that breaks one gets the AMQP error named here; nothing grows without one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, those still in the handshake included. Default 4,096: below the usual 8,192 or more file
    /// descriptors of a service. Further ones are closed at once.
    pub connections: usize,
    /// Channels per connection offered in `connection.tune`. Default 2,047, RabbitMQ's. Broken: 530.
    pub channel_max: u16,
    /// Octets of a frame offered in `connection.tune`, header and end octet included; at least 4,096. Default
    /// 131,072, RabbitMQ's. Broken: 501.
    pub frame_max: u32,
    /// From the first byte to `connection.open-ok`. Default 10 s, RabbitMQ's. Broken: the socket is closed.
    pub handshake: Duration,
    /// How long a peer may take to answer `connection.close`, and a shutdown to drain. Default 500 ms.
    pub close: Duration,
    /// Octets of one message's body. Default 16 MiB, RabbitMQ 4's. Broken: 406.
    pub message_bytes: u64,
    /// Octets of contents that have begun to arrive and are not whole, per connection, over all its channels. Default
    /// 64 MiB: four of the largest messages side by side. Broken: 506.
    pub incomplete_bytes: usize,
    /// Octets of all messages held, ready or unacknowledged, counted in each queue that holds them, with
    /// [`MESSAGE_OVERHEAD_BYTES`](crate::MESSAGE_OVERHEAD_BYTES) for each. Above it, connections that publish are
    /// told `connection.blocked` and no longer read from, until it has fallen to nine tenths. Default 1 GiB.
    pub held_bytes: usize,
    /// Octets of deliveries on their way to one connection. Above it, its consumers get nothing more until half
    /// of it is written. Default 1 MiB: several socket buffers, so that a fast reader never waits for the broker.
    pub delivery_bytes: usize,
    /// Octets of everything else on its way to one connection (answers, confirms, returned messages), on top of
    /// `delivery_bytes`. Above it, the connection is not read from. Default 4 MiB.
    pub reply_bytes: usize,
    /// Queues per virtual host. Default 65,536. Broken: 406.
    pub queues: usize,
    /// Exchanges per virtual host, the predeclared ones included. Default 16,384. Broken: 406.
    pub exchanges: usize,
    /// Bindings per virtual host. Default 262,144. Broken: 406.
    pub bindings: usize,
    /// Consumers per channel. Default 4,096. Broken: 530.
    pub consumers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            channel_max: 2_047,
            frame_max: 131_072,
            handshake: Duration::from_secs(10),
            close: Duration::from_millis(500),
            message_bytes: 16 << 20,
            incomplete_bytes: 64 << 20,
            held_bytes: 1 << 30,
            delivery_bytes: 1 << 20,
            reply_bytes: 4 << 20,
            queues: 65_536,
            exchanges: 16_384,
            bindings: 262_144,
            consumers: 4_096,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_password() {
        let options = Options { users: vec![User::new("ada", "s3cret")], ..Options::default() };
        let text = format!("{options:?}");
        assert!(text.contains("ada") && !text.contains("s3cret"));
    }

    #[test]
    fn credentials_match_as_a_whole() {
        let user = User::new("ada", "s3cret");
        assert!(user.matches(b"ada", b"s3cret"));
        assert!(!user.matches(b"ada", b"s3cre") && !user.matches(b"adb", b"s3cret") && !user.matches(b"", b""));
    }
}
