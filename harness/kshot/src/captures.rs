//! Captures of one's own, read without a guest: any text that holds stacks, from a file or from standard input.

use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_stack::fault::{Blame, Fault};
use kshot_stack::format::{HEAD, Listing, TextFormat};

/// The most bytes of a capture that are read.
pub const CAPTURE_MOST: u64 = 16 << 30;
/// How much of a capture is read at a time.
const CHUNK: usize = 64 << 10;
/// How `perf record` begins its file.
const PERF_DATA: [&[u8]; 2] = [b"PERFILE2", b"2ELIFREP"];
/// How gzip, xz and zstd begin a file.
const PACKED: [&[u8]; 3] = [b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(FileError),
    /// It cannot be read to its end.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has no end, or one that is too far away.
    #[error("{} holds more than {CAPTURE_MOST} bytes", path.display())]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
    },
    /// It is `perf.data`.
    #[error("{} is perf.data, which is no text", path.display())]
    PerfData {
        /// The path of the file.
        path: PathBuf,
    },
    /// It is compressed.
    #[error("{} is compressed", path.display())]
    Packed {
        /// The path of the file.
        path: PathBuf,
    },
}

impl Fault for CaptureError {
    fn blame(&self) -> Blame {
        match self {
            Self::File(_) => Blame::Host,
            Self::Open(_) | Self::TooLarge { .. } | Self::PerfData { .. } | Self::Packed { .. } => {
                Blame::Usage
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) if error.source.kind() == io::ErrorKind::InvalidInput => {
                Some("pass what is no file on standard input: kshot stacks - < PIPE".into())
            }
            Self::Open(_) | Self::File(_) => None,
            Self::TooLarge { .. } => Some("read a part of it: head -c 8G FILE | kshot stacks -".into()),
            Self::PerfData { path } => {
                Some(format!("print it first: perf script -i {} | kshot stacks -", path.display()))
            }
            Self::Packed { .. } => Some("unpack it first: zcat FILE | kshot stacks -".into()),
        }
    }
}

/// The stacks in a file, or in standard input where `path` is `-`, read as `format` or as what it looks like.
///
/// # Errors
/// [`CaptureError`].
pub fn read(path: &Path, format: Option<TextFormat>) -> Result<Listing, CaptureError> {
    if path == Path::new("-") {
        return list(path, io::stdin().lock(), format);
    }
    let file = bounded::open(path).map_err(FileError::on("open", path)).map_err(CaptureError::Open)?;
    list(path, file, format)
}

fn list(path: &Path, input: impl Read, format: Option<TextFormat>) -> Result<Listing, CaptureError> {
    let fail = FileError::on("read", path);
    let mut input = input.take(CAPTURE_MOST + 1);
    let mut head = Vec::new();
    (&mut input).take(HEAD as u64).read_to_end(&mut head).map_err(&fail)?;
    if PERF_DATA.iter().any(|magic| head.starts_with(magic)) {
        return Err(CaptureError::PerfData { path: path.into() });
    }
    if PACKED.iter().any(|magic| head.starts_with(magic)) {
        return Err(CaptureError::Packed { path: path.into() });
    }
    let format = format.unwrap_or_else(|| TextFormat::guess(&head));
    let whole = BufReader::with_capacity(CHUNK, Cursor::new(head).chain(&mut input));
    let parsed = format.parse(whole).map_err(fail)?;
    if input.limit() == 0 {
        return Err(CaptureError::TooLarge { path: path.into() });
    }
    Ok(Listing::new(&path.to_string_lossy(), format, &parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_bytes(bytes: &[u8]) -> Result<Listing, CaptureError> {
        list(Path::new("x"), bytes, None)
    }

    #[test]
    fn a_capture_is_read_in_the_format_that_it_looks_like() {
        let listing = list_bytes(b"[<0>] f+0x1/0x2\n").unwrap();
        assert_eq!((listing.format, listing.count()), (TextFormat::ProcStack, 1));
        let forced = list(Path::new("x"), &b"[<0>] f+0x1/0x2\n"[..], Some(TextFormat::Hist)).unwrap();
        assert_eq!((forced.count(), forced.warnings[0].count), (0, 1));
    }

    #[test]
    fn what_begins_late_is_read_behind_the_head() {
        let boot = "[    0.000000] a boot\n".repeat(HEAD / 10);
        let listing =
            list_bytes(format!("{boot}[    1.0] Call Trace:\n[    1.0]  f+0x1/0x2\n").as_bytes()).unwrap();
        assert_eq!(listing.count(), 1);
    }

    #[test]
    fn what_is_no_text_is_refused_with_the_command_that_makes_it_one() {
        for (bytes, hint) in [(&b"PERFILE2...."[..], "perf script"), (b"\x1f\x8b\x08", "zcat")] {
            let error = list_bytes(bytes).unwrap_err();
            assert_eq!(error.blame(), Blame::Usage);
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }
}
