//! What fuzzers call: each function takes any octets and must not panic, hang, or take memory without bound.
//!
//! Compiled for tests and with `--cfg fuzzing` only; `fuzz/run` at the top of the repository runs them. The seeds that a
//! fuzzer starts from are made by [`seeds`](mod@seeds) and stand in `fuzz/corpus`. Knows no fuzzer.

mod frames;
#[cfg(test)]
mod seeds;

use std::sync::LazyLock;

use amq_protocol::protocol::basic::Publish;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::connection::Peer;
use crate::frame::table_edit::{RawTable, long};
use crate::frame::{
    Assembled, Content, ContentAssembler, FRAME_HEADER_BYTES, PropertyView, decode_method, encode_method, method_ids,
    scan_table,
};
use crate::options::{Limits, Options};
use crate::permission::Permissions;
use crate::server::Broker;
use crate::store::arbitrary;

pub(crate) use frames::cut;

/// The first octet of an input says how the rest is to be taken.
const AS_IT_IS: u8 = 0;

/// The frame reader: a stream in any pieces gives the same frames and the same fault as in one piece.
pub fn frames(octets: &[u8]) {
    let Some((pieces, stream)) = octets.split_first_chunk::<4>() else { return };
    let pieces = pieces.map(|octets| usize::from(octets) + 1);
    assert_eq!(cut(stream, &pieces), cut(stream, &[usize::MAX >> 1]));
}

/// The parsers of methods, field tables and content headers. A method that is understood is understood in the same way
/// after it was encoded again; edits of headers leave a content well formed.
pub fn methods(octets: &[u8]) {
    if method_ids(octets).0 == 60 && method_ids(octets).1 == 0 {
        return content(octets);
    }
    let Ok(method) = decode_method(octets) else { return };
    let encode = |method| {
        let mut frame = BytesMut::new();
        encode_method(&mut frame, 1, method);
        frame
    };
    let frame = encode(&method);
    if frame.is_empty() {
        return;
    }
    match decode_method(&frame[FRAME_HEADER_BYTES..frame.len() - 1]) {
        // Compared as octets: a NaN is not equal to itself.
        Ok(again) => assert_eq!(frame, encode(&again), "{method:?}"),
        Err(error) => panic!("{error} in the broker's own {method:?}"),
    }
}

/// A content header with what follows it taken as the body's only frame.
fn content(payload: &[u8]) {
    let publish = Publish { exchange: "".into(), routing_key: "q".into(), mandatory: false, immediate: false };
    let header = ContentAssembler::Publish(publish).header(&Bytes::copy_from_slice(payload), 1 << 20);
    let assembled = match header {
        Ok(Assembled::Pending(pending)) => pending.body(&Bytes::from_static(b"body")),
        other => other,
    };
    let Ok(Assembled::Whole(_, content)) = assembled else { return };
    let before = PropertyView::parse(content.properties()).map(|view| view.headers.map(RawTable::of));
    let Some(headers) = before else { panic!("properties that were taken are not understood: {content:?}") };
    let mut headers = headers.unwrap_or_default();
    headers.set("x-death", &long(1));
    assert_eq!(headers.get("x-death").and_then(|value| value.long()), Some(1));
    check(&content.with_headers(&headers, true), Some(&headers), content.body());
    let removed = headers.without("x-death");
    assert!(removed.get("x-death").is_none());
    check(&content.with_headers(&removed, false), Some(&removed), content.body());
    check(&content.with_reply_to("amq.rabbitmq.reply-to.fuzz"), None, content.body());
}

fn check(content: &Content, headers: Option<&RawTable>, body: &[u8]) {
    assert_eq!(content.body(), body);
    let Some(view) = PropertyView::parse(content.properties()) else { panic!("badly edited: {content:?}") };
    if let Some(table) = view.headers {
        assert_eq!(scan_table(table), Ok(table.len()));
        assert!(headers.is_none_or(|headers| RawTable::of(table) == *headers));
    }
}

/// The files of a store: they are opened, or refused and repaired, and what was opened can be used.
pub fn segments(octets: &[u8]) {
    let Some((how, archive)) = octets.split_first() else { return };
    arbitrary::open_and_use(&arbitrary::unpack(archive, *how != AS_IT_IS));
}

/// A whole broker, in memory, and one connection to it: after the handshake, what comes is anything. It must not end the
/// broker, and nothing of the connection is left when it is gone.
///
/// # Panics
/// When the engine ended or keeps something of the connection.
pub fn connection(octets: &[u8]) {
    static RUNTIME: LazyLock<Option<Runtime>> =
        LazyLock::new(|| Builder::new_current_thread().enable_all().build().ok());
    let Some((how, stream)) = octets.split_first() else { return };
    let stream = if *how == AS_IT_IS { stream.to_vec() } else { frames::repaired(stream) };
    let Some(runtime) = &*RUNTIME else { panic!("no runtime") };
    runtime.block_on(connect_and_send(&stream));
}

async fn connect_and_send(stream: &[u8]) {
    // A body is bounded by what comes, and a channel costs memory: few of them are enough to meet the bound.
    let limits = Limits { channel_max: 8, queues: 32, exchanges: 32, bindings: 64, consumers: 8, ..Limits::default() };
    let Ok(broker) = Broker::open(Options { limits, ..Options::default() }).await else { return };
    let (client, server) = tokio::io::duplex(1 << 16);
    let (mut from_broker, mut to_broker) = tokio::io::split(client);
    let (read, write) = tokio::io::split(server);
    let peer = Peer { address: "fuzz:1".to_owned(), loopback: true, tls: false };
    let serve = broker.serve_connection(read, write, peer, CancellationToken::new());
    let talk = async {
        // Either may fail when the broker has closed the connection.
        let _ = to_broker.write_all(&frames::handshake()).await;
        let _ = to_broker.write_all(stream).await;
        let _ = to_broker.shutdown().await;
    };
    let mut heard = Vec::new();
    let (_, (), _) = tokio::join!(serve, talk, from_broker.read_to_end(&mut heard));
    assert!(heard.len() > 100, "the handshake was not answered: {heard:?}");
    let Ok(snapshot) = broker.snapshot().await else { panic!("the engine has ended") };
    assert!(snapshot.connections.is_empty() && snapshot.consumers.is_empty(), "left over: {snapshot:?}");
    assert!(
        snapshot.queues.iter().all(|queue| queue.unacknowledged == 0 && !queue.exclusive),
        "left over: {snapshot:?}"
    );
}

/// Three patterns and then names, one on each line: what a broker's owner may write into its configuration.
pub fn permissions(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    match Permissions::new(next(), next(), next()) {
        Ok(permissions) => {
            for name in lines {
                let again = permissions.allows_read(name);
                assert_eq!(permissions.allows_read(name), again);
                let _ = (permissions.allows_configure(name), permissions.allows_write(name));
            }
        }
        Err(error) => assert!(error.to_string().contains("no regular expression")),
    }
}

#[cfg(test)]
mod tests;
