//! A message comes in: routed, returned if nobody wants it, confirmed when accepted.
//!
//! Does not know by which rule an exchange chooses (`exchange`) or who gets the message (`deliver`).

use std::sync::Arc;

use amq_protocol::protocol::basic::Publish;

use super::exchange::Routed;
use super::message::Message;
use super::{ChannelKey, Engine, Outbound, QueueId};
use crate::exception::Exception;
use crate::frame::Content;

impl Engine {
    pub(super) fn publish(&mut self, key: ChannelKey, publish: Publish, content: Content) -> Result<(), Exception> {
        let Some(connection) = self.connections.get_mut(&key.connection) else { return Ok(()) };
        let first = !std::mem::replace(&mut connection.publishes, true);
        if !connection.channels.contains_key(&key.number) {
            return Err(Exception::ChannelError("expected 'channel.open'"));
        }
        if first && self.alarm {
            self.tell_blocked();
        }
        if self.open_channel(key).is_none() {
            return Ok(());
        }
        if publish.immediate {
            return Err(Exception::NotImplemented("immediate=true"));
        }
        let exchange = String::from(publish.exchange).into_boxed_str();
        let routing_key = String::from(publish.routing_key).into_boxed_str();
        let message = Arc::new(Message { exchange, routing_key, content });
        let mut routes = std::mem::take(&mut self.routes);
        routes.clear();
        self.route(key, &message, &mut routes)?;
        if routes.is_empty() && publish.mandatory {
            let message = Arc::clone(&message);
            self.send(key.connection, Outbound::Return { channel: key.number, message });
        }
        for &queue in &routes {
            self.enqueue(queue, Arc::clone(&message));
        }
        self.routes = routes;
        if let Some(confirms) = self.open_channel(key).and_then(|channel| channel.confirms.as_mut()) {
            confirms.accept();
            if self.confirms_due.last() != Some(&key) {
                self.confirms_due.push(key);
            }
        }
        Ok(())
    }

    fn route(&self, key: ChannelKey, message: &Message, routes: &mut Vec<QueueId>) -> Result<(), Exception> {
        let vhost = self.vhost(key)?;
        if message.exchange.is_empty() {
            routes.extend(vhost.queues.get(&*message.routing_key));
            return Ok(());
        }
        let exchange = vhost.exchange(&message.exchange)?;
        if exchange.internal {
            let (name, vhost) = (message.exchange.to_string(), vhost.name.to_string());
            return Err(Exception::InternalExchange { name, vhost });
        }
        vhost.route(exchange, &Routed::new(message), routes);
        Ok(())
    }

    fn enqueue(&mut self, id: QueueId, message: Arc<Message>) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        self.held_bytes += message.weight();
        queue.push(message);
        self.pump(id);
    }
}
