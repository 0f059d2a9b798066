//! What the command line asks for. Knows the arguments that `cargo test` hands to every test binary, and skips them.

/// Cycles where nobody asks for another number: half a minute at most.
const CYCLES_DEFAULT: u32 = 20;

pub(crate) const HELP: &str = "\
Kills a broker with SIGKILL in the midst of its work, starts it again on the same data, and accounts for every message.

  cargo test --release -p crosstalk-broker --test kill -- --cycles 1000

  --cycles N   how often it is killed [default: 20]
  --seed S     what the random choices follow from [default: another one each time]
  --help       this text
";

/// What is to be done.
pub(crate) enum Asked {
    Run {
        cycles: u32,
        seed: u64,
    },
    Help,
    List,
    /// The filter of `cargo test` names other tests.
    Nothing,
    Wrong(String),
}

pub(crate) fn read(arguments: impl Iterator<Item = String>, fresh_seed: u64) -> Asked {
    let (mut cycles, mut seed, mut filters) = (CYCLES_DEFAULT, fresh_seed, Vec::new());
    let mut arguments = arguments.flat_map(|argument| match argument.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![argument],
    });
    while let Some(argument) = arguments.next() {
        let wrong = || Asked::Wrong(format!("{argument} needs a number; try --help"));
        match argument.as_str() {
            "--help" | "-h" => return Asked::Help,
            "--list" => return Asked::List,
            "--ignored" => return Asked::Nothing,
            "--cycles" => match arguments.next().and_then(|value| value.parse().ok()) {
                Some(value) => cycles = value,
                None => return wrong(),
            },
            "--seed" => match arguments.next().and_then(|value| value.parse().ok()) {
                Some(value) => seed = value,
                None => return wrong(),
            },
            // Those of libtest that have a value.
            "--test-threads" | "--skip" | "--color" | "--format" | "--logfile" | "--shuffle-seed" | "-Z" => {
                arguments.next();
            }
            flag if flag.starts_with('-') => {}
            filter => filters.push(filter.to_owned()),
        }
    }
    let named = filters.is_empty() || filters.iter().any(|filter| "kill".contains(filter.as_str()));
    if named { Asked::Run { cycles, seed } } else { Asked::Nothing }
}
