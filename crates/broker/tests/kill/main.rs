//! Kills a real broker with SIGKILL in the midst of its work, again and again on the same data, and accounts for every
//! message: nothing that was confirmed may be lost, nothing may come that was not published, or again without the
//! redelivered flag, or in another order.
//!
//! A program of its own and not a list of tests, so that one can ask for as many kills as one likes: `--help`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports to who started it")]

mod churn;
mod consumers;
mod lanes;
mod ledger;
mod life;
mod options;
#[path = "../broker/process.rs"]
mod process;
mod publishers;
mod random;
mod topology;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::consumers::{Manner, consuming};
use self::lanes::{BRIEF, Publisher, QUEUES};
use self::ledger::Ledger;
use self::life::{DEADLINE, Life, soon};
use self::options::Asked;
use self::process::{Program, Scratch};
use self::random::Random;
use self::topology::Topology;

/// How long the broker lives at most once its clients work, in microseconds.
const LIFE_MAX_MICROSECONDS: u64 = 400_000;
/// One life out of so many ends before the broker can have finished its start.
const EARLY_ONE_IN: u64 = 5;
/// How long such a life lasts at most, in microseconds.
const EARLY_MAX_MICROSECONDS: u64 = 60_000;
/// Segments as small as they can be, so that many are made and unlinked.
const OPTIONS: [&str; 2] = ["--set", "broker.segment_size=1MiB"];

/// Everything that outlives a broker.
struct Trial {
    scratch: Scratch,
    ledger: Arc<Mutex<Ledger>>,
    topology: Arc<Mutex<Topology>>,
    random: Random,
    slowest_start: Duration,
}

fn main() -> ExitCode {
    let fresh_seed = RandomState::new().hash_one(std::process::id()) >> 32;
    match options::read(std::env::args().skip(1), fresh_seed) {
        Asked::Run { cycles, seed } => run(cycles, seed),
        Asked::Help => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Asked::List => {
            println!("kill: test");
            ExitCode::SUCCESS
        }
        Asked::Nothing => ExitCode::SUCCESS,
        Asked::Wrong(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main]
async fn run(cycles: u32, seed: u64) -> ExitCode {
    println!("killing a broker {cycles} times, seed {seed}");
    let started = Instant::now();
    let mut trial = Trial {
        scratch: Scratch::new(),
        ledger: Arc::default(),
        topology: Arc::default(),
        random: Random::new(seed),
        slowest_start: Duration::ZERO,
    };
    for cycle in 1..=cycles {
        trial.cycle().await;
        if cycle.is_multiple_of(cycles.div_ceil(10)) {
            let ledger = trial.ledger.lock().unwrap();
            let (confirmed, faults) = (ledger.counts.confirmed, ledger.faults.len());
            println!("{cycle} kills, {confirmed} confirmed, {faults} faults, {} s", started.elapsed().as_secs());
        }
        if !trial.ledger.lock().unwrap().faults.is_empty() {
            break;
        }
    }
    trial.drain().await;
    trial.report(started)
}

impl Trial {
    /// One life: start, work, kill.
    async fn cycle(&mut self) {
        let (program, life) = self.start();
        let mut clients = JoinSet::new();
        if self.random.one_in(EARLY_ONE_IN) {
            self.set_to_work(&mut clients, &life);
            let moment = Duration::from_micros(self.random.below(EARLY_MAX_MICROSECONDS));
            self.live(&mut clients, moment).await;
        } else {
            self.take_up(&program, &life).await;
            self.set_to_work(&mut clients, &life);
            soon("the first confirm", life.confirmed.cancelled()).await;
            let moment = Duration::from_micros(self.random.below(LIFE_MAX_MICROSECONDS));
            self.live(&mut clients, moment).await;
        }
        life.end(program, clients).await;
    }

    fn start(&mut self) -> (Program, Life) {
        self.ledger.lock().unwrap().begin_life();
        let program = Program::start(&self.scratch, &OPTIONS);
        let life = Life::new(program.uri(), &self.ledger, &self.topology);
        (program, life)
    }

    /// Waits until the broker is ready, and looks whether all is there that must be.
    async fn take_up(&mut self, program: &Program, life: &Life) {
        let started = Instant::now();
        let faults = self.topology.lock().unwrap().check(program);
        self.slowest_start = self.slowest_start.max(started.elapsed());
        faults.into_iter().for_each(|fault| life.ledger().fault(fault));
        if let Err(error) = soon("the topology", life.prepare()).await {
            life.ledger().fault(format!("the topology cannot be declared: {error}"));
        }
    }

    fn set_to_work(&mut self, clients: &mut JoinSet<()>, life: &Life) {
        for publisher in [Publisher::Many, Publisher::Single, Publisher::Fan, Publisher::Rejected] {
            let random = self.random.fork();
            let client = move |life| publishers::confirming(life, publisher, random);
            clients.spawn(life.clone().client("a publisher", client));
        }
        let random = self.random.fork();
        clients.spawn(life.clone().client("transactions", |life| publishers::transactional(life, random)));
        let random = self.random.fork();
        clients.spawn(life.clone().client("changes", |life| churn::changing(life, random)));
        let random = self.random.fork();
        clients.spawn(life.clone().client("brief queues", |life| churn::brief(life, random)));
        self.consume(clients, life, Manner::Some);
    }

    fn consume(&mut self, clients: &mut JoinSet<()>, life: &Life, manner: Manner) {
        for queue in QUEUES {
            let random = self.random.fork();
            clients.spawn(life.clone().consumer(move |life| consuming(life, queue, manner, random)));
        }
    }

    /// Lets the clients work until the moment of the kill; those who have done all that they may just wait.
    async fn live(&self, clients: &mut JoinSet<()>, moment: Duration) {
        let working = async {
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
        };
        // Consumers never end by themselves, unless there is a fault, which is in the ledger then.
        drop(tokio::time::timeout(moment, working).await);
    }

    /// The last life: everything is consumed to the end.
    async fn drain(&mut self) {
        let (program, life) = self.start();
        self.take_up(&program, &life).await;
        let (_connection, channel) = soon("a channel", life.channel()).await.unwrap();
        for queue in program.json("/queues?limit=1000000") {
            let name = queue["name"].as_str().unwrap_or_default();
            if name.starts_with(BRIEF) {
                soon("a queue's end", churn::empty_and_delete(&life, &channel, name)).await.unwrap();
            }
        }
        let mut clients = JoinSet::new();
        self.consume(&mut clients, &life, Manner::All);
        let (mut left, mut deadline) = (u64::MAX, Instant::now() + DEADLINE);
        while left > 0 {
            let now = stored(&program);
            if now != left {
                (left, deadline) = (now, Instant::now() + DEADLINE);
            }
            assert!(Instant::now() < deadline, "{left} messages are left, and nothing moves");
            tokio::task::yield_now().await;
        }
        life.end(program, clients).await;
        self.ledger.lock().unwrap().find_lost();
    }

    fn report(self, started: Instant) -> ExitCode {
        let Self { scratch, ledger, topology, slowest_start, .. } = self;
        let ledger = ledger.lock().unwrap();
        let counts = &ledger.counts;
        println!("published     {:>10}   in doubt {}", counts.published, ledger.in_doubt());
        println!("confirmed     {:>10}   refused {}", counts.confirmed, counts.refused);
        println!("transactions  {:>10}", counts.transactions);
        println!("delivered     {:>10}   duplicated {}", counts.delivered, counts.duplicated);
        println!("acknowledged  {:>10}   in transactions {}", counts.acknowledged, counts.settled);
        println!("rejected      {:>10}", counts.rejected);
        println!("topology      {:>10}   changes", topology.lock().unwrap().changes);
        println!("given up      {:>10}   publishers", counts.hanging);
        println!("slowest start {:>10}   ms", slowest_start.as_millis());
        println!("LOST {}  UNEXPECTED {}  OUT OF ORDER {}", counts.lost, counts.unexpected, counts.out_of_order);
        println!("{} s", started.elapsed().as_secs());
        if ledger.faults.is_empty() {
            return ExitCode::SUCCESS;
        }
        ledger.faults.iter().for_each(|fault| eprintln!("fault: {fault}"));
        eprintln!("kept: {} and {}", scratch.data().display(), scratch.log().display());
        std::mem::forget(scratch);
        ExitCode::FAILURE
    }
}

/// Messages on the broker's disk. The figures of the queues do not say it: a message that is on its way to the dead
/// letters, and waits for its content to be read, is neither ready nor unacknowledged.
fn stored(program: &Program) -> u64 {
    let (_, metrics) = program.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("crosstalk_broker_store_live_messages "));
    line.unwrap().parse().unwrap()
}
