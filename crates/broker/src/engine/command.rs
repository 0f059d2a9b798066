//! What goes into the engine and what comes out of it.
//!
//! Values only. Does not know who carries the effects out.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::Publish;

use crate::exception::Exception;
use crate::frame::Content;
use crate::identity::{CommitId, MessageId, QueueId};
use crate::message::Message;
use crate::permission::Permissions;
use crate::store::{Log, Operation, Report};

/// A connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// A channel of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChannelKey {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u16,
}

/// Octets that went over a connection so far, encryption aside. Counted once for each read and write.
#[derive(Debug, Default)]
pub(crate) struct Octets {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// The address it connects from.
    pub(crate) peer: String,
    /// The name it gave itself (`connection_name`), if it did.
    pub(crate) name: Option<String>,
    /// Who logged in.
    pub(crate) user: String,
    pub(crate) vhost: String,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    pub(crate) octets: Arc<Octets>,
    /// What the user may do there.
    pub(crate) permissions: Arc<Permissions>,
    /// The highest channel number agreed upon.
    pub(crate) channel_max: u16,
    /// Whether it wants `basic.cancel` from the server when its queue goes.
    pub(crate) consumer_cancel_notify: bool,
    /// Whether it wants `connection.blocked`.
    pub(crate) blocked_notify: bool,
}

/// Something that happened outside of the engine.
#[derive(Debug)]
pub(crate) enum Command {
    /// A client has logged in and opened its virtual host.
    Connect { connection: ConnectionId, client: Client },
    /// A method without content arrived on a channel.
    Method { channel: ChannelKey, method: Box<AMQPClass> },
    /// A message arrived whole.
    Publish { channel: ChannelKey, publish: Publish, content: Content },
    /// The connection found a fault in what a channel sent.
    Fault { channel: ChannelKey, exception: Exception, class_id: u16, method_id: u16 },
    /// The client sent `connection.close`.
    Close { connection: ConnectionId },
    /// The connection is gone.
    Disconnect { connection: ConnectionId },
    /// Deliveries of this many octets, as [`Outbound::cost`] counts them, have left towards the client.
    Drained { connection: ConnectionId, bytes: usize },
    /// The store has done something.
    Store(Report),
    /// The broker is being shut down: all connections are to be closed.
    Shutdown,
}

/// Something to be done outside of the engine, in order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// To be written to a connection; with `after`, not before that commit is done, and neither is anything later for
    /// the same connection.
    Send { connection: ConnectionId, outbound: Outbound, after: Option<CommitId> },
    /// Nothing more will be sent to this connection, and nothing more is expected from it.
    Finish { connection: ConnectionId },
    /// To be stored; [`Report::Committed`] is due for it.
    Commit { commit: CommitId, operations: Vec<Operation> },
    /// To be read from disk; [`Report::Loaded`] is due for it.
    Load { queue: QueueId, wanted: Vec<(Log, MessageId)> },
    /// Connections that publish are to stop (`true`) or may go on.
    HoldPublishers(bool),
}

/// One thing to write to a connection.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A method without content.
    Method { channel: u16, method: Box<AMQPClass> },
    /// `basic.deliver` with its content.
    Deliver { channel: u16, consumer_tag: Arc<str>, delivery_tag: u64, redelivered: bool, message: Arc<Message> },
    /// `basic.get-ok` with its content.
    GetOk { channel: u16, delivery_tag: u64, redelivered: bool, message_count: u32, message: Arc<Message> },
    /// `basic.return` with its content: nobody to route a mandatory message to (312).
    Return { channel: u16, message: Arc<Message> },
    /// A publisher confirm.
    Confirm { channel: u16, delivery_tag: u64, multiple: bool, ack: bool },
    /// `connection.close`, after which nothing is written any more.
    Close { exception: Exception, class_id: u16, method_id: u16 },
}

/// What a method without content counts for in the bounds of outbound buffers, in octets.
const METHOD_COST_BYTES: usize = 128;

impl Outbound {
    /// What it counts for in the bounds of outbound buffers, in octets.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Method { .. } | Self::Confirm { .. } | Self::Close { .. } => METHOD_COST_BYTES,
            Self::Deliver { message, .. } | Self::GetOk { message, .. } | Self::Return { message, .. } => {
                message.weight()
            }
        }
    }

    /// Whether [`Command::Drained`] is due once it is written.
    pub(crate) fn is_delivery(&self) -> bool {
        matches!(self, Self::Deliver { .. })
    }
}
