//! The consumer of the queue. It acknowledges a message when the work is done, and does not know who waits for
//! that: nobody does.

use crosstalk_amqp_link::{Intake, Links};
use crosstalk_contract::describe::RoleDescription;
use crosstalk_host::{Host, Receiver, config::ConfigError, http::Role};
use lapin::types::ShortString;

use crate::wire::{self, Options, PARADIGM};

/// The consumer's role: consumes from the queue at every broker of the topology.
///
/// # Errors
/// When `[queue]` is wrong.
pub fn role(host: &Host, receiver: &Receiver, links: &Links) -> Result<Role, ConfigError> {
    let options: Options = host.config().section(PARADIGM)?;
    receiver.inbox().register(PARADIGM, &[host.name().to_owned()]);
    let queue = ShortString::from(options.name);
    for link in links.all() {
        let intake = Intake {
            paradigm: PARADIGM,
            name: host.name().to_owned(),
            queue: queue.clone(),
            prefetch: options.prefetch,
            declare: wire::declare(&queue),
        };
        intake.start(host, receiver, link);
    }
    let description = RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "works off the queue, and acknowledges each message when the work is done".to_owned(),
        starts: None,
        receiver: None,
        demonstrations: Vec::new(),
    };
    Ok(Role { description, endpoints: Vec::new() })
}
