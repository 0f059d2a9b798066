//! `crosstalk send` and `crosstalk recv`: a file into a running cluster, and out of it. Standard output carries
//! only what another program would read.

use std::{
    cell::Cell,
    io::{BufWriter, IsTerminal as _, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{anyhow, bail};
use bytes::Bytes;
use crosstalk_contract::report::{RunReport, RunState};
use crosstalk_host::{peers::PeerError, runs::new_run};
use crosstalk_lab::{
    LabError,
    cluster::Cluster,
    recv::{self, Fetched},
    send::{self, Cut},
    story::ms,
};

use super::INCOMPLETE;
use crate::arguments::{RecvArgs, SendArgs};

/// Largest input, in bytes (1 GiB): it is held in memory while it is sent.
const INPUT_MAX: u64 = 1 << 30;

pub(crate) async fn send(args: SendArgs) -> anyhow::Result<ExitCode> {
    let cluster = find(&args.cluster.cluster).await?;
    let input = read(&args.file)?;
    let cut = match args.chunk {
        None => Cut::Lines,
        Some(0) => bail!("--chunk: expected a size of at least 1B, got 0"),
        Some(size) => Cut::Chunks(usize::try_from(size).unwrap_or(usize::MAX)),
    };
    let messages = send::cut(&input, cut)?;
    let count = messages.len();
    let parameters = parameters(&args)?;
    // An id of our own, so that the run can be asked about even when the answer does not arrive.
    let run = new_run();
    let shown = Cell::new(None);
    let progress = |handed: u64| {
        // Once all is handed over, the same line every second would say nothing.
        if shown.replace(Some(handed)) != Some(handed) {
            tell(handed, count);
        }
    };
    let sent = send::send(&cluster, &args.over, run, messages, &parameters, progress).await;
    let report = sent.map_err(|error| match error {
        LabError::Peer(PeerError::Refused { status: 413, .. }) => {
            anyhow!("{error}; cut the input into smaller messages with --chunk, such as --chunk 1KiB")
        }
        error @ LabError::Peer(PeerError::Unreachable { .. }) => {
            anyhow!("{error}; part of the input may have arrived: crosstalk recv {run} tells")
        }
        error => error.into(),
    })?;
    writeln!(std::io::stdout(), "{}", report.run).map_err(|error| anyhow!("cannot write the run's id: {error}"))?;
    Ok(told(&report))
}

async fn find(url: &str) -> anyhow::Result<Cluster> {
    let found = Cluster::discover(url).await;
    found.map_err(|error| anyhow!("{error}; is a cluster running? `crosstalk` starts one, --cluster names another"))
}

fn read(file: &Path) -> anyhow::Result<Bytes> {
    let mut input = Vec::new();
    let name = file.display();
    if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(INPUT_MAX + 1)
            .read_to_end(&mut input)
            .map_err(|error| anyhow!("cannot read standard input: {error}"))?;
    } else {
        let file = std::fs::File::open(file).map_err(|error| anyhow!("cannot open {name}: {error}"))?;
        file.take(INPUT_MAX + 1).read_to_end(&mut input).map_err(|error| anyhow!("cannot read {name}: {error}"))?;
    }
    if input.len() as u64 > INPUT_MAX {
        bail!("{name} is over {INPUT_MAX} B (1 GiB), the most that one run carries; send it in parts");
    }
    Ok(input.into())
}

fn parameters(args: &SendArgs) -> anyhow::Result<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    for text in &args.with {
        let Some((name, value)) = text.split_once('=') else {
            bail!("--with: expected NAME=VALUE such as via=direct, got {text:?}");
        };
        parameters.push((name.to_owned(), value.to_owned()));
    }
    parameters.extend(args.rate.iter().map(|rate| ("rate".to_owned(), rate.clone())));
    parameters.extend(args.in_flight.iter().map(|count| ("in_flight".to_owned(), count.to_string())));
    Ok(parameters)
}

/// A line that the next one replaces on a terminal.
fn tell(handed: u64, count: usize) {
    let rest = if handed < count as u64 { "" } else { "; waiting for the receiver" };
    let line = format!("handed over {handed} of {count} messages{rest}");
    if std::io::stderr().is_terminal() {
        eprint!("\r{line}");
    } else {
        eprintln!("{line}");
    }
}

fn told(report: &RunReport) -> ExitCode {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let messages = &report.messages;
    eprintln!(
        "{}{}: {} messages, {} B sent in {}; {} delivered, {} lost, {} duplicated, {} waiting, {} unknown; {}",
        report.paradigm,
        if report.over.is_empty() { String::new() } else { format!(" over {}", report.over) },
        messages.sent,
        messages.bytes,
        ms(report.sending_ms),
        messages.delivered,
        messages.lost,
        messages.duplicated,
        messages.waiting,
        messages.unknown,
        report.observed.summary,
    );
    for error in &report.errors {
        eprintln!("{} × {}", error.count, error.error);
    }
    for missing in report.missing.iter().take(SHOWN_MAX) {
        eprintln!("{} did not get {}", missing.receiver, range(missing.from, missing.through));
    }
    shortened(report.missing.len());
    let whole = report.state == RunState::Complete
        && messages.delivered == messages.expected
        && messages.sent == messages.intended;
    if whole { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) }
}

/// Most ranges of missing messages that are printed.
const SHOWN_MAX: usize = 1000;

fn shortened(ranges: usize) {
    if ranges >= SHOWN_MAX {
        eprintln!("… and perhaps more; only the first {SHOWN_MAX} gaps are listed");
    }
}

fn range(from: u64, through: u64) -> String {
    if from == through { format!("message {from}") } else { format!("messages {from} to {through}") }
}

pub(crate) async fn recv(args: RecvArgs) -> anyhow::Result<ExitCode> {
    let cluster = find(&args.cluster.cluster).await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let fetched = recv::recv(&cluster, args.run, args.receiver.as_deref(), &mut out).await?;
    out.flush()?;
    let Fetched { receiver, of, messages, bytes, missing } = fetched;
    eprintln!("{receiver} got {messages} of {of} messages, {bytes} B");
    for gap in missing.iter().take(SHOWN_MAX) {
        eprintln!("missing: {}", range(gap.from, gap.through));
    }
    shortened(missing.len());
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}
