//! Which handler a method belongs to, and whether the channel is in a state to have one carried out.
//!
//! Does not know what the handlers do.

use amq_protocol::protocol::{
    AMQPClass, access, basic, channel as channel_class, confirm, connection as connection_class,
    exchange as exchange_class, queue as queue_class,
};

use super::channel::ChannelState;
use super::{ChannelKey, Engine};
use crate::exception::Exception;

impl Engine {
    /// Carries out a method, if the channel is in a state to have one carried out.
    pub(super) fn method(&mut self, key: ChannelKey, method: AMQPClass) -> Result<(), Exception> {
        use channel_class::AMQPMethod as Channels;
        let Some(connection) = self.connections.get_mut(&key.connection) else { return Ok(()) };
        if key.number == 0 {
            return self.connection_method(key, &method);
        }
        match (connection.channels.get(&key.number), method) {
            (Some(ChannelState::Open(_)), AMQPClass::Channel(Channels::Open(_))) => {
                Err(Exception::ChannelError("second 'channel.open' seen"))
            }
            (_, AMQPClass::Channel(Channels::Open(_))) => self.channel_open(key),
            (Some(ChannelState::Closing), AMQPClass::Channel(Channels::Close(_))) => {
                self.reply(key, AMQPClass::Channel(Channels::CloseOk(channel_class::CloseOk {})));
                Ok(())
            }
            (Some(ChannelState::Closing), AMQPClass::Channel(Channels::CloseOk(_))) => {
                connection.channels.remove(&key.number);
                Ok(())
            }
            (Some(ChannelState::Closing), _) => Ok(()),
            // Both sides closed at once, and the client's answer comes after the channel is gone.
            (None, AMQPClass::Channel(Channels::CloseOk(_))) => Ok(()),
            (None, _) => Err(Exception::ChannelError("expected 'channel.open'")),
            (Some(ChannelState::Open(_)), method) => self.channel_method(key, method),
        }
    }

    /// What is left of the connection class once a connection is open and `close` is dealt with.
    fn connection_method(&mut self, key: ChannelKey, method: &AMQPClass) -> Result<(), Exception> {
        use connection_class::AMQPMethod as Connections;
        match method {
            // Passwords are checked at login only, so a new one changes nothing for this connection.
            AMQPClass::Connection(Connections::UpdateSecret(_)) => {
                let ok = Connections::UpdateSecretOk(connection_class::UpdateSecretOk {});
                self.reply(key, AMQPClass::Connection(ok));
                Ok(())
            }
            AMQPClass::Connection(_) => Err(Exception::CommandInvalid("unexpected method of the connection class")),
            _ => Err(Exception::ChannelError("method of a channel on channel 0")),
        }
    }

    fn channel_method(&mut self, key: ChannelKey, method: AMQPClass) -> Result<(), Exception> {
        use exchange_class::AMQPMethod as Exchanges;
        use queue_class::AMQPMethod as Queues;
        match method {
            AMQPClass::Basic(method) => self.basic_method(key, method),
            AMQPClass::Queue(Queues::Declare(declare)) => self.queue_declare(key, declare),
            AMQPClass::Queue(Queues::Bind(bind)) => self.queue_bind(key, bind),
            AMQPClass::Queue(Queues::Unbind(unbind)) => self.queue_unbind(key, unbind),
            AMQPClass::Queue(Queues::Purge(purge)) => self.queue_purge(key, purge),
            AMQPClass::Queue(Queues::Delete(delete)) => self.queue_delete(key, delete),
            AMQPClass::Exchange(Exchanges::Declare(declare)) => self.exchange_declare(key, declare),
            AMQPClass::Exchange(Exchanges::Delete(delete)) => self.exchange_delete(key, delete),
            AMQPClass::Exchange(Exchanges::Bind(bind)) => self.exchange_bind(key, bind),
            AMQPClass::Exchange(Exchanges::Unbind(unbind)) => self.exchange_unbind(key, unbind),
            AMQPClass::Channel(method) => self.channel_class_method(key, method),
            AMQPClass::Confirm(confirm::AMQPMethod::Select(select)) => self.confirm_select(key, &select),
            AMQPClass::Tx(method) => self.tx_method(key, &method),
            // A relic of AMQP 0-8 that old clients begin with; permissions are the user's.
            AMQPClass::Access(access::AMQPMethod::Request(_)) => {
                self.reply(key, AMQPClass::Access(access::AMQPMethod::RequestOk(access::RequestOk {})));
                Ok(())
            }
            _ => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn basic_method(&mut self, key: ChannelKey, method: basic::AMQPMethod) -> Result<(), Exception> {
        use basic::AMQPMethod as Basic;
        match method {
            Basic::Qos(qos) => self.qos(key, &qos),
            Basic::Consume(consume) => self.consume(key, consume),
            Basic::Cancel(cancel) => self.cancel(key, cancel),
            // The answer to a cancel from the server; nothing waits for it.
            Basic::CancelOk(_) => Ok(()),
            Basic::Get(get) => self.get(key, get),
            Basic::Ack(ack) => self.ack(key, ack.delivery_tag, ack.multiple),
            Basic::Nack(nack) => self.nack(key, nack.delivery_tag, nack.multiple, nack.requeue),
            Basic::Reject(reject) => self.nack(key, reject.delivery_tag, false, reject.requeue),
            Basic::Recover(recover) => self.recover(key, recover.requeue, true),
            Basic::RecoverAsync(recover) => self.recover(key, recover.requeue, false),
            _ => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn channel_class_method(&mut self, key: ChannelKey, method: channel_class::AMQPMethod) -> Result<(), Exception> {
        use channel_class::AMQPMethod as Channels;
        match method {
            Channels::Close(close) => {
                self.channel_close(key, &close);
                Ok(())
            }
            Channels::Flow(channel_class::Flow { active: true }) => {
                self.reply(key, AMQPClass::Channel(Channels::FlowOk(channel_class::FlowOk { active: true })));
                Ok(())
            }
            // RabbitMQ's answer too: prefetch is how a client slows the broker down.
            Channels::Flow(_) => Err(Exception::NotImplemented("active=false")),
            Channels::FlowOk(_) | Channels::CloseOk(_) => Ok(()),
            Channels::Open(_) | Channels::OpenOk(_) => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn confirm_select(&mut self, key: ChannelKey, select: &confirm::Select) -> Result<(), Exception> {
        let channel = self.open_channel_or(key)?;
        if channel.transaction.is_some() {
            return Err(Exception::Precondition("cannot switch from tx to confirm mode"));
        }
        channel.confirms.get_or_insert_default();
        self.reply_unless(select.nowait, key, AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})));
        Ok(())
    }
}
