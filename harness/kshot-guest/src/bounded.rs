//! Reads input with a bound: regular files only, at most so many bytes of them, and archives up to a size and
//! a ratio.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::read::GzDecoder;
use rustix::fs::OFlags;

/// The most bytes that an archive from elsewhere may unpack to: a bundle's kernel, guest and captures take
/// hundreds of megabytes.
pub const UNPACKED_MOST: u64 = 4 << 30;
/// How many times its packed size an archive may unpack to. Captures, which repeat themselves, reach 40; gzip
/// itself ends at 1032.
pub const RATIO_MOST: u64 = 200;
/// How many bytes may be unpacked before the ratio counts.
const RATIO_FREE: u64 = 16 << 20;

/// Opens a regular file for reading. Refuses a FIFO, a device or a socket: reading one may block or never
/// end.
///
/// # Errors
/// The errors of open(2); `InvalidInput` if the file is not a regular one.
pub fn open(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// The contents of a regular file of at most `most` bytes.
///
/// # Errors
/// The errors of [`open`] and of reading; `FileTooLarge` if the file is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (mut bytes, file) = (Vec::new(), open(path)?);
    if file.metadata()?.len() > most {
        return Err(too_large(most));
    }
    // A file may grow, and those of procfs have no length.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

/// As [`read`], for UTF-8 text.
///
/// # Errors
/// The errors of [`read`]; `InvalidData` if the contents are not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A writer with a limit in bytes; a write beyond it fails with `FileTooLarge`.
#[derive(Debug)]
pub struct LimitedWriter<W> {
    to: W,
    most: u64,
    left: u64,
}

impl<W: Write> LimitedWriter<W> {
    /// A writer that passes at most `most` bytes on to `to`.
    pub fn new(to: W, most: u64) -> Self {
        Self { to, most, left: most }
    }
}

impl<W: Write> Write for LimitedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(too_large(self.most));
        }
        let written = self.to.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What a gzip stream unpacks to, up to [`UNPACKED_MOST`] and [`RATIO_MOST`].
#[derive(Debug)]
pub struct Unzipped<R> {
    plain: GzDecoder<Counted<R>>,
    bytes: u64,
    most: u64,
}

#[derive(Debug)]
struct Counted<R> {
    from: R,
    bytes: u64,
}

impl<R: Read> Unzipped<R> {
    /// The stream, at its start.
    pub fn new(from: R) -> Self {
        Self { plain: GzDecoder::new(Counted { from, bytes: 0 }), bytes: 0, most: UNPACKED_MOST }
    }

    /// Whether the stream begins as gzip does.
    pub fn is_gzip(&self) -> bool {
        self.plain.header().is_some()
    }
}

impl<R: Read> Read for Unzipped<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(into)?;
        self.bytes += count as u64;
        let packed = self.plain.get_ref().bytes;
        if self.bytes > self.most {
            return Err(too_large(self.most));
        }
        if self.bytes > RATIO_FREE && self.bytes / RATIO_MOST > packed {
            let why = format!("it unpacks to more than {RATIO_MOST} times its size");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

fn too_large(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes"))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_no_fifo_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [&fifo, Path::new("/dev/zero"), folder.path()] {
            assert_eq!(
                read(path, 100).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_file_has_to_end_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let error = read(&path, 4).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::FileTooLarge, "it has more than 4 bytes")
        );
    }

    fn zipped(bytes: u64) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::best());
        io::copy(&mut io::repeat(0).take(bytes), &mut to).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn an_archive_does_not_swell_without_end() {
        let bomb = zipped(200 << 20);
        let mut swollen = Unzipped::new(&*bomb);
        let error = io::copy(&mut swollen, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("more than 200 times its size"), "{error}");
        assert!(swollen.bytes < RATIO_FREE + (1 << 20), "{}", swollen.bytes);
        let mut long = Unzipped { most: 100, ..Unzipped::new(&*bomb) };
        assert_eq!(io::copy(&mut long, &mut io::sink()).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let small = zipped(1000);
        assert_eq!(io::copy(&mut Unzipped::new(&*small), &mut io::sink()).unwrap(), 1000);
    }

    #[test]
    fn a_writer_takes_no_more_than_its_limit() {
        let mut to = LimitedWriter::new(Vec::new(), 4);
        to.write_all(b"1234").unwrap();
        assert_eq!(to.write_all(b"5").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(to.to, b"1234");
    }
}
