//! The section `[polling]` of the configuration. It does not know which end uses which option.

use crosstalk_host::{
    Host,
    config::{ConfigError, Size, Span},
};
use serde::Deserialize;

use crate::wire::PARADIGM;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) interval: Span,
    pub(crate) wait: Span,
    pub(crate) wait_max: Span,
    pub(crate) batch_messages: usize,
    pub(crate) batch_bytes: Size,
    pub(crate) mailbox_messages: usize,
    pub(crate) mailbox_bytes: Size,
    pub(crate) room_wait: Span,
    pub(crate) retention: Span,
    pub(crate) away_max: Span,
    pub(crate) run_max: Span,
}

impl Options {
    pub(crate) fn read(host: &Host) -> Result<Self, ConfigError> {
        host.config().section(PARADIGM)
    }
}
