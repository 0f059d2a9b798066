//! What a user may choose on the command line. Does not know what follows from it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::brokers::{Source, beside};

const EXAMPLES: &str = "\
Without arguments it starts our broker (the program `broker` that lies beside this one) and RabbitMQ (in a container,
on the host's network, without its management plugin), runs every row against both in turn, and stops both.

Every message carries a number and the time of sending. A run in which a message was lost, duplicated or out of order
is reported as failed, and gives no number.

Examples:
  broker-bench --list                            every row, and what it is
  broker-bench --rows durable,transient          the rows whose names begin so
  broker-bench --broker crosstalk --rows growth --messages 10000000
  broker-bench --rows lapin                      what an application pays that uses lapin
  broker-bench --broker crosstalk --broker other=amqp://guest:guest@localhost:5672/%2f,pid=4711
  broker-bench --markdown docs/broker-speed.md --json speed.json

Exit code: 0 all rows gave a number, 1 one failed, 2 the arguments are wrong, 130 interrupted.";

/// Measures AMQP brokers against each other: same load, same machine, same run
#[derive(Debug, Clone, Parser)]
#[command(name = "broker-bench", version, after_help = EXAMPLES)]
pub struct Options {
    /// What to measure: crosstalk, rabbitmq (both are started here), or NAME=URL[,pid=N] for one that runs already;
    /// with its process id, CPU and memory are measured too. The first is compared to the others
    /// [default: crosstalk and rabbitmq]
    #[arg(long = "broker", value_name = "BROKER")]
    pub brokers: Vec<Source>,
    /// Which rows: names or beginnings of names, separated by commas [default: all]
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Prints every row with what it is, and ends
    #[arg(long)]
    pub list: bool,
    /// How long each run is measured
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// How long each run goes on before it is measured
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,
    /// Runs of each row against each broker, in turn; the median is shown, with the lowest and the highest
    #[arg(long, value_name = "RUNS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Messages of the row `growth`
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    pub messages: u64,
    /// Acknowledge at the latest after so many messages, all at once; 1 acknowledges each on its own. Not above the
    /// prefetch of 1,000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub ack_every: u64,
    /// Our broker's program [default: `broker` beside this program]
    #[arg(long, value_name = "FILE", default_value_os_t = beside("broker"), hide_default_value = true)]
    pub program: PathBuf,
    /// One more argument for our broker, such as --broker-arg=--set=broker.memory_max=4GiB
    #[arg(long = "broker-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub broker_arguments: Vec<String>,
    /// RabbitMQ's image
    #[arg(long, value_name = "IMAGE", default_value = "rabbitmq:4-management")]
    pub image: String,
    /// Where our broker keeps its data while it is measured: a directory on the disk that the container engine uses
    /// too, so that both sync the same one, and not in memory, as /tmp is on some systems [default: a directory
    /// beside this program]
    #[arg(long, value_name = "DIR", default_value_os_t = beside("broker-bench-data"), hide_default_value = true)]
    pub data: PathBuf,
    /// Writes everything that was measured, each run on its own, to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the tables as a page of Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

impl Options {
    /// The brokers to measure.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        if self.brokers.is_empty() { vec![Source::Own, Source::RabbitMq] } else { self.brokers.clone() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_both_brokers_the_default() {
        Options::command().debug_assert();
        let options = Options::try_parse_from(["broker-bench", "--rows", "a,b"]).unwrap();
        assert_eq!((options.sources().len(), options.rows), (2, vec!["a".to_owned(), "b".to_owned()]));
        assert!(Options::try_parse_from(["broker-bench", "--repeat", "0"]).is_err());
        assert!(Options::try_parse_from(["broker-bench", "--broker", "nonsense"]).is_err());
    }
}
