//! The streams that a streamer is ready to begin or has begun, each waiting for its receiver or served. It does not
//! know how a receiver is invited, nor what is sent to it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::extract::ws::WebSocket;
use crosstalk_contract::RunId;
use tokio::sync::oneshot;

use crate::{StreamingError, wire::Transport};

/// A session that its receiver has opened.
pub(crate) enum Opened {
    /// Datagrams go there.
    Udp(SocketAddr),
    /// Messages go into this.
    Websocket(Box<WebSocket>),
}

/// Why a session cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoOffer {
    /// No stream with this id waits for its receiver.
    Unknown,
    /// The stream goes over something else.
    Other(Transport),
    /// Its receiver is there already.
    Taken,
}

struct Offer {
    transport: Transport,
    slot: Option<oneshot::Sender<Opened>>,
}

/// All offers of one streamer; clones share them.
#[derive(Clone)]
pub(crate) struct Offers {
    offers: Arc<Mutex<HashMap<RunId, Offer>>>,
    max: usize,
}

/// An offer stands as long as this does.
pub(crate) struct Standing {
    offers: Offers,
    run: RunId,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.offers.lock().remove(&self.run);
    }
}

impl Offers {
    pub(crate) fn new(max: usize) -> Self {
        Self { offers: Arc::default(), max }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an offer; whoever takes it comes out of the receiver.
    pub(crate) fn make(
        &self,
        run: RunId,
        transport: Transport,
    ) -> Result<(Standing, oneshot::Receiver<Opened>), StreamingError> {
        let mut offers = self.lock();
        if offers.len() >= self.max {
            return Err(StreamingError::TooMany { max: self.max });
        }
        let Entry::Vacant(place) = offers.entry(run) else { return Err(StreamingError::Twice(run)) };
        let (slot, opened) = oneshot::channel();
        place.insert(Offer { transport, slot: Some(slot) });
        Ok((Standing { offers: self.clone(), run }, opened))
    }

    /// Whether a session could be opened now.
    pub(crate) fn check(&self, run: RunId, transport: Transport) -> Result<(), NoOffer> {
        match self.lock().get(&run) {
            None => Err(NoOffer::Unknown),
            Some(offer) if offer.transport != transport => Err(NoOffer::Other(offer.transport)),
            Some(offer) if offer.slot.is_none() => Err(NoOffer::Taken),
            Some(_) => Ok(()),
        }
    }

    /// Opens a session; gives it back when another was faster, or nobody waits for it any more.
    pub(crate) fn take(&self, run: RunId, opened: Opened) -> Result<(), Opened> {
        match self.lock().get_mut(&run).and_then(|offer| offer.slot.take()) {
            Some(slot) => slot.send(opened),
            None => Err(opened),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_taken_once_and_stands_until_it_is_dropped() {
        let (offers, run) = (Offers::new(1), RunId::from_low_bits(1));
        let there = || Opened::Udp(SocketAddr::from(([127, 0, 0, 1], 1)));
        assert_eq!(offers.check(run, Transport::Udp), Err(NoOffer::Unknown));
        let (standing, mut opened) = offers.make(run, Transport::Udp).unwrap();
        assert!(matches!(
            offers.make(RunId::from_low_bits(2), Transport::Udp),
            Err(StreamingError::TooMany { max: 1 })
        ));
        assert_eq!(offers.check(run, Transport::Websocket), Err(NoOffer::Other(Transport::Udp)));
        assert_eq!(offers.check(run, Transport::Udp), Ok(()));
        assert!(offers.take(run, there()).is_ok());
        assert!(opened.try_recv().is_ok());
        assert_eq!(offers.check(run, Transport::Udp), Err(NoOffer::Taken));
        assert!(offers.take(run, there()).is_err());
        drop(standing);
        assert_eq!(offers.check(run, Transport::Udp), Err(NoOffer::Unknown));
    }
}
