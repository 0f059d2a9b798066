//! The machine that the figures are of, in a few words. Does not know any figure.

use std::fs;
use std::thread;

/// Processor, cores, memory and kernel, as far as they can be found out.
pub(super) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory, kernel) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/sys/kernel/osrelease"));
    let model = field(&cpu, "model name").unwrap_or("unknown processor");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&memory, "MemTotal").and_then(|total| total.strip_suffix("kB")?.trim().parse::<u64>().ok());
    let memory = memory.map(|kib| format!(", {} GiB", kib >> 20)).unwrap_or_default();
    format!("measured on {cores} cores of {model}{memory}, Linux {}", kernel.trim())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(super::field("a : 1\nmodel name\t: X Y\n", "model name"), Some("X Y"));
        assert_eq!(super::field("a: 1", "b"), None);
        assert!(super::describe().starts_with("measured on "));
    }
}
