//! From the protocol header to `connection.open-ok` (section 2.2.4).
//!
//! Nothing of it reaches the engine: a client that does not get through leaves no trace there.

use std::sync::Arc;
use std::time::Duration;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod as Method, Close, CloseOk, OpenOk, Start, StartOk, Tune, TuneOk};
use amq_protocol::types::{AMQPValue, FieldTable};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::source::FrameSource;
use super::{ConnectionError, Peer, sasl};
use crate::engine::Client;
use crate::exception::Exception;
use crate::frame::{FRAME_MIN_BYTES, FrameKind, PROTOCOL_HEADER, decode_method, encode_method, method_ids};
use crate::log_budget::Concern;
use crate::options::User;
use crate::server::{Shared, UserPlace};

/// How long a client that cannot be told why waits after a failed login, to slow down guessing. RabbitMQ's value.
const LOGIN_FAILURE_DELAY: Duration = Duration::from_secs(1);
/// What works here, by the names of RabbitMQ's capabilities.
const CAPABILITIES: [&str; 9] = [
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "consumer_priorities",
    "direct_reply_to",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
];
/// Longest name of a client that is kept, in octets; it is for logs and pages.
const CLIENT_NAME_MAX_BYTES: usize = 255;

/// What both sides agreed upon.
#[derive(Debug)]
pub(super) struct Negotiated {
    pub(super) client: Client,
    pub(super) frame_max: u32,
    /// `None` when the client wants no heartbeats.
    pub(super) heartbeat: Option<Duration>,
    pub(super) place: UserPlace,
}

/// A handshake under way.
pub(super) struct Handshake<'a, R, W> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) peer: &'a Peer,
    pub(super) source: &'a mut FrameSource<R>,
    pub(super) sink: &'a mut W,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Handshake<'a, R, W> {
    /// Carries the handshake out within its time bound. A client that breaks the rules is told with
    /// `connection.close`, where the protocol allows for it.
    pub(super) async fn run(mut self) -> Result<Negotiated, ConnectionError> {
        let limits = &self.shared.options.limits;
        let mut last_method = (0, 0);
        let negotiated = tokio::time::timeout(limits.handshake, self.negotiate(&mut last_method)).await;
        let error = match negotiated {
            Ok(Ok(negotiated)) => return Ok(negotiated),
            Ok(Err(error)) => error,
            Err(_) => ConnectionError::HandshakeTimeout,
        };
        match &error {
            ConnectionError::Exception(exception) => {
                drop(tokio::time::timeout(limits.close, self.say_close(exception, last_method)).await);
            }
            ConnectionError::ClosedInHandshake => {
                drop(tokio::time::timeout(limits.close, self.send(Method::CloseOk(CloseOk {}))).await);
            }
            ConnectionError::WrongProtocol(_) => {
                drop(tokio::time::timeout(limits.close, self.write(&PROTOCOL_HEADER)).await);
            }
            _ => {}
        }
        Err(error)
    }

    async fn negotiate(&mut self, last_method: &mut (u16, u16)) -> Result<Negotiated, ConnectionError> {
        let header = self.source.protocol_header(self.shared.options.limits.login_idle).await?;
        if header != PROTOCOL_HEADER {
            return Err(ConnectionError::WrongProtocol(header));
        }
        self.send(Method::Start(self.start())).await?;
        let Method::StartOk(start_ok) = self.expect(last_method).await? else {
            return Err(Exception::CommandInvalid("expected connection.start-ok").into());
        };
        let (user, mut client) = self.login(&start_ok).await?;
        let tune = self.tune();
        self.send(Method::Tune(tune.clone())).await?;
        let Method::TuneOk(tune_ok) = self.expect(last_method).await? else {
            return Err(Exception::CommandInvalid("expected connection.tune-ok").into());
        };
        check_tune(&tune, &tune_ok)?;
        self.source.set_frame_max(tune_ok.frame_max);
        client.channel_max = tune_ok.channel_max;
        let Method::Open(open) = self.expect(last_method).await? else {
            return Err(Exception::CommandInvalid("expected connection.open").into());
        };
        client.vhost = open.virtual_host.to_string();
        let place = self.admit(user, &mut client)?;
        self.send(Method::OpenOk(OpenOk {})).await?;
        let heartbeat = (tune_ok.heartbeat > 0).then(|| Duration::from_secs(tune_ok.heartbeat.into()));
        Ok(Negotiated { client, frame_max: tune_ok.frame_max, heartbeat, place })
    }

    /// What the user may do in the virtual host, and one of the user's places.
    fn admit(&self, user: &User, client: &mut Client) -> Result<UserPlace, Exception> {
        if !self.shared.options.vhosts.contains(&client.vhost) {
            return Err(Exception::NoVhost(client.vhost.clone()));
        }
        let (vhost, user_name) = (&client.vhost, user.name());
        let Some(permissions) = user.permissions(vhost) else {
            return Err(Exception::VhostRefused { vhost: vhost.clone(), user: user_name.to_owned() });
        };
        client.permissions = permissions;
        let limit = self.shared.options.limits.connections_per_user;
        let place = self.shared.places.enter_as(user_name, limit);
        place.ok_or_else(|| Exception::TooManyConnections { user: user_name.to_owned(), limit })
    }

    fn start(&self) -> Start {
        let mut capabilities = FieldTable::default();
        for capability in CAPABILITIES {
            capabilities.insert(capability.into(), AMQPValue::Boolean(true));
        }
        let mut server_properties = FieldTable::default();
        server_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
        for (key, value) in [
            ("product", self.shared.options.product.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
            ("platform", "Rust"),
            ("cluster_name", self.shared.options.name.as_str()),
        ] {
            server_properties.insert(key.into(), AMQPValue::LongString(value.into()));
        }
        let (mechanisms, locales) = (sasl::MECHANISMS.into(), "en_US".into());
        Start { version_major: 0, version_minor: 9, server_properties, mechanisms, locales }
    }

    fn tune(&self) -> Tune {
        Tune {
            channel_max: self.shared.options.limits.channel_max,
            frame_max: self.shared.options.limits.frame_max.max(FRAME_MIN_BYTES),
            heartbeat: u16::try_from(self.shared.options.heartbeat.as_secs()).unwrap_or(u16::MAX),
        }
    }

    async fn login(&mut self, start_ok: &StartOk) -> Result<(&'a User, Client), ConnectionError> {
        let mechanism = start_ok.mechanism.as_str();
        if !sasl::is_offered(mechanism) {
            return Err(Exception::CommandInvalid("client selected an unknown authentication mechanism").into());
        }
        let properties = &start_ok.client_properties;
        let shared = self.shared;
        let user = match sasl::authenticate(&shared.options, self.peer, mechanism, start_ok.response.as_bytes()) {
            Ok(user) => user,
            Err(fault) => {
                shared.traffic.logins_refused.add(1);
                if shared.log_lines.allow(self.peer.host(), Concern::Refusal) {
                    tracing::warn!(peer = self.peer.address, reason = fault.to_string(), "login refused");
                }
                if has_capability(properties, "authentication_failure_close") {
                    return Err(Exception::LoginRefused(mechanism.to_owned()).into());
                }
                tokio::time::sleep(LOGIN_FAILURE_DELAY).await;
                return Err(ConnectionError::LoginRefusedSilently);
            }
        };
        let client = Client {
            peer: self.peer.address.clone(),
            name: client_name(properties),
            user: user.name().to_owned(),
            tls: self.peer.tls,
            octets: Arc::clone(self.source.octets()),
            consumer_cancel_notify: has_capability(properties, "consumer_cancel_notify"),
            blocked_notify: has_capability(properties, "connection.blocked"),
            ..Client::default()
        };
        Ok((user, client))
    }

    /// The next method, which must be one of the connection class.
    async fn expect(&mut self, last_method: &mut (u16, u16)) -> Result<Method, ConnectionError> {
        loop {
            let frame = self.source.next(self.shared.options.limits.login_idle).await?;
            match frame.kind {
                FrameKind::Heartbeat => continue,
                FrameKind::Method if frame.channel == 0 => {}
                _ => return Err(Exception::CommandInvalid("unexpected frame in the handshake").into()),
            }
            *last_method = method_ids(&frame.payload);
            return match decode_method(&frame.payload)? {
                AMQPClass::Connection(Method::Close(_)) => Err(ConnectionError::ClosedInHandshake),
                AMQPClass::Connection(method) => Ok(method),
                _ => Err(Exception::CommandInvalid("unexpected method in the handshake").into()),
            };
        }
    }

    /// Sends `connection.close` and reads on until the client has answered or hung up: closing a socket with unread
    /// bytes in it could take the message back.
    async fn say_close(&mut self, exception: &Exception, method: (u16, u16)) -> Result<(), ConnectionError> {
        let (reply_code, reply_text) = (exception.code(), exception.reply_text().as_str().into());
        let close = Close { reply_code, reply_text, class_id: method.0, method_id: method.1 };
        self.send(Method::Close(close)).await?;
        loop {
            match self.source.next_ready() {
                Ok(Some(frame)) if method_ids(&frame.payload) == (10, 51) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => self.source.fill().await?,
                Err(_) => self.source.discard().await?,
            }
        }
    }

    async fn send(&mut self, method: Method) -> Result<(), ConnectionError> {
        let mut out = BytesMut::new();
        encode_method(&mut out, 0, &AMQPClass::Connection(method));
        self.write(&out).await
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), ConnectionError> {
        self.sink.write_all(octets).await?;
        Ok(self.sink.flush().await?)
    }
}

/// Refuses what exceeds the offer; 0 would mean no limit, and so exceeds it too.
fn check_tune(offer: &Tune, answer: &TuneOk) -> Result<(), Exception> {
    at_most("channel_max", answer.channel_max.into(), offer.channel_max.into())?;
    if answer.frame_max != 0 && answer.frame_max < FRAME_MIN_BYTES {
        let (asked, limit) = (answer.frame_max, FRAME_MIN_BYTES);
        return Err(Exception::BadTune { what: "frame_max", asked, relation: "lower", bound: "minimum", limit });
    }
    at_most("frame_max", answer.frame_max, offer.frame_max)
}

fn at_most(what: &'static str, asked: u32, limit: u32) -> Result<(), Exception> {
    if asked == 0 || asked > limit {
        return Err(Exception::BadTune { what, asked, relation: "higher", bound: "maximum", limit });
    }
    Ok(())
}

fn has_capability(properties: &FieldTable, name: &str) -> bool {
    match properties.inner().get("capabilities") {
        Some(AMQPValue::FieldTable(table)) => table.inner().get(name) == Some(&AMQPValue::Boolean(true)),
        _ => false,
    }
}

/// The name a client gave the connection, or else its product.
fn client_name(properties: &FieldTable) -> Option<String> {
    let text = |key| match properties.inner().get(key) {
        Some(AMQPValue::LongString(text)) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    };
    let mut name = text("connection_name").or_else(|| text("product"))?;
    name.truncate(name.floor_char_boundary(CLIENT_NAME_MAX_BYTES));
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(channel_max: u16, frame_max: u32) -> Result<(), Exception> {
        let offer = Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
        check_tune(&offer, &TuneOk { channel_max, frame_max, heartbeat: 0 })
    }

    #[test]
    fn only_what_is_within_the_offer_is_agreed_to() {
        assert_eq!((check(2047, 131_072), check(1, 4096)), (Ok(()), Ok(())));
        for (channel_max, frame_max) in [(2048, 131_072), (0, 131_072), (2047, 131_073), (2047, 0), (2047, 4095)] {
            assert_eq!(check(channel_max, frame_max).unwrap_err().code(), 530);
        }
        let text = check(1, 4095).unwrap_err().to_string();
        assert_eq!(text, "NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)");
    }
}
