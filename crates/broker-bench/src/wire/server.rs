//! A server's name and version, out of the properties it opens with. Does not know the handshake.

use super::{Arguments, WireError};

/// `product version` from the arguments of `connection.start` (specification section 1.4.2.1), as far as given.
///
/// # Errors
/// When the table ends early or holds a type that is not AMQP's.
pub(crate) fn read_server_name(start: &[u8]) -> Result<String, WireError> {
    let mut fields = Arguments::new(start, "connection.start");
    fields.short()?; // the protocol's version
    let octets = fields.long()?;
    let mut table = Arguments::new(fields.take(octets as usize)?, "the server properties");
    let (mut product, mut version) = (String::new(), String::new());
    while !table.rest().is_empty() {
        let key = table.short_string()?;
        let kind = table.octet()?;
        let octets = match kind {
            b'S' | b'F' | b'A' | b'x' => table.long()? as usize,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'V' => 0,
            _ => return Err(WireError::Short("the server properties")),
        };
        let value = table.take(octets)?;
        match key {
            b"product" => product = String::from_utf8_lossy(value).into_owned(),
            b"version" => version = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    Ok(format!("{product} {version}").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn product_and_version_are_found_among_others() {
        let frame = Method::new(0, 10, 10).octet(0).octet(9);
        let frame = frame.table(&[("copyright", "x"), ("product", "RabbitMQ"), ("version", "4.0.5")]).finish();
        assert_eq!(read_server_name(&frame[11..]), Ok("RabbitMQ 4.0.5".to_owned()));
        assert!(read_server_name(&frame[11..30]).is_err());
    }
}
