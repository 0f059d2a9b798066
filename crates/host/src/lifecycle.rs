//! How a node learns that it should end: a signal, or the end of the process that started it. It does not know
//! what has to be tidied up.

use std::{io::BufRead, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// After this long, a node that should have ended by itself is ended. Together with the parent's own grace it
/// stays below two seconds.
const END_MAX: Duration = Duration::from_millis(1500);

/// Cancels `shutdown` on SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn watch_signals(shutdown: CancellationToken, managed: bool) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut first = true;
        loop {
            // Ctrl-C reaches every process of a terminal. A managed node leaves it to its parent, which
            // ends all nodes in order.
            tokio::select! {
                _ = interrupt.recv() => if managed { continue },
                _ = terminate.recv() => {}
            }
            if !first {
                std::process::exit(130);
            }
            first = false;
            end_by_force_after(END_MAX);
            info!("stopping");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// Reads standard input, which the parent holds open: the first line goes to `first_line`, and its end means
/// that the parent is gone. A thread of its own, so that it also works when all other threads hang; the same
/// on every system, as the kernel closes the pipe of a process that was killed.
pub fn watch_parent(shutdown: CancellationToken, first_line: oneshot::Sender<String>) {
    std::thread::spawn(move || {
        let mut first_line = Some(first_line);
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Some(first_line) = first_line.take() {
                let _ = first_line.send(line);
            }
        }
        // First of all, as nothing that follows may keep this node: the log goes to the parent, who is gone.
        end_by_force_after(END_MAX);
        if !shutdown.is_cancelled() {
            warn!("the process that started this node is gone: stopping");
        }
        shutdown.cancel();
    });
}

fn end_by_force_after(grace: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(grace);
        std::process::exit(1);
    });
}
