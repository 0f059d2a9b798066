//! Both ends of a stream over UDP: one frame in each datagram. It does not know how a session came about, and never
//! asks for a datagram again.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use crosstalk_contract::frame;
use crosstalk_host::{Host, Receiver, receiver::Arrived};
use socket2::SockRef;
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::mpsc,
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    StreamingError,
    options::Options,
    sessions::Sessions,
    wire::{PARADIGM, Transport},
};

/// More than any datagram holds, so that none is cut unnoticed.
const DATAGRAM_LEN: usize = 1 << 16;
/// Pause after an error of the socket, which the next call could meet again at once.
const ERROR_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// The sending end.
pub(crate) struct Outbound {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Outbound {
    /// A socket of its own for one stream. It is not connected: a connected one would report that nobody listens
    /// at the other end (ICMP), which UDP across a network mostly does not.
    pub(crate) async fn open(to: SocketAddr) -> Result<Self, StreamingError> {
        let any: SocketAddr =
            if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any).await;
        let socket = socket.map_err(|source| StreamingError::Io { action: "open a UDP socket", source })?;
        Ok(Self { socket, to })
    }

    /// Hands one datagram to the system, waiting only while the system has no room for it.
    pub(crate) async fn send(&self, frame: Bytes) -> Result<(), StreamingError> {
        let sent = self.socket.send_to(&frame, self.to).await;
        sent.map(drop).map_err(|source| StreamingError::Io { action: "send a datagram", source })
    }
}

/// The address of `node` for datagrams, as this node's own topology has it, if that is what `claimed` means. A
/// name that somebody claims is never looked up: only the topology's is.
pub(crate) async fn address_in_topology(
    host: &Host,
    node: &str,
    claimed: &str,
) -> Result<Option<SocketAddr>, StreamingError> {
    let known = host.topology().nodes.get(node).and_then(|node| node.udp.as_deref());
    let known = known.ok_or_else(|| StreamingError::NoAddress { node: node.to_owned() })?;
    let found = lookup_host(known).await;
    let found = found.map_err(|source| StreamingError::Io { action: "look up the consumer's UDP address", source })?;
    let found: Vec<SocketAddr> = found.collect();
    if claimed == known {
        // A node that is known by a name listens on any IPv4 address.
        return Ok(found.iter().find(|address| address.is_ipv4()).or(found.first()).copied());
    }
    Ok(claimed.parse().ok().filter(|address| found.contains(address)))
}

/// Sets up the receiving end and lets it run until the node stops.
pub(crate) fn listen(host: &Host, receiver: &Receiver, sessions: &Sessions, socket: UdpSocket, options: &Options) {
    widen(&socket, options.receive_buffer.as_usize());
    let (buffer, buffered) = mpsc::channel(options.backlog);
    let ear = Ear { host: host.clone(), receiver: receiver.clone(), sessions: sessions.clone(), buffer, refused: 0 };
    host.spawn(ear.listen(socket));
    host.spawn(work(host.clone(), receiver.clone(), buffered));
}

fn widen(socket: &UdpSocket, wanted: usize) {
    let socket = SockRef::from(socket);
    let set = socket.set_recv_buffer_size(wanted).and_then(|()| socket.recv_buffer_size());
    match set {
        Ok(got) if got < wanted => info!(
            "the system grants {got} B of the {wanted} B asked for to hold datagrams (streaming.receive_buffer); raise net.core.rmem_max if a burst loses some"
        ),
        Ok(_) => {}
        Err(error) => warn!("cannot set streaming.receive_buffer: {error}"),
    }
}

/// Reads datagrams. It never waits for anything but the next one: what it does not read in time, the system drops
/// without a word, and nobody could say that it was the receiver's doing.
struct Ear {
    host: Host,
    receiver: Receiver,
    sessions: Sessions,
    buffer: mpsc::Sender<Arrived>,
    refused: u64,
}

impl Ear {
    async fn listen(mut self, socket: UdpSocket) {
        let mut datagram = vec![0; DATAGRAM_LEN];
        loop {
            match socket.recv_from(&mut datagram).await {
                Ok((len, from)) => self.take(&datagram[..len], from),
                Err(error) => {
                    self.refuse("the socket", &error.to_string());
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Takes a datagram if it is a frame of a run with an open session. Where it came from is not held against it:
    /// between containers or behind a faulty line the address is that of a translator, and may change during
    /// a stream. Who wants to smuggle a message in must guess 48 bits of a run that is under way.
    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let message = match frame::decode_one(Bytes::copy_from_slice(datagram)) {
            Ok(message) => message,
            Err(error) => return self.refuse(&from.to_string(), &error.to_string()),
        };
        let (run, seq) = (message.identity.run, message.identity.seq);
        let Some(session) = self.sessions.over(run, Transport::Udp) else {
            return self.refuse(&from.to_string(), &format!("no session is open for run {run}"));
        };
        session.touch();
        // First the place, then the inbox: a message that is dropped must not count as received.
        let noted = match self.buffer.try_reserve() {
            Err(_) => {
                Err(format!("{} messages wait for their turn already (streaming.backlog)", self.buffer.max_capacity()))
            }
            Ok(place) => match self.receiver.arrived(PARADIGM, self.host.name(), &message) {
                Ok(arrived) => {
                    place.send(arrived);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
        };
        if let Err(reason) = noted {
            self.host.metrics().messages(PARADIGM, "dropped", 1);
            let dropped = session.drop_one();
            if dropped.is_power_of_two() {
                warn!("dropped message {seq} of run {run}, the {dropped}. one: {reason}");
            }
        }
    }

    /// Counts what is not taken; told ever more rarely, as anybody can send anything.
    fn refuse(&mut self, from: &str, reason: &str) {
        self.host.metrics().messages(PARADIGM, "refused", 1);
        self.refused += 1;
        if self.refused.is_power_of_two() {
            warn!("did not take a datagram from {from}, the {}. in all: {reason}", self.refused);
        }
    }
}

/// Works on what was buffered, as slowly as the receiver is.
async fn work(host: Host, receiver: Receiver, mut buffered: mpsc::Receiver<Arrived>) {
    while let Some(arrived) = buffered.recv().await {
        let turn = receiver.turn().await;
        let receiver = receiver.clone();
        host.spawn(async move {
            if let Err(error) = receiver.work(arrived, turn).await {
                warn!("a message was worked on, but that cannot be noted: {error}");
            }
        });
    }
}
