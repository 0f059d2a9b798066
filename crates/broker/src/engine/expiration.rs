//! How long something may wait: the bound on it, and the `expiration` property, by which a publisher limits it.
//!
//! Does not know queues.

use crate::exception::Exception;

/// The longest wait that can be asked for, in milliseconds: ten years, as in RabbitMQ.
const WAIT_MAX_MS: u64 = 315_360_000_000;

/// Checks how long something may wait, in milliseconds.
///
/// # Errors
/// What is wrong, as RabbitMQ says it, if it is more than [`WAIT_MAX_MS`].
pub(super) fn check_wait(milliseconds: u64) -> Result<u64, String> {
    if milliseconds <= WAIT_MAX_MS { Ok(milliseconds) } else { Err(format!("{{value_too_large,{milliseconds}}}")) }
}

/// Reads the property's text, in milliseconds. What is wrong is said as RabbitMQ, which is written in Erlang, says it.
///
/// # Errors
/// [`Exception::InvalidExpiration`] unless it is a decimal integer from 0 to [`WAIT_MAX_MS`].
pub(super) fn parse_expiration(octets: &[u8]) -> Result<u64, Exception> {
    let digits_at = usize::from(matches!(octets.first(), Some(b'-' | b'+')));
    let digits = octets[digits_at..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    let value = String::from_utf8_lossy(octets);
    let rest = String::from_utf8_lossy(&octets[digits_at + digits..]);
    let number = String::from_utf8_lossy(&octets[..digits_at + digits]);
    let reason = if digits == 0 {
        "no_integer".to_owned()
    } else if !rest.is_empty() {
        format!("{{leftover_string,\"{rest}\"}}")
    } else if number.starts_with('-') && !number.trim_start_matches(['-', '0']).is_empty() {
        format!("{{value_negative,{number}}}")
    } else {
        match check_wait(number.trim_start_matches(['-', '+']).parse().unwrap_or(u64::MAX)) {
            Ok(milliseconds) => return Ok(milliseconds),
            Err(reason) => reason,
        }
    };
    Err(Exception::InvalidExpiration { value: value.into(), reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_number_of_milliseconds_or_a_reason() {
        let said = |text: &str| parse_expiration(text.as_bytes()).map_err(|exception| exception.reply_text());
        assert_eq!((said("0"), said("60000"), said("+5")), (Ok(0), Ok(60_000), Ok(5)));
        for (text, reason) in [
            ("", "no_integer"),
            ("soon", "no_integer"),
            ("10s", "{leftover_string,\"s\"}"),
            ("1.5", "{leftover_string,\".5\"}"),
            ("-1", "{value_negative,-1}"),
            ("315360000001", "{value_too_large,315360000001}"),
        ] {
            assert_eq!(said(text), Err(format!("PRECONDITION_FAILED - invalid expiration '{text}': {reason}")));
        }
    }
}
