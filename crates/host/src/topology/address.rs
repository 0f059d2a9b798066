//! One address: its form, and its port when that is counted from a base. It knows neither the member it belongs
//! to nor the file it stands in.

use std::borrow::Cow;

use crosstalk_contract::topology::{NodeAddress, Topology};

use crate::config::text::cut;

/// Whether this is `host:port`, by the contract's own rule.
pub(super) fn is_host_and_port(address: &str) -> bool {
    let node = NodeAddress { http: address.to_owned(), ..NodeAddress::default() };
    Topology { nodes: [(String::new(), node)].into(), brokers: Vec::new() }.check().is_ok()
}

/// `host:port` with a port `+N` counted from the base, or what is wrong with it.
pub(super) fn node(address: &str, port_base: u16) -> Result<String, String> {
    let resolved = resolve(address, port_base)?;
    if is_host_and_port(&resolved) {
        Ok(resolved.into_owned())
    } else {
        Err(format!("expected host:port, such as 127.0.0.1:4401 or 127.0.0.1:+1, got {:?}", cut(address)))
    }
}

/// A broker's URL with a port `+N` counted from the base, or what is wrong with it, never repeating a password.
pub(super) fn broker(url: &str, port_base: u16) -> Result<String, String> {
    let malformed =
        || "expected amqp://user:password@host:port/vhost (what stood there may hold a password)".to_owned();
    let (user, place) = url.strip_prefix("amqp://").and_then(|rest| rest.rsplit_once('@')).ok_or_else(malformed)?;
    let (address, vhost) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, ""),
    };
    let resolved = resolve(address, port_base)?;
    let whole = user.split_once(':').is_some_and(|(name, _)| !name.is_empty())
        && !url.contains(|c: char| c.is_whitespace() || c.is_control())
        && !vhost.chars().skip(1).any(|c| c == '/')
        && is_host_and_port(&resolved);
    if whole { Ok(format!("amqp://{user}@{resolved}{vhost}")) } else { Err(malformed()) }
}

fn resolve(address: &str, port_base: u16) -> Result<Cow<'_, str>, String> {
    // Only digits: the parser of numbers would accept a second sign.
    let offset = address
        .rsplit_once(":+")
        .filter(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(host, digits)| (host, digits.parse::<u16>()));
    match offset {
        None => Ok(Cow::Borrowed(address)),
        Some((host, Ok(_))) if port_base == 0 => Ok(Cow::Owned(format!("{host}:0"))),
        Some((host, Ok(offset))) => match port_base.checked_add(offset) {
            Some(port) => Ok(Cow::Owned(format!("{host}:{port}"))),
            None => Err(format!("expected a port up to 65535, got port base {port_base} + {offset}")),
        },
        Some((_, Err(_))) => Err(format!("expected a port up to 65535, got {:?}", cut(address))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_a_plus_is_counted_from_the_base() {
        assert_eq!(node("127.0.0.1:+1", 4400), Ok("127.0.0.1:4401".to_owned()));
        assert_eq!(node("127.0.0.1:+0", 4400), Ok("127.0.0.1:4400".to_owned()));
        assert_eq!(node("[::1]:+5", 0), Ok("[::1]:0".to_owned()));
        assert_eq!(node("producer:8080", 0), Ok("producer:8080".to_owned()));
        assert_eq!(node("h:+1", 65534), Ok("h:65535".to_owned()));
        assert_eq!(node("h:+1", 65535), Err("expected a port up to 65535, got port base 65535 + 1".to_owned()));
        assert_eq!(node("h:+99999", 0), Err("expected a port up to 65535, got \"h:+99999\"".to_owned()));
        for bad in ["", "producer", ":+1", "h:+", "h:++1", "h:+-1", "http://h:80", "h:80000"] {
            let expected = format!("expected host:port, such as 127.0.0.1:4401 or 127.0.0.1:+1, got {bad:?}");
            assert_eq!(node(bad, 4400), Err(expected));
        }
    }

    #[test]
    fn a_broker_is_a_whole_url_and_its_password_stays_secret() {
        assert_eq!(broker("amqp://me:a+b/c@127.0.0.1:+6", 4400), Ok("amqp://me:a+b/c@127.0.0.1:4406".to_owned()));
        assert_eq!(broker("amqp://me:x@h:+6/%2f", 0), Ok("amqp://me:x@h:0/%2f".to_owned()));
        let urls =
            ["amqp://me:s3cret@h", "amqp://me:s3cret@h:1/a/b", "amqp://me@h:1", "http://me:s3cret@h:1", "s3cret"];
        for bad in urls {
            let expected = "expected amqp://user:password@host:port/vhost (what stood there may hold a password)";
            assert_eq!(broker(bad, 4400), Err(expected.to_owned()));
        }
    }
}
