//! `crosstalk send` and `crosstalk recv`: what went in comes out, byte for byte, over every lossless paradigm.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::cluster::{Cluster, printed, temporary};

/// Every lossless way, as arguments of `send`.
const LOSSLESS: [&[&str]; 7] = [
    &["--over", "request-response"],
    &["--over", "queue"],
    &["--over", "pubsub"],
    &["--over", "pubsub", "--with", "via=direct"],
    &["--over", "polling"],
    &["--over", "polling", "--with", "mode=short", "--with", "interval=10ms"],
    &["--over", "streaming", "--with", "transport=websocket"],
];

impl Cluster {
    /// Sends `input` through standard input; gives the run's id, which must stand alone on standard output.
    fn send(&self, input: &[u8], arguments: &[&str]) -> (String, Output) {
        let mut command = self.command(&[&["send", "-"], arguments].concat());
        let mut sending = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        sending.stdin.take().unwrap().write_all(input).unwrap();
        let output = sending.wait_with_output().unwrap();
        let run = String::from_utf8(output.stdout.clone()).unwrap();
        (run.trim_end().to_owned(), output)
    }

    fn recv(&self, run: &str) -> Output {
        self.command(&["recv", run]).output().unwrap()
    }

    #[track_caller]
    fn carries(&self, input: &[u8], arguments: &[&str]) {
        let (run, sent) = self.send(input, arguments);
        assert!(sent.status.success(), "{arguments:?}: {}", printed(&sent).1);
        assert_eq!(run.len(), 12, "the run's id alone: {run:?}");
        let received = self.recv(&run);
        assert!(received.status.success(), "{arguments:?}: {}", printed(&received).1);
        assert!(received.stdout == input, "{arguments:?}: {} B became {} B", input.len(), received.stdout.len());
    }
}

#[test]
fn awkward_inputs_come_out_as_they_went_in() {
    let cluster = Cluster::start();
    let long_line = [vec![b'x'; 1 << 20], b"\nshort\n".to_vec()].concat();
    let inputs: [&[u8]; 5] = [b"", b"\n\n\n", b"one\ntwo\n\nno final newline", b"\0\xff\xfe\n\r\n\x80", &long_line];
    for arguments in LOSSLESS {
        for input in inputs {
            cluster.carries(input, arguments);
        }
    }
}

#[test]
fn any_bytes_come_out_as_they_went_in() {
    let cluster = Cluster::start();
    let bytes = prop::collection::vec(prop_oneof![1 => Just(b'\n'), 4 => any::<u8>()], 0..3000);
    let way = (0..LOSSLESS.len(), prop::option::of(1usize..500));
    let config = Config { cases: 28, max_shrink_iters: 20, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&(bytes, way), |(input, (way, chunk))| {
        let chunk = chunk.map(|size| format!("{size}B"));
        let chunk: Vec<&str> = chunk.iter().flat_map(|size| ["--chunk", size.as_str()]).collect();
        cluster.carries(&input, &[LOSSLESS[way], &chunk].concat());
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn udp_says_exactly_which_messages_are_missing() {
    let cluster = Cluster::start();
    let input: Vec<u8> = (0..400).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let (run, sent) = cluster.send(&input, &["--over", "streaming", "--rate", "2000/s"]);
    let received = cluster.recv(&run);
    let (_, told) = printed(&received);
    let missing: Vec<(usize, usize)> = told
        .lines()
        .filter_map(|line| line.strip_prefix("missing: message"))
        .map(|gap| {
            let numbers: Vec<usize> = gap.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            (numbers[0], *numbers.last().unwrap())
        })
        .collect();
    let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let arrived = (1..=lines.len()).filter(|number| !missing.iter().any(|(from, to)| (from..=to).contains(&number)));
    let expected: Vec<u8> = arrived.flat_map(|number| lines[number - 1].to_vec()).collect();
    assert!(received.stdout == expected, "what is not said to be missing is there: {told}");
    assert_eq!(sent.status.success(), missing.is_empty(), "{}", printed(&sent).1);
    assert_eq!(received.status.code(), Some(i32::from(!missing.is_empty())), "{told}");
}

#[test]
fn a_file_is_read_by_its_name_and_too_large_a_datagram_is_refused() {
    let cluster = Cluster::start();
    let file = temporary("file");
    std::fs::write(&file, [b'x'; 100_000]).unwrap();
    let name = file.to_str().unwrap();
    let sent = cluster.command(&["send", "--over", "queue", name]).output().unwrap();
    assert!(sent.status.success(), "{}", printed(&sent).1);
    let refused = cluster.command(&["send", "--over", "streaming", name]).output().unwrap();
    let (run, why) = printed(&refused);
    assert!(!refused.status.success());
    assert!(why.contains("100000 B") && why.contains("datagram") && why.contains("--chunk"), "{run}: {why}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn unknown_things_are_named() {
    let cluster = Cluster::start();
    let errors = |arguments: &[&str]| {
        let output = cluster.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        printed(&output).1
    };
    let unknown = errors(&["send", "--over", "pigeon", "/dev/null"]);
    assert!(unknown.contains("pigeon") && unknown.contains("request-response"), "{unknown}");
    assert!(errors(&["send", "--over", "queue", "/no/such/file"]).contains("/no/such/file"));
    assert!(errors(&["send", "--over", "queue", "--with", "via", "/dev/null"]).contains("NAME=VALUE"));
    assert!(errors(&["recv", "000000000001"]).contains("000000000001"));
    assert!(errors(&["recv", "not-a-run"]).contains("12 hexadecimal digits"));
}
