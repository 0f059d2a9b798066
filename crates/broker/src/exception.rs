//! What AMQP calls exceptions: every reason to close a channel or a connection, with the code and the text for it.
//!
//! The texts are RabbitMQ's, because clients match on them. Soft exceptions close the channel, hard ones the
//! connection (section 2.2.4). Does not know how the close is carried out.

use crate::frame::TableError;

/// A channel exception (soft) or a connection exception (hard).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exception {
    // 311 and 403 to 406: soft.
    #[error("ACCESS_REFUSED - {kind} name '{name}' contains reserved prefix 'amq.*'")]
    ReservedName { kind: &'static str, name: String },
    #[error("ACCESS_REFUSED - operation not permitted on the default exchange")]
    DefaultExchange,
    #[error("ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '{vhost}'")]
    InternalExchange { name: String, vhost: String },
    #[error("ACCESS_REFUSED - queue '{name}' in vhost '{vhost}' in exclusive use")]
    ExclusiveUse { name: String, vhost: String },
    #[error("ACCESS_REFUSED - {access} access to {kind} '{name}' in vhost '{vhost}' refused for user '{user}'")]
    NoPermission { access: &'static str, kind: &'static str, name: Box<str>, vhost: Box<str>, user: Box<str> },
    #[error("ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '{vhost}' not allowed")]
    SystemExchange { name: String, vhost: String },
    #[error("NOT_FOUND - no {kind} '{name}' in vhost '{vhost}'")]
    NotFound { kind: &'static str, name: String, vhost: String },
    #[error("NOT_FOUND - no previously declared queue")]
    NoPreviousQueue,
    #[error(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'. It could be \
         originally declared on another connection or the exclusive property value does not match that of the \
         original declaration."
    )]
    Locked { name: String, vhost: String },
    #[error(
        "PRECONDITION_FAILED - inequivalent arg '{arg}' for {kind} '{name}' in vhost '{vhost}': received {received} \
         but current is {current}"
    )]
    Inequivalent {
        arg: Box<str>,
        kind: &'static str,
        name: Box<str>,
        vhost: Box<str>,
        received: Box<str>,
        current: Box<str>,
    },
    #[error("PRECONDITION_FAILED - unknown delivery tag {0}")]
    UnknownDeliveryTag(u64),
    #[error("PRECONDITION_FAILED - {kind} '{name}' in vhost '{vhost}' in use")]
    InUse { kind: &'static str, name: String, vhost: String },
    #[error("PRECONDITION_FAILED - queue '{name}' in vhost '{vhost}' not empty")]
    NotEmpty { name: String, vhost: String },
    #[error("PRECONDITION_FAILED - unknown exchange type '{0}'")]
    UnknownExchangeType(String),
    #[error("PRECONDITION_FAILED - invalid arg '{arg}' for {kind} '{name}' in vhost '{vhost}': {reason}")]
    InvalidArgument { arg: Box<str>, kind: &'static str, name: Box<str>, vhost: Box<str>, reason: Box<str> },
    #[error("PRECONDITION_FAILED - {0}")]
    InvalidMatch(Box<str>),
    #[error("PRECONDITION_FAILED - invalid message: {0}")]
    InvalidMessage(String),
    #[error("PRECONDITION_FAILED - user_id property set to '{claimed}' but authenticated user was '{actual}'")]
    WrongUserId { claimed: String, actual: String },
    #[error("PRECONDITION_FAILED - {0}")]
    Precondition(&'static str),
    #[error(
        "PRECONDITION_FAILED - invalid arg '{arg}' for queue '{name}' in vhost '{vhost}' of queue type {queue_type}"
    )]
    ArgumentOfOtherType { arg: &'static str, name: Box<str>, vhost: Box<str>, queue_type: &'static str },
    #[error("PRECONDITION_FAILED - invalid type '{found}' for arg '{arg}' in {kind} '{name}' in vhost '{vhost}'")]
    WrongArgumentType { found: &'static str, arg: &'static str, kind: &'static str, name: Box<str>, vhost: Box<str> },
    #[error("PRECONDITION_FAILED - Cannot declare a server-named queue for type {0}")]
    ServerNamedOfType(&'static str),
    #[error("PRECONDITION_FAILED - invalid property '{property}' for queue '{name}' in vhost '{vhost}'")]
    InvalidProperty { property: &'static str, name: Box<str>, vhost: Box<str> },
    #[error("PRECONDITION_FAILED - invalid expiration '{value}': {reason}")]
    InvalidExpiration { value: Box<str>, reason: Box<str> },
    #[error("PRECONDITION_FAILED - message size {size} is larger than configured max size {max}")]
    MessageTooLarge { size: u64, max: u64 },
    #[error("PRECONDITION_FAILED - {what} limit of {max} is reached")]
    LimitReached { what: &'static str, max: usize },
    // 320 and 403: hard, from outside of the protocol.
    #[error("CONNECTION_FORCED - broker is shutting down")]
    Shutdown,
    #[error(
        "ACCESS_REFUSED - Login was refused using authentication mechanism {0}. For details see the broker logfile."
    )]
    LoginRefused(String),
    // 501 to 505: hard, the wire.
    #[error("FRAME_ERROR - unknown frame type {0}")]
    UnknownFrameType(u8),
    #[error("FRAME_ERROR - frame_too_large: payload of {size} octets, frame_max is {max}")]
    FrameTooLarge { size: u64, max: u64 },
    #[error("FRAME_ERROR - frame end octet is missing")]
    BadFrameEnd,
    #[error("FRAME_ERROR - cannot decode the content header")]
    BadContentHeader,
    #[error("FRAME_ERROR - {0}")]
    BadTable(TableError),
    #[error("FRAME_ERROR - Malformed UTF-8 in shortstr")]
    NotUtf8,
    #[error("FRAME_ERROR - cannot decode the arguments of method {class_id}.{method_id}")]
    BadArguments { class_id: u16, method_id: u16 },
    #[error("COMMAND_INVALID - {0}")]
    CommandInvalid(&'static str),
    #[error("CHANNEL_ERROR - {0}")]
    ChannelError(&'static str),
    #[error("UNEXPECTED_FRAME - {0}")]
    UnexpectedFrame(&'static str),
    #[error("RESOURCE_ERROR - {0}")]
    ResourceError(&'static str),
    // 530 and 540: hard.
    #[error("NOT_ALLOWED - vhost {0} not found")]
    NoVhost(String),
    #[error("NOT_ALLOWED - access to vhost '{vhost}' refused for user '{user}'")]
    VhostRefused { vhost: String, user: String },
    #[error("NOT_ALLOWED - connection refused for user '{user}': user connection limit ({limit}) is reached")]
    TooManyConnections { user: String, limit: usize },
    #[error("NOT_ALLOWED - negotiated {what} = {asked} is {relation} than the {bound} allowed value ({limit})")]
    BadTune { what: &'static str, asked: u32, relation: &'static str, bound: &'static str, limit: u32 },
    #[error("NOT_ALLOWED - number of channels opened ({0}) has reached the negotiated channel_max ({0})")]
    TooManyChannels(u16),
    #[error("NOT_ALLOWED - reached maximum ({0}) of consumers per channel")]
    TooManyConsumers(usize),
    #[error("NOT_ALLOWED - attempt to reuse consumer tag '{0}'")]
    ConsumerTagInUse(String),
    #[error("NOT_IMPLEMENTED - {0}")]
    NotImplemented(&'static str),
    #[error("NOT_IMPLEMENTED - prefetch_size!=0 ({0})")]
    PrefetchSize(u32),
    #[error("NOT_IMPLEMENTED - unknown method {class_id}.{method_id}")]
    UnknownMethod { class_id: u16, method_id: u16 },
}

impl Exception {
    /// The reply code (section 1.4 of the specification's reference, "constants").
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Shutdown => 320,
            Self::ReservedName { .. }
            | Self::DefaultExchange
            | Self::InternalExchange { .. }
            | Self::ExclusiveUse { .. }
            | Self::NoPermission { .. }
            | Self::SystemExchange { .. }
            | Self::LoginRefused(_) => 403,
            Self::NotFound { .. } | Self::NoPreviousQueue => 404,
            Self::Locked { .. } => 405,
            Self::Inequivalent { .. }
            | Self::UnknownDeliveryTag(_)
            | Self::InUse { .. }
            | Self::NotEmpty { .. }
            | Self::UnknownExchangeType(_)
            | Self::InvalidArgument { .. }
            | Self::InvalidMatch(_)
            | Self::InvalidMessage(_)
            | Self::WrongUserId { .. }
            | Self::Precondition(_)
            | Self::ArgumentOfOtherType { .. }
            | Self::WrongArgumentType { .. }
            | Self::ServerNamedOfType(_)
            | Self::InvalidProperty { .. }
            | Self::InvalidExpiration { .. }
            | Self::MessageTooLarge { .. }
            | Self::LimitReached { .. } => 406,
            Self::UnknownFrameType(_)
            | Self::FrameTooLarge { .. }
            | Self::BadFrameEnd
            | Self::BadContentHeader
            | Self::BadTable(_)
            | Self::NotUtf8
            | Self::BadArguments { .. } => 501,
            Self::CommandInvalid(_) => 503,
            Self::ChannelError(_) => 504,
            Self::UnexpectedFrame(_) => 505,
            Self::ResourceError(_) => 506,
            Self::NoVhost(_)
            | Self::VhostRefused { .. }
            | Self::TooManyConnections { .. }
            | Self::BadTune { .. }
            | Self::TooManyChannels(_)
            | Self::TooManyConsumers(_)
            | Self::ConsumerTagInUse(_) => 530,
            Self::NotImplemented(_) | Self::PrefetchSize(_) | Self::UnknownMethod { .. } => 540,
        }
    }

    /// Whether it closes the connection rather than the channel.
    pub(crate) fn is_hard(&self) -> bool {
        matches!(self.code(), 320 | 501..) || matches!(self, Self::LoginRefused(_))
    }

    /// The text as it goes over the wire: a short string, so at most 255 octets.
    pub(crate) fn reply_text(&self) -> String {
        let mut text = self.to_string();
        text.truncate(text.floor_char_boundary(255));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character_within_255_octets() {
        let (name, vhost) = ("ä".repeat(127), "/".to_owned());
        let text = Exception::Locked { name, vhost }.reply_text();
        assert!(text.len() <= 255 && text.starts_with("RESOURCE_LOCKED - cannot obtain"));
    }

    #[test]
    fn soft_and_hard_follow_the_code() {
        assert!(!Exception::UnknownDeliveryTag(7).is_hard());
        assert!(Exception::PrefetchSize(1).is_hard() && Exception::Shutdown.is_hard());
        assert!(Exception::LoginRefused("PLAIN".into()).is_hard());
    }
}
