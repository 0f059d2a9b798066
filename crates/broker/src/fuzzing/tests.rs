//! The corpus in `fuzz/corpus`: it is what its generator makes, and nothing in it breaks anything.

use std::fs;
use std::path::{Path, PathBuf};

use super::seeds::seeds;
use super::*;

/// How the files of the generator begin; all others are inputs that once broke something.
const SEED: &str = "seed-";

fn target(name: &str) -> fn(&[u8]) {
    match name {
        "frames" => frames,
        "methods" => methods,
        "segments" => segments,
        "connection" => connection,
        "permissions" => permissions,
        other => panic!("no such target: {other}"),
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn nothing_in_the_corpus_breaks_anything() {
    for directory in files(&corpus()) {
        let run = target(directory.file_name().unwrap().to_str().unwrap());
        for file in files(&directory) {
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
        }
    }
}

#[test]
fn the_corpus_is_what_the_generator_makes() {
    let made = seeds();
    for (target, name, octets) in &made {
        let there = fs::read(corpus().join(target).join(format!("{SEED}{name}"))).unwrap_or_default();
        assert!(there == *octets, "{target}/{SEED}{name} is another: `fuzz/run --seeds` makes the corpus anew");
    }
    let is_seed = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with(SEED);
    let there: Vec<_> = files(&corpus()).iter().flat_map(|directory| files(directory)).filter(is_seed).collect();
    assert_eq!(there.len(), made.len(), "`fuzz/run --seeds` makes the corpus anew");
}

/// Makes the seeds anew; run by `fuzz/run --seeds`.
#[test]
#[ignore = "changes files"]
fn write_the_corpus() {
    for directory in files(&corpus()) {
        for file in files(&directory) {
            if file.file_name().unwrap().to_str().unwrap().starts_with(SEED) {
                fs::remove_file(file).unwrap();
            }
        }
    }
    for (target, name, octets) in seeds() {
        let directory = corpus().join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{SEED}{name}")), octets).unwrap();
    }
}
