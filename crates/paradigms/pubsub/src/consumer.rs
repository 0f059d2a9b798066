//! The subscribers. Each of them gets its own copy of everything, through every broker and from the producer
//! directly, and they do not know of each other.

mod direct;

use crosstalk_amqp_link::{Intake, Links};
use crosstalk_contract::describe::RoleDescription;
use crosstalk_host::{Host, Receiver, config::ConfigError, http::Role};
use lapin::types::ShortString;

use crate::wire::{self, Options, PARADIGM};

/// The subscribers' role: subscribes at every broker of the topology, and at the producer.
///
/// # Errors
/// When `[pubsub]` is wrong.
pub fn role(host: &Host, receiver: &Receiver, links: &Links) -> Result<Role, ConfigError> {
    let options: Options = host.config().section(PARADIGM)?;
    let names: Vec<String> = (1..=options.subscribers).map(wire::subscriber).collect();
    receiver.inbox().register(PARADIGM, &names);
    let exchange = ShortString::from(options.exchange.as_str());
    for name in names {
        let queue = ShortString::from(wire::subscription(&options.exchange, &name));
        for link in links.all() {
            let intake = Intake {
                paradigm: PARADIGM,
                name: name.clone(),
                queue: queue.clone(),
                prefetch: options.prefetch,
                declare: wire::declare_subscription(&exchange, &queue),
            };
            intake.start(host, receiver, link);
        }
        direct::start(host, receiver, name);
    }
    let description = RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "subscribes to everything, through brokers and at the producer directly".to_owned(),
        starts: None,
        receiver: None,
        demonstrations: Vec::new(),
    };
    Ok(Role { description, endpoints: Vec::new() })
}
