//! Append-only files: one record per line, each with a checksum and synced to disk before the write returns.
//! A line that a crash or a full disk cut short is dropped and reported, never read as a shorter record.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// The longest file of records, in bytes: a search of a thousand steps takes less than one megabyte.
pub const SIZE_MOST: u64 = 64 << 20;
/// The hexadecimal digits of a line's checksum: the first of the SHA-256 over the record.
const DIGITS: usize = 8;
/// The separator between a record and its checksum; no record contains it.
const MARK: char = '\t';

/// What a file of records holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The whole records, in the order they were written.
    pub records: Vec<String>,
    /// Whatever follows the last whole record.
    pub damage: Option<Damage>,
}

/// The damaged end of a file of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} and everything after it, {bytes} bytes, are damaged and were left out")]
pub struct Damage {
    /// The number of the first line that is not whole, from 1.
    pub line: usize,
    /// The bytes from there on.
    pub bytes: usize,
}

/// Reads the records of a file; none where there is no file. A line without a checksum, as older versions of
/// kshot wrote them, counts if `alone` finds it complete.
///
/// # Errors
/// The errors of reading; `InvalidData` if the file is larger than [`SIZE_MOST`].
pub fn read(path: &Path, alone: impl Fn(&str) -> bool) -> io::Result<Records> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Records::default()),
        file => file?,
    };
    file.lock_shared()?;
    Ok(parse(&contents(&file)?, alone).0)
}

/// Appends one record; when this returns, the record is on disk. Anything after the last whole record is cut
/// off first.
///
/// # Errors
/// The errors of writing; the file is then unchanged.
pub fn append(path: &Path, record: &str, alone: impl Fn(&str) -> bool) -> io::Result<()> {
    let made = !path.exists();
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    file.lock()?;
    let (_, whole) = parse(&contents(&file)?, alone);
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    let record = record.replace(['\n', MARK], " ");
    let line = format!("{record}{MARK}{}\n", checksum(&record));
    if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.sync_data()) {
        // A full disk still shortens files.
        drop(file.set_len(whole));
        return Err(error);
    }
    if made { sync_folder(path) } else { Ok(()) }
}

/// Replaces a file in one rename, once its contents are on disk: after a power loss it is the old or the new
/// one.
///
/// # Errors
/// The errors of writing.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Other users may read the file; tempfile's default mode would not let them.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// The records, and where the last whole one ends.
fn parse(bytes: &[u8], alone: impl Fn(&str) -> bool) -> (Records, u64) {
    let (mut records, mut whole) = (Vec::new(), 0);
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match record(line, &alone) {
            Some(record) => {
                records.push(record.to_owned());
                whole += line.len();
            }
            None => {
                let damage = Some(Damage { line: index + 1, bytes: bytes.len() - whole });
                return (Records { records, damage }, whole as u64);
            }
        }
    }
    (Records { records, damage: None }, whole as u64)
}

/// The record of one line, where it is whole.
fn record(line: &[u8], alone: impl Fn(&str) -> bool) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    match line.rsplit_once(MARK) {
        Some((record, sum)) => (checksum(record) == sum).then_some(record),
        None => alone(line).then_some(line),
    }
}

fn checksum(record: &str) -> String {
    hex::encode(Sha256::digest(record))[..DIGITS].to_owned()
}

fn contents(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(SIZE_MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MOST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {SIZE_MOST} bytes"),
        ));
    }
    Ok(bytes)
}

/// Syncs a folder, so that a new name in it survives a power loss.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never(_: &str) -> bool {
        false
    }

    fn written(records: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        for record in records {
            append(&path, record, never).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let (_folder, path) = written(&["holds", "fails: a", "größer"]);
        assert_eq!(read(&path, never).unwrap().records, ["holds", "fails: a", "größer"]);
        assert_eq!(read(&path.with_extension("none"), never).unwrap(), Records::default());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_gives_a_prefix_of_its_records() {
        let all = ["holds", "größer", "fails"];
        let (_folder, path) = written(&all);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let cut = read(&path, never).unwrap();
            assert_eq!(cut.records, all[..cut.records.len()], "{length}");
            assert!(cut.records.len() < all.len());
            append(&path, "more", never).unwrap();
            let more = read(&path, never).unwrap();
            assert_eq!(more.records.last().unwrap(), "more");
            assert_eq!(more.records[..cut.records.len()], cut.records[..], "{length}");
            assert_eq!(more.damage, None, "{length}");
        }
    }

    #[test]
    fn two_torn_lines_run_together_are_no_record() {
        let (_folder, path) = written(&["fails"]);
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(b"holholds\n");
        fs::write(&path, &torn).unwrap();
        let read = read(&path, never).unwrap();
        assert_eq!(read.records, ["fails"]);
        assert_eq!(
            read.damage.unwrap().to_string(),
            "line 2 and everything after it, 9 bytes, are damaged and were left out"
        );
    }

    #[test]
    fn a_line_without_a_checksum_counts_where_it_can_be_told_whole() {
        let (_folder, path) = written(&[]);
        fs::write(&path, "{\"a\":1}\n{\"b\":2}\n{\"c\"").unwrap();
        let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert_eq!(read(&path, json).unwrap().records.len(), 2);
        append(&path, "{\"d\":4}", json).unwrap();
        assert_eq!(read(&path, json).unwrap().records, ["{\"a\":1}", "{\"b\":2}", "{\"d\":4}"]);
        assert_eq!(read(&path, never).unwrap().records.len(), 0);
    }

    #[test]
    fn many_writers_at_once_lose_nothing() {
        let (_folder, path) = written(&[]);
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    (0..20).for_each(|n| append(path, &format!("{writer}-{n}"), never).unwrap())
                });
            }
        });
        let read = read(&path, never).unwrap();
        assert_eq!((read.records.len(), read.damage), (160, None));
    }

    #[test]
    fn a_file_is_replaced_whole_and_readable_by_others() {
        let (folder, path) = written(&["old"]);
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
