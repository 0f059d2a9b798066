//! What each command does, from its arguments to its exit code. Starting processes and talking to them stand
//! elsewhere.

mod transfer;

use std::{io::Write as _, pin::pin, process::ExitCode};

use anyhow::Context as _;
use crosstalk_host::config::{Config, Sources};
use crosstalk_lab::{cluster::Cluster, tour};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::transfer::{recv, send};
use crate::{
    arguments::{ConfigArgs, TourArgs, UpArgs},
    cluster::{Local, Shown},
};

/// Exit code of a command that did its work with a result that is not whole: something did not arrive.
const INCOMPLETE: u8 = 1;
/// Exit code of a command that could not do its work.
const FAILED: u8 = 2;

/// Runs a command to its end.
pub(crate) fn run(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let ended = tokio::runtime::Runtime::new().context("cannot start the runtime").and_then(|runtime| {
        let ended = runtime.block_on(command);
        // Reading standard input cannot be interrupted; nobody waits for it.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        // Errors of our own say all there is in one line; their sources would say it again.
        eprintln!("error: {error}");
        ExitCode::from(FAILED)
    })
}

/// Listens from now on; what it gives ends when the user says so: by Ctrl-C, SIGTERM, or by closing the terminal.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// `crosstalk` and `crosstalk up`.
pub(crate) async fn up(args: UpArgs) -> anyhow::Result<ExitCode> {
    let mut stop = pin!(told_to_stop()?);
    let local = Local::start(&args.local).await?;
    let stay = async {
        let cluster = started(&local).await?;
        if args.no_tour || tour::run(&cluster, &mut std::io::stdout(), &mut stop).await?.is_some() {
            invite(&cluster)?;
            local.show(Shown::Everything);
            stop.await;
        }
        anyhow::Ok(())
    };
    let ended = stay.await;
    local.stop().await;
    ended.map(|()| ExitCode::SUCCESS)
}

/// `crosstalk tour`.
pub(crate) async fn tour(args: TourArgs) -> anyhow::Result<ExitCode> {
    let mut stop = pin!(told_to_stop()?);
    if let Some(url) = &args.cluster {
        let cluster = Cluster::discover(url).await?;
        return Ok(verdict(tour::run(&cluster, &mut std::io::stdout(), stop).await?));
    }
    let local = Local::start(&args.local).await?;
    let toured = async {
        let cluster = started(&local).await?;
        anyhow::Ok(verdict(tour::run(&cluster, &mut std::io::stdout(), &mut stop).await?))
    };
    let ended = toured.await;
    local.stop().await;
    ended
}

fn verdict(toured: Option<tour::Toured>) -> ExitCode {
    let Some(toured) = toured else { return ExitCode::from(FAILED) };
    if toured.complete() {
        return ExitCode::SUCCESS;
    }
    for row in toured.rows.iter().filter(|row| !row.complete()) {
        eprintln!("incomplete: {}", row.title);
    }
    ExitCode::from(INCOMPLETE)
}

/// Waits until the cluster is ready and says where everyone is.
async fn started(local: &Local) -> anyhow::Result<Cluster> {
    let cluster = local.ready().await?;
    let ready = local.age();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "A cluster of {} processes on this machine, all ready {} ms after the start:\n",
        cluster.nodes().len(),
        ready.as_millis()
    )?;
    for node in cluster.nodes() {
        let description = &node.description;
        writeln!(out, "  {:9} {:24} process {:<8} {}", description.node, node.url, description.pid, description.about)?;
    }
    for broker in &local.topology().brokers {
        writeln!(out, "  {:9} {}", format!("({})", broker.name), broker.shown_url())?;
    }
    out.flush()?;
    Ok(cluster)
}

/// Lines to try: the first one of every paradigm, and where there are more.
fn invite(cluster: &Cluster) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "The cluster stays up; Ctrl-C ends it. Try:\n")?;
    for (node, _, path) in cluster.starting() {
        let start = format!("{}{path}", node.url);
        let line = node.description.curl.iter().find(|curl| curl.line.contains(&start));
        if let Some(curl) = line {
            writeln!(out, "  {}", curl.line)?;
        }
    }
    for node in cluster.nodes() {
        writeln!(out, "  curl {}/    # {}", node.url, node.description.node)?;
    }
    writeln!(out, "\nWhat happens from now on, as the nodes tell it:\n")?;
    out.flush()?;
    Ok(())
}

/// `crosstalk config`.
pub(crate) async fn config(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let environment = Sources::variables(std::env::vars_os());
    let config = Config::load(&Sources { file: args.config, environment, flags: args.set })?;
    std::io::stdout().lock().write_all(config.render().as_bytes()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
