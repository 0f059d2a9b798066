//! Writes that fail.

use super::*;
use crate::inbox::tests::TestDir;

/// Stands for a file on a full disk: nothing can be written, and nothing taken back.
fn refusing(path: &Path) -> Option<File> {
    Some(File::open(path).unwrap())
}

#[test]
fn a_failed_write_is_taken_back_and_later_ones_go_on() {
    let dir = TestDir::new();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, b"begin").unwrap();
    log.file = refusing(&path);
    assert!(matches!(log.append(b"lost"), Err(InboxError::File { action: "write to", .. })));
    // What such a write may leave behind.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"lo").unwrap();
    assert!(log.append(b"lost").is_err(), "as long as the rest cannot be taken back, nothing may follow it");
    log.close();
    assert_eq!(log.append(b" and end").unwrap(), 5);
    assert_eq!(fs::read(&path).unwrap(), b"begin and end");
    assert_eq!(log.len(), 13);
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_cannot_begin_leaves_no_file() {
    let dir = TestDir::new();
    let path = dir.path().join("log");
    // A device that is always full.
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let error = Log::create(&path, b"begin").unwrap_err();
    assert!(
        matches!(&error, InboxError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(path.symlink_metadata().is_err());
    assert!(Log::create(&path, b"begin").is_ok());
}
