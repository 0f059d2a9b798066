//! Logging in: the SASL mechanisms PLAIN and AMQPLAIN (section 4.2.2 of RabbitMQ's access control guide).
//!
//! Does not know the connection it is done on.

use amq_protocol::types::AMQPValue;
use amq_protocol::types::parsing::parse_field_table;

use super::Peer;
use crate::frame::scan_table;
use crate::options::{Options, User};

/// What is offered to clients.
pub(super) const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// Longest user name that is repeated in a log line, in octets: whoever guesses names chooses them.
const LOGGED_NAME_MAX_BYTES: usize = 64;

/// The user that a response of the client proves to be, or why it proves nothing.
pub(super) fn authenticate<'a>(
    options: &'a Options,
    peer: &Peer,
    mechanism: &str,
    response: &[u8],
) -> Result<&'a User, LoginFault> {
    let credentials = match mechanism {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        _ => None,
    };
    let (name, password) = credentials.ok_or(LoginFault::Malformed)?;
    let user = options.users.iter().find(|user| user.matches(&name, &password)).ok_or_else(|| {
        let shown = &name[..name.len().min(LOGGED_NAME_MAX_BYTES)];
        LoginFault::Unknown(String::from_utf8_lossy(shown).into_owned())
    })?;
    if user.has_default_credentials() && !peer.loopback && !options.allow_remote_default_user {
        return Err(LoginFault::DefaultFromElsewhere);
    }
    Ok(user)
}

/// Why someone may not log in. For the owner's log; the client is not told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LoginFault {
    #[error("the client's answer holds no user name and password")]
    Malformed,
    #[error("no user {0:?} with this password")]
    Unknown(String),
    #[error("the default user may log in from this machine only")]
    DefaultFromElsewhere,
}

/// Whether a mechanism is offered at all.
pub(super) fn is_offered(mechanism: &str) -> bool {
    MECHANISMS.split(' ').any(|offered| offered == mechanism)
}

/// An authorisation identity (ignored), a user name and a password, each after the other with a zero octet between
/// them (RFC 4616).
fn plain(response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = response.splitn(3, |octet| *octet == 0);
    let (_, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name.to_vec(), password.to_vec()))
}

/// The inside of a field table with `LOGIN` and `PASSWORD`.
fn amqplain(response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let length = u32::try_from(response.len()).ok()?;
    let table = [&length.to_be_bytes(), response].concat();
    scan_table(&table).ok()?;
    let (_, table) = parse_field_table(&table[..]).ok()?;
    let text = |key| match table.inner().get(key) {
        Some(AMQPValue::LongString(text)) => Some(text.as_bytes().to_vec()),
        _ => None,
    };
    Some((text("LOGIN")?, text("PASSWORD")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMQPLAIN: &[u8] = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest";

    fn login(peer: &str, mechanism: &str, response: &[u8]) -> Option<String> {
        let peer = Peer::from(peer.parse::<std::net::SocketAddr>().unwrap());
        let options = Options::default();
        authenticate(&options, &peer, mechanism, response).ok().map(|user| user.name().to_owned())
    }

    #[test]
    fn both_mechanisms_prove_a_user() {
        assert_eq!(login("127.0.0.1:1", "PLAIN", b"\0guest\0guest").as_deref(), Some("guest"));
        assert_eq!(login("[::ffff:127.0.0.1]:1", "AMQPLAIN", AMQPLAIN).as_deref(), Some("guest"));
    }

    #[test]
    fn anything_else_proves_nothing() {
        for response in [&b"\0guest\0wrong"[..], b"\0guest", b"", b"\0\0"] {
            assert_eq!(login("127.0.0.1:1", "PLAIN", response), None);
            assert_eq!(login("127.0.0.1:1", "AMQPLAIN", response), None);
        }
        assert_eq!(login("127.0.0.1:1", "EXTERNAL", b"\0guest\0guest"), None);
    }

    #[test]
    fn the_default_password_works_on_loopback_only() {
        for elsewhere in ["192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1", "0.0.0.0:1"] {
            assert_eq!(login(elsewhere, "PLAIN", b"\0guest\0guest"), None, "{elsewhere}");
        }
        for here in ["127.1.2.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(login(here, "PLAIN", b"\0guest\0guest").as_deref(), Some("guest"), "{here}");
        }
    }
}
