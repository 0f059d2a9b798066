//! How many connections the system's limit on open files allows. It does not know what the connections are for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but AMQP connections: listeners, pages over HTTP, files of the store, the runtime.
const OTHERS: u64 = 128;

/// Raises the process's soft limit to its hard one, as programs that do not use `select` may, and gives the number of
/// connections that fits, at most `wanted`.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit on open files");
            limit.current
        }
    };
    let fits = fitting(wanted, current);
    if fits < wanted {
        tracing::warn!(connections_max = wanted, fits, "the limit on open files (ulimit -Hn) allows fewer connections");
    }
    fits
}

/// At least one, even where next to nothing is allowed.
fn fitting(wanted: usize, open_files: Option<u64>) -> usize {
    let room = open_files.map_or(u64::MAX, |files| files.saturating_sub(OTHERS).max(1));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        assert_eq!(fitting(4096, None), 4096);
        assert_eq!(fitting(4096, Some(1_048_576)), 4096);
        assert_eq!(fitting(4096, Some(1024)), 896);
        assert_eq!(fitting(4096, Some(10)), 1);
    }
}
