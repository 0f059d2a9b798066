//! What processes use, out of `/proc`: CPU time and resident memory of a process and all its children.
//!
//! Linux only. Does not know which program it is.

use std::fs;
use std::path::Path;

use crate::error::BenchError;

/// A process and its descendants, as they were when asked for: a broker's own do not change while it serves.
#[derive(Debug, Clone)]
pub struct Processes {
    ids: Vec<u32>,
    ticks_per_second: f64,
}

impl Processes {
    /// The process and all below it.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn tree(root: u32) -> Result<Self, BenchError> {
        let stat = Path::new("/proc").join(root.to_string()).join("stat");
        fs::read_to_string(&stat).map_err(BenchError::file(stat))?;
        let entries = fs::read_dir("/proc").map_err(BenchError::file("/proc"))?;
        let process = |name: String| {
            let id: u32 = name.parse().ok()?;
            Some((id, Stat::of(id)?.parent))
        };
        let all: Vec<(u32, u32)> =
            entries.flatten().filter_map(|entry| process(entry.file_name().into_string().ok()?)).collect();
        let mut ids = vec![root];
        let mut at = 0;
        while let Some(parent) = ids.get(at).copied() {
            ids.extend(all.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
            at += 1;
        }
        Ok(Self { ids, ticks_per_second: rustix::param::clock_ticks_per_second() as f64 })
    }

    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self { ids: vec![std::process::id()], ticks_per_second: rustix::param::clock_ticks_per_second() as f64 }
    }

    /// The ids, the root first.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The one that has used the most CPU time: the broker itself, where shells and helpers stand around it.
    #[must_use]
    pub fn busiest(&self) -> Option<u32> {
        self.ids.iter().copied().max_by_key(|id| Stat::of(*id).map(|stat| stat.ticks))
    }

    /// CPU time used so far, user and system, in seconds; to a hundredth on most systems.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.ids.iter().filter_map(|id| Stat::of(*id)).map(|stat| stat.ticks).sum();
        ticks as f64 / self.ticks_per_second
    }

    /// Resident memory now, in octets; pages that processes share are counted for each.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.ids.iter().filter_map(|id| rss_of(*id)).sum()
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn of(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// See proc_pid_stat(5): the second field is the program's name, which may hold anything, spaces and brackets too.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
    }
}

fn rss_of(id: u32) -> Option<u64> {
    parse_rss(&fs::read_to_string(format!("/proc/{id}/status")).ok()?)
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = Stat::parse("12 (a) b (c)) S 7 12 12 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 1 2 3").unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 200));
        assert_eq!(parse_rss("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn this_process_is_in_its_parents_tree() {
        let own = Processes::own();
        assert!(own.rss_bytes() > 0);
        let parent = Stat::of(std::process::id()).unwrap().parent;
        assert!(Processes::tree(parent).unwrap().ids().contains(&std::process::id()));
        assert!(Processes::tree(u32::MAX).is_err());
    }
}
