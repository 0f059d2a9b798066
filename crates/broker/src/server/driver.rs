//! The one task that owns the engine: takes what the connections send, in batches, and hands the effects out.
//!
//! Makes no decisions; does not know the wire.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use tokio::sync::{mpsc, oneshot, watch};

use super::outbox::Outbox;
use crate::engine::{Client, Command, ConnectionId, Effect, Engine, Snapshot};
use crate::options::Options;

/// Inputs taken at one wake-up; their effects go out together.
const INPUTS_PER_BATCH: usize = 64;

/// What reaches the engine's task.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client has opened a connection; `outbox` is where things for it go.
    Connect { connection: ConnectionId, client: Client, outbox: Outbox },
    /// Commands of one connection, in order.
    Commands(Vec<Command>),
    /// Someone wants to look.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// The engine and the ways out of it.
#[derive(Debug)]
pub(super) struct Driver {
    engine: Engine,
    outboxes: HashMap<ConnectionId, Outbox>,
    /// Outboxes with something for the next flush.
    dirty: Vec<ConnectionId>,
    alarm: watch::Sender<bool>,
}

impl Driver {
    pub(super) fn new(options: &Options, alarm: watch::Sender<bool>) -> Self {
        // The standard library's hasher keys are the one source of randomness at hand without a dependency.
        let seed = RandomState::new().hash_one(std::process::id());
        let engine = Engine::new(options.limits.clone(), &options.vhosts, seed);
        Self { engine, outboxes: HashMap::new(), dirty: Vec::new(), alarm }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut batch = Vec::with_capacity(INPUTS_PER_BATCH);
        while inputs.recv_many(&mut batch, INPUTS_PER_BATCH).await > 0 {
            for input in batch.drain(..) {
                match input {
                    Input::Commands(commands) => commands.into_iter().for_each(|command| self.engine.handle(command)),
                    Input::Connect { connection, client, outbox } => {
                        self.outboxes.insert(connection, outbox);
                        self.engine.handle(Command::Connect { connection, client });
                    }
                    // Whoever asked may have given up meanwhile.
                    Input::Snapshot(reply) => drop(reply.send(self.engine.snapshot())),
                }
            }
            self.hand_out();
        }
    }

    fn hand_out(&mut self) {
        for effect in self.engine.finish_batch() {
            match effect {
                Effect::Send { connection, outbound } => {
                    if let Some(outbox) = self.outboxes.get_mut(&connection)
                        && outbox.push(outbound)
                    {
                        self.dirty.push(connection);
                    }
                }
                Effect::Finish { connection } => {
                    if let Some(outbox) = self.outboxes.remove(&connection) {
                        outbox.finish();
                    }
                }
                Effect::MemoryAlarm(raised) => drop(self.alarm.send_replace(raised)),
            }
        }
        for connection in self.dirty.drain(..) {
            if let Some(outbox) = self.outboxes.get_mut(&connection) {
                outbox.flush();
            }
        }
    }
}
