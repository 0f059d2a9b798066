//! Request bodies within bounds of size and time: whole, or as a stream of payloads. It does not know what
//! the bytes mean.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::StatusCode,
};
use bytes::{Bytes, BytesMut};
use crosstalk_contract::frame;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::Refusal;

/// Longest time for a body that is read whole: even 4 MiB over a slow line is there by then.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// Reads a whole body of at most `max` bytes, waiting at most `idle` for each piece.
///
/// # Errors
/// 413 over the bound, 408 when it does not go on, 400 when it breaks off.
pub async fn read_whole(body: Body, max: usize, idle: Duration) -> Result<Bytes, Refusal> {
    let mut pieces = Pieces { body, idle };
    let mut whole = BytesMut::new();
    let reading = async {
        while let Some(piece) = pieces.next().await? {
            if whole.len() + piece.len() > max {
                return Err(Refusal::too_large(format!("the body is over {max} B; send less, or several messages")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(())
    };
    timeout(WHOLE_MAX, reading).await.map_err(|_| {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the body was not complete after {} s", WHOLE_MAX.as_secs()))
    })??;
    Ok(whole.freeze())
}

struct Pieces {
    body: Body,
    idle: Duration,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            // A body whose length is known ends with its last byte. After an early answer (202) the client may close
            // the connection right behind that byte, which the next question would take for a body cut short.
            if self.body.is_end_stream() {
                return Ok(None);
            }
            let frame = timeout(self.idle, self.body.frame()).await.map_err(|_| {
                let detail = format!("the body did not go on for {:?}; send it whole, or close the request", self.idle);
                Refusal::new(StatusCode::REQUEST_TIMEOUT, detail)
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Refusal::bad("body", format!("the body broke off: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Where a run's payloads come from.
pub enum Payloads {
    /// The same bytes again and again.
    Repeated(Bytes),
    /// An upload, one payload after the other.
    Uploaded(Upload),
}

/// A request body in the form [`frame::PAYLOADS_MEDIA_TYPE`].
pub struct Upload {
    pieces: Pieces,
    buffer: BytesMut,
    payload_max: usize,
    /// What sets `payload_max`, in words.
    limited_by: String,
    left: u64,
    fault: Fault,
}

/// Why an upload ended early, once it has.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<Mutex<Option<Refusal>>>);

impl Fault {
    /// The reason, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Refusal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

impl Upload {
    /// An upload of at most `upload_max` bytes in payloads of at most `payload_max`.
    #[must_use]
    pub fn new(body: Body, idle: Duration, payload_max: usize, upload_max: u64) -> Self {
        let pieces = Pieces { body, idle };
        let limited_by = "http.payload_max".to_owned();
        Self { pieces, buffer: BytesMut::new(), payload_max, limited_by, left: upload_max, fault: Fault::default() }
    }

    /// Reads the first piece. A client that asks whether to go on (`Expect: 100-continue`) is told so by that; behind
    /// an answer that came first, such as 202, it would send nothing.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn begun(mut self) -> Result<Self, Refusal> {
        if let Some(piece) = self.pieces.next().await? {
            self.take(&piece)?;
        }
        Ok(self)
    }

    /// Lowers the bound on one payload to `max` bytes, which `why` carries at most.
    pub fn limit(&mut self, max: usize, why: &str) {
        if max < self.payload_max {
            self.payload_max = max;
            why.clone_into(&mut self.limited_by);
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.try_next().await {
            Ok(payload) => payload,
            Err(reason) => {
                self.fault.set(reason);
                None
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match frame::decode_payload(&mut self.buffer).map_err(|error| Refusal::too_large(error.to_string()))? {
                Some(payload) if payload.len() > self.payload_max => {
                    let (size, why, max) = (payload.len(), &self.limited_by, self.payload_max);
                    return Err(Refusal::too_large(format!(
                        "a payload of {size} B, but {why} carries at most {max} B"
                    )));
                }
                Some(payload) => return Ok(Some(payload)),
                None => {}
            }
            match self.pieces.next().await? {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Refusal::bad("body", "the upload ended in the middle of a payload")),
                Some(piece) => self.take(&piece)?,
            }
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let Some(left) = self.left.checked_sub(piece.len() as u64) else {
            return Err(Refusal::too_large("the upload is over http.upload_max; send it in several runs"));
        };
        self.left = left;
        self.buffer.extend_from_slice(piece);
        Ok(())
    }
}

impl Payloads {
    /// Tells, after the stream has ended, whether it ended early. `None` for payloads that cannot.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Repeated(_) => Fault::default(),
            Self::Uploaded(upload) => upload.fault.clone(),
        }
    }

    /// The payloads, one after the other.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        match self {
            Self::Repeated(payload) => stream::repeat(payload).left_stream(),
            Self::Uploaded(upload) => {
                stream::unfold(upload, |mut upload| async move { upload.next().await.map(|payload| (payload, upload)) })
                    .right_stream()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(payloads: &[&[u8]]) -> BytesMut {
        let mut wire = BytesMut::new();
        for payload in payloads {
            frame::encode_payload(payload, &mut wire).unwrap();
        }
        wire
    }

    async fn read(wire: BytesMut, payload_max: usize, upload_max: u64) -> (Vec<Bytes>, Option<String>) {
        let body = Body::from_stream(stream::iter(
            wire.chunks(3).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>(),
        ));
        let payloads = Payloads::Uploaded(Upload::new(body, Duration::from_secs(5), payload_max, upload_max));
        let fault = payloads.fault();
        (payloads.into_stream().collect().await, fault.get().map(|refusal| refusal.detail().to_owned()))
    }

    #[tokio::test]
    async fn an_upload_comes_out_as_it_went_in() {
        let parts: [&[u8]; 4] = [b"one\n", b"", b"\0\xff", b"no end"];
        let (got, fault) = read(upload(&parts), 100, 1000).await;
        assert_eq!(got, parts.map(Bytes::from_static));
        assert_eq!(fault, None);
    }

    #[tokio::test]
    async fn an_upload_that_breaks_off_or_is_too_large_says_so() {
        let mut cut = upload(&[b"whole", b"half"]);
        cut.truncate(cut.len() - 2);
        let (got, fault) = read(cut, 100, 1000).await;
        assert_eq!((got.len(), fault.as_deref()), (1, Some("the upload ended in the middle of a payload")));
        assert!(read(upload(&[b"12345"]), 4, 1000).await.1.is_some_and(|fault| fault.contains("at most 4 B")));
        assert!(read(upload(&[b"12345"]), 10, 8).await.1.is_some_and(|fault| fault.contains("upload_max")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_refused_in_time() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let refusal = read_whole(body, 10, Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::REQUEST_TIMEOUT);
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"x")));
        assert_eq!(
            read_whole(Body::from_stream(endless), 10, Duration::from_secs(10)).await.unwrap_err().status(),
            413
        );
    }
}
