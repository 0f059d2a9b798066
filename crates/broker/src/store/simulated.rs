//! A file system in memory that behaves as badly as a real one may, decided by a seed.
//!
//! It keeps what was not synced apart: a crash keeps any part of it, by sectors and in any order, and forgets or keeps
//! each name that was created, renamed or unlinked since its directory was synced. Syncs and writes can fail, the disk
//! can be full, and the power can go out at any operation. Does not know what the files contain.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

const SECTOR: u64 = 512;

/// What is to go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// The power goes out at this operation, counted from now.
    pub(crate) power_off_after: Option<u64>,
    /// Of 1,000 syncs so many fail.
    pub(crate) failing_syncs: u32,
    /// Of 1,000 writes so many fail.
    pub(crate) failing_writes: u32,
    /// Octets that all files together can have.
    pub(crate) capacity: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { power_off_after: None, failing_syncs: 0, failing_writes: 0, capacity: u64::MAX }
    }
}

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process alone ended: all of it.
    Process,
    /// The machine ended: anything of it.
    Machine,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Debug, Default)]
struct SimulatedInode {
    shown: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Unset(String),
    Move(String, String, usize),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<SimulatedInode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    faults: Faults,
    off: bool,
    random: Random,
    operations: u64,
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Default)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Shared by all its clones, so that a test can look at it while a store uses it.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

/// A file of it.
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn input_output_error() -> io::Error {
    // EIO has no kind of its own.
    io::Error::from_raw_os_error(5)
}

fn apply(octets: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, written) => {
            let end = *offset as usize + written.len();
            if octets.len() < end {
                octets.resize(end, 0);
            }
            octets[*offset as usize..end].copy_from_slice(written);
        }
        Change::Truncate(length) => octets.resize(*length as usize, 0),
    }
}

fn rename(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Unset(name) => {
            names.remove(name);
        }
        NameChange::Move(from, to, inode) => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
    }
}

impl State {
    /// One operation that changes something; whether the power is still on after it is decided before it.
    fn operate(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(input_output_error());
        }
        self.operations += 1;
        if let Some(left) = &mut self.faults.power_off_after {
            if *left == 0 {
                self.off = true;
                return Ok(false);
            }
            *left -= 1;
        }
        Ok(true)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].shown.len() as u64).sum()
    }

    /// Keeps a part of the unsynced changes of a file, as the disk may have them.
    fn keep_some(&mut self, inode: usize) {
        let changes = std::mem::take(&mut self.inodes[inode].unsynced);
        let mode = self.random.below(4);
        for change in changes {
            match &change {
                Change::Write(offset, octets) => {
                    let mut at = 0;
                    while at < octets.len() {
                        let sector_end = ((offset + at as u64) / SECTOR + 1) * SECTOR - offset;
                        let end = octets.len().min(sector_end as usize);
                        let kept = match mode {
                            0 => false,
                            1 => true,
                            _ => self.random.below(2) == 0,
                        };
                        if kept {
                            let piece = Change::Write(offset + at as u64, octets[at..end].to_vec());
                            apply(&mut self.inodes[inode].durable, &piece);
                        }
                        at = end;
                    }
                }
                Change::Truncate(_) if mode == 1 || (mode > 1 && self.random.below(2) == 0) => {
                    apply(&mut self.inodes[inode].durable, &change);
                }
                Change::Truncate(_) => {}
            }
        }
    }
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { random: Random(seed), ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    /// Ends whoever used it, and turns the power on again, without faults. Files opened before are void.
    pub(crate) fn crash(&self, how: Crash) {
        let mut state = self.state();
        state.off = false;
        state.faults = Faults::default();
        if how == Crash::Process {
            return;
        }
        let mut names = state.durable_names.clone();
        for change in std::mem::take(&mut state.unsynced_names) {
            if state.random.below(2) == 0 {
                rename(&mut names, &change);
            }
        }
        for inode in 0..state.inodes.len() {
            state.keep_some(inode);
            let durable = state.inodes[inode].durable.clone();
            state.inodes[inode].shown = durable;
        }
        state.names = names.clone();
        state.durable_names = names;
    }

    /// Changes a file behind the back of everyone, or makes one.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut guard = self.state();
        let state = &mut *guard;
        let at = *state.names.entry(name.to_owned()).or_insert(state.inodes.len());
        state.durable_names.insert(name.to_owned(), at);
        state.inodes.resize_with(state.inodes.len().max(at + 1), SimulatedInode::default);
        let inode = &mut state.inodes[at];
        change(&mut inode.shown);
        inode.durable = inode.shown.clone();
        inode.unsynced.clear();
    }

    pub(crate) fn octets(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[name]].shown.clone()
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes names; when the power goes out just now, it may have happened or not.
    fn change_names(&self, change: NameChange) -> io::Result<()> {
        let mut state = self.state();
        let on = state.operate()?;
        rename(&mut state.names, &change);
        state.unsynced_names.push(change);
        if on { Ok(()) } else { Err(input_output_error()) }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }

    fn create_directory(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|name| directory_of(name) == directory);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        if let Ok(there) = self.open(name) {
            there.truncate(0)?;
            return Ok(there);
        }
        let inode = {
            let mut state = self.state();
            state.inodes.push(SimulatedInode::default());
            state.inodes.len() - 1
        };
        self.change_names(NameChange::Set(name.to_owned(), inode))?;
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let state = self.state();
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inode = *self.state().names.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.change_names(NameChange::Move(from.to_owned(), to.to_owned(), inode))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.change_names(NameChange::Unset(name.to_owned()))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.operate()? || u64::from(state.faults.failing_syncs) > state.random.below(1000) {
            return Err(input_output_error());
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        let (synced, left): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| match change {
            NameChange::Set(name, _) | NameChange::Unset(name) | NameChange::Move(_, name, _) => {
                directory_of(name) == directory
            }
        });
        for change in &synced {
            rename(&mut state.durable_names, change);
        }
        state.unsynced_names = left;
        Ok(())
    }

    fn free_octets(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.faults.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.inodes[self.inode].shown.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let on = state.operate()?;
        let grown = (offset + octets.len() as u64).saturating_sub(state.inodes[self.inode].shown.len() as u64);
        let room = state.faults.capacity.saturating_sub(state.used());
        let failing = !on || u64::from(state.faults.failing_writes) > state.random.below(1000);
        let (written, result) = if failing {
            let part = state.random.below(octets.len() as u64 + 1) as usize;
            (part, Err(input_output_error()))
        } else if grown > room {
            ((octets.len() as u64).saturating_sub(grown - room) as usize, Err(io::ErrorKind::StorageFull.into()))
        } else {
            (octets.len(), Ok(()))
        };
        let change = Change::Write(offset, octets[..written].to_vec());
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.shown, &change);
        inode.unsynced.push(change);
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let on = state.operate()?;
        if on && u64::from(state.faults.failing_syncs) <= state.random.below(1000) {
            let inode = &mut state.inodes[self.inode];
            for change in std::mem::take(&mut inode.unsynced) {
                apply(&mut inode.durable, &change);
            }
            return Ok(());
        }
        if on {
            // The system has given up on these pages: they are shown, and the next sync does not write them.
            state.keep_some(self.inode);
        }
        Err(input_output_error())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let on = state.operate()?;
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.shown, &Change::Truncate(length));
        inode.unsynced.push(Change::Truncate(length));
        if on { Ok(()) } else { Err(input_output_error()) }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].shown.len() as u64)
    }
}
