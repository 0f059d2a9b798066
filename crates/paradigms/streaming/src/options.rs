//! The section `[streaming]` of the configuration. It does not know which end uses which option.

use crosstalk_host::{
    Host,
    config::{ConfigError, Pace, Size, Span},
};
use serde::Deserialize;

use crate::wire::PARADIGM;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) rate: Pace,
    pub(crate) upload_rate: Pace,
    pub(crate) datagram_max: Size,
    pub(crate) open_timeout: Span,
    pub(crate) grace: Span,
    pub(crate) receive_buffer: Size,
    pub(crate) backlog: usize,
    pub(crate) sessions_max: usize,
    pub(crate) session_idle: Span,
    pub(crate) stall_max: Span,
}

impl Options {
    pub(crate) fn read(host: &Host) -> Result<Self, ConfigError> {
        host.config().section(PARADIGM)
    }
}
