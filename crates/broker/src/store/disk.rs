//! What the store needs of a file system, and the real one.
//!
//! Synchronous and small, so that a simulated disk can stand in for it. Paths are relative to the data directory and use
//! `/`. Does not know what the files contain.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file system with one directory that is the store's own.
pub(crate) trait Disk: Clone + Send + 'static {
    /// An open file.
    type File: DiskFile;

    /// Where a file is, for messages to people.
    fn path(&self, name: &str) -> PathBuf;
    /// Makes a directory unless it is there.
    fn create_directory(&self, name: &str) -> io::Result<()>;
    /// The names in a directory, in no order.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// A new empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// A file that is there, to read and to write.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Renames, in place of what has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes what was created, renamed and unlinked in a directory survive a crash.
    fn sync_directory(&self, name: &str) -> io::Result<()>;
    /// Octets that can still be written.
    fn free_octets(&self) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub(crate) trait DiskFile: Send {
    /// Reads until the buffer is full or the file ends; how much that was.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all; after an error any part of it may have been written.
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()>;
    /// Makes content and length survive a crash. After an error nothing can be known about what was not synced before,
    /// even when a later call succeeds.
    fn sync(&self) -> io::Result<()>;
    /// Cuts off what lies beyond.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Octets in the file.
    fn length(&self) -> io::Result<u64>;
}

/// A directory of the machine's file system.
#[derive(Clone, Debug)]
pub(crate) struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Disk for RealDisk {
    type File = File;

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(name))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(directory))? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_all()
    }

    fn free_octets(&self) -> io::Result<u64> {
        let system = rustix::fs::statvfs(&self.root)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }
}

impl DiskFile for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        FileExt::write_all_at(self, octets, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: what is needed to read the data again (so the length), not the times.
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
