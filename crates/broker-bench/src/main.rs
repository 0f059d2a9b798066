//! The program `broker-bench`: arguments in, tables out, brokers stopped whatever happens.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use clap::error::ErrorKind;
use crosstalk_broker_bench::error::BenchError;
use crosstalk_broker_bench::options::Options;
use crosstalk_broker_bench::rows::{self, Row};
use crosstalk_broker_bench::session::{Results, Session};
use crosstalk_broker_bench::{connection, report};

/// What shells use for a program ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    let all = rows::all(options.ack_every);
    if options.list {
        return match all.iter().try_for_each(|row| writeln!(io::stdout(), "{:24} {}", row.name, row.about)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let rows = chosen(&options, all);
    let interrupted = Arc::new(AtomicBool::new(false));
    match measure(&options, &rows, &interrupted) {
        Ok(_) | Err(BenchError::Interrupted) if interrupted.load(Ordering::Relaxed) => ExitCode::from(EXIT_INTERRUPTED),
        Ok(results) if results.any_failed() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "broker-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The rows whose names begin as asked for; ends with what there is when one begins like none.
fn chosen(options: &Options, all: Vec<Row>) -> Vec<Row> {
    for wanted in &options.rows {
        if !all.iter().any(|row| row.name.starts_with(wanted.as_str())) {
            let names: Vec<&str> = all.iter().map(|row| row.name.as_str()).collect();
            let message = format!("no row begins with `{wanted}`; there are: {}\n", names.join(", "));
            clap::Error::raw(ErrorKind::InvalidValue, message).exit();
        }
    }
    let is_wanted = |row: &Row| options.rows.is_empty() || options.rows.iter().any(|name| row.name.starts_with(name));
    all.into_iter().filter(is_wanted).collect()
}

fn measure(options: &Options, rows: &[Row], interrupted: &Arc<AtomicBool>) -> Result<Results, BenchError> {
    watch_for_signals(Arc::clone(interrupted))?;
    connection::allow_many()?;
    let results = Session::start(options, Arc::clone(interrupted))?.run(rows)?;
    let text = report::tables(&results);
    drop(io::stdout().write_all(text.as_bytes()));
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&results)
            .map_err(|error| BenchError::File { path: path.clone(), source: error.into() })?;
        write(path, &json)?;
    }
    if let Some(path) = &options.markdown {
        let how = format!(
            "Each figure is the median of {} runs of {} after {} of warm-up, the brokers in turn; both with \
             their data on the same disk.",
            options.repeat,
            humantime::format_duration(options.duration),
            humantime::format_duration(options.warm_up)
        );
        write(path, &report::page(&results, rows, &how))?;
    }
    Ok(results)
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    let failed = |source| BenchError::File { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

/// Sets the flag at Ctrl-C or SIGTERM; everything that waits looks at it, so that brokers are stopped in order.
fn watch_for_signals(interrupted: Arc<AtomicBool>) -> Result<(), BenchError> {
    let failed = |source| BenchError::Io { what: "preparing for Ctrl-C", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(failed)?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        });
        interrupted.store(true, Ordering::Relaxed);
        drop(writeln!(io::stderr(), "stopping the brokers ..."));
    });
    Ok(())
}
