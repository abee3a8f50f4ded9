//! Captures of one's own, read without a guest: any text that holds stacks, from a file or from standard
//! input.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::probe::{BPF_KALLSYMS, BPF_STACKS, KALLSYMS};
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::format::{DetectedFormat, HEAD, Listing, Section, TextFormat};
use kshot_stack::stack::kallsyms::Kallsyms;

mod utf16; // text in UTF-16

use utf16::{ByteOrder, Utf16};

/// The most bytes of a capture that are read.
pub const CAPTURE_MOST: u64 = 16 << 30;
/// How much of a capture is read at a time.
const CHUNK: usize = 64 << 10;
/// How `perf record` begins its file.
const PERF_DATA: [&[u8]; 2] = [b"PERFILE2", b"2ELIFREP"];
/// How gzip begins a file.
const GZIP: &[u8] = b"\x1f\x8b";
/// How gzip, xz and zstd begin a file, and the program that unpacks it to standard output.
const PACKED: [(&[u8], &str); 3] = [(GZIP, "zcat"), (b"\xfd7zXZ", "xzcat"), (b"\x28\xb5\x2f\xfd", "zstdcat")];

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(FileError),
    /// The file cannot be read to its end.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is endless, or larger than the limit.
    #[error("{} holds more than {CAPTURE_MOST} bytes", path.display())]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is `perf.data`, which is not text.
    #[error("{} is perf.data, which is not text", path.display())]
    PerfData {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is not a copy of `/proc/kallsyms`.
    #[error("{} has no symbols as /proc/kallsyms prints them", path.display())]
    NoSymbols {
        /// The path of the file.
        path: PathBuf,
    },
    /// The addresses in a copy of `/proc/kallsyms` are all 0.
    #[error("all addresses in {} are 0", path.display())]
    ZeroSymbols {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is compressed.
    #[error("{} is compressed", path.display())]
    Packed {
        /// The path of the file.
        path: PathBuf,
        /// The program that unpacks it to standard output.
        unpack: &'static str,
    },
}

impl Blamed for CaptureError {
    fn blame(&self) -> Blame {
        match self {
            // Of a damaged gzip.
            Self::File(FileError { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Blame::Usage
            }
            Self::File(_) => Blame::Host,
            Self::Open(_)
            | Self::TooLarge { .. }
            | Self::PerfData { .. }
            | Self::NoSymbols { .. }
            | Self::ZeroSymbols { .. }
            | Self::Packed { .. } => Blame::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) if error.source.kind() == io::ErrorKind::InvalidInput => {
                Some("pass a pipe on standard input: kshot stacks - < PIPE".into())
            }
            Self::Open(_) | Self::File(_) | Self::NoSymbols { .. } => None,
            Self::ZeroSymbols { .. } => Some(
                "copy it as root, with kernel.kptr_restrict below 2: sysctl kernel.kptr_restrict=0".into(),
            ),
            Self::TooLarge { .. } => Some("read a part of it: head -c 8G FILE | kshot stacks -".into()),
            Self::PerfData { path } => {
                Some(format!("print it first: perf script -i {} | kshot stacks -", path.display()))
            }
            Self::Packed { unpack, .. } => Some(format!("unpack it first: {unpack} FILE | kshot stacks -")),
        }
    }
}

/// The stacks in a file, or in standard input where `path` is `-`, read as `format` or as what it looks like:
/// a listing for each format in it, at least one. Frames that are addresses alone get their names from
/// `kallsyms`, a copy of `/proc/kallsyms`; those of a `bpf` probe by what lies beside them in their run
/// folder.
///
/// # Errors
/// [`CaptureError`].
pub fn read(
    path: &Path,
    format: Option<TextFormat>,
    kallsyms: Option<&Path>,
) -> Result<Vec<Listing>, CaptureError> {
    let symbols = symbols(path, kallsyms)?;
    if path == Path::new("-") {
        return list(path, io::stdin().lock(), format, symbols.as_ref());
    }
    let file = bounded::open(path).map_err(FileError::on("open", path)).map_err(CaptureError::Open)?;
    list(path, file, format, symbols.as_ref())
}

fn list(
    path: &Path,
    input: impl Read,
    format: Option<TextFormat>,
    symbols: Option<&Kallsyms>,
) -> Result<Vec<Listing>, CaptureError> {
    let mut input = input.take(CAPTURE_MOST + 1);
    let mut mark = Vec::new();
    (&mut input).take(2).read_to_end(&mut mark).map_err(FileError::on("read", path))?;
    let order = ByteOrder::of_mark(&mark);
    let whole = Cursor::new(mark).chain(&mut input);
    let mut sections = match order {
        Some(order) => sections(path, Utf16::new(whole, order), format),
        None => sections(path, whole, format),
    }?;
    if input.limit() == 0 {
        return Err(CaptureError::TooLarge { path: path.into() });
    }
    if let Some(symbols) = symbols {
        sections.iter_mut().for_each(|section| section.parsed.name_frames(symbols));
    }
    Ok(Listing::of_sections(&path.to_string_lossy(), &sections))
}

/// The stacks in a text, by the parts of it that are of one format.
fn sections(
    path: &Path,
    mut input: impl Read,
    format: Option<TextFormat>,
) -> Result<Vec<Section>, CaptureError> {
    let fail = FileError::on("read", path);
    let mut head = Vec::new();
    (&mut input).take(HEAD as u64).read_to_end(&mut head).map_err(&fail)?;
    if PERF_DATA.iter().any(|magic| head.starts_with(magic)) {
        return Err(CaptureError::PerfData { path: path.into() });
    }
    if let Some((_, unpack)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(CaptureError::Packed { path: path.into(), unpack });
    }
    let reading =
        format.map_or_else(|| DetectedFormat::guess(&head), |format| DetectedFormat::of(format, &head));
    let whole = BufReader::with_capacity(CHUNK, Cursor::new(head).chain(&mut input));
    let sections = match format {
        Some(format) => reading.parse(whole).map(|parsed| vec![Section { format, line: 1, parsed }]),
        None => reading.sections(whole),
    };
    Ok(sections.map_err(fail)?)
}

/// The symbols in `kallsyms`, or those that lie beside a capture of a `bpf` probe.
fn symbols(capture: &Path, kallsyms: Option<&Path>) -> Result<Option<Kallsyms>, CaptureError> {
    let files: Vec<PathBuf> =
        match (kallsyms, capture.to_str().and_then(|path| path.strip_suffix(BPF_STACKS))) {
            (Some(file), _) => vec![file.to_owned()],
            (None, Some(stem)) => {
                let files = [KALLSYMS, BPF_KALLSYMS].map(|suffix| PathBuf::from(format!("{stem}{suffix}")));
                files.into_iter().filter(|file| file.is_file()).collect()
            }
            (None, None) => Vec::new(),
        };
    let mut text: Box<dyn BufRead> = Box::new(io::empty());
    for path in &files {
        let file = bounded::open(path).map_err(FileError::on("open", path)).map_err(CaptureError::Open)?;
        let mut file = BufReader::new(file);
        let is_packed = file.fill_buf().map_err(FileError::on("read", path))?.starts_with(GZIP);
        let file: Box<dyn BufRead> =
            if is_packed { Box::new(BufReader::new(GzDecoder::new(file))) } else { Box::new(file) };
        text = Box::new(text.chain(file));
    }
    let Some(first) = files.first() else { return Ok(None) };
    let symbols = Kallsyms::read(text).map_err(FileError::on("read symbols from", first))?;
    if symbols.functions().next().is_none() {
        return Err(CaptureError::NoSymbols { path: first.clone() });
    }
    if symbols.functions().all(|(_, address)| address == 0) {
        return Err(CaptureError::ZeroSymbols { path: first.clone() });
    }
    Ok(Some(symbols))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use kshot_stack::format::ListedFrame;

    use super::*;

    fn list_bytes(bytes: &[u8]) -> Result<Listing, CaptureError> {
        list(Path::new("x"), bytes, None, None).map(|mut all| all.remove(0))
    }

    #[test]
    fn a_capture_is_read_in_the_format_that_it_looks_like() {
        let listing = list_bytes(b"[<0>] f+0x1/0x2\n").unwrap();
        assert_eq!((listing.format, listing.count()), (TextFormat::ProcStack, 1));
        let forced = list(Path::new("x"), &b"[<0>] f+0x1/0x2\n"[..], Some(TextFormat::Hist), None).unwrap();
        assert_eq!((forced[0].count(), forced[0].warnings[0].count), (0, 1));
    }

    #[test]
    fn a_text_that_windows_saved_is_read_as_any_other() {
        let text = "\u{feff}[    1.0] Call Trace:\r\n[    1.0]  f+0x1/0x2\r\n[    1.0]  g+0x1/0x2\r\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [little, big, text.into()] {
            let listing = list_bytes(&bytes).unwrap();
            assert_eq!((listing.format, listing.count()), (TextFormat::CallTrace, 1));
            assert_eq!(listing.stacks[0].kernel.len(), 2);
        }
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
        for (bytes, hint) in [
            (&b"PERFILE2...."[..], ": perf script -i x | "),
            (b"\x1f\x8b\x08", ": zcat FILE | "),
            (b"\xfd7zXZ\0", ": xzcat FILE | "),
            (b"\x28\xb5\x2f\xfd", ": zstdcat FILE | "),
        ] {
            let error = list_bytes(bytes).unwrap_err();
            assert_eq!(error.blame(), Blame::Usage);
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }

    #[test]
    fn addresses_get_the_names_of_the_symbols_that_are_given_or_lie_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.bpf.txt"), "7 sh\n\tffffffff8028f4d8\n\tffffffffc0003010\n").unwrap();
        std::fs::write(path("symbols"), "ffffffff8028f4d0 T other\n").unwrap();
        let names = |kallsyms: Option<&Path>| {
            let listing = read(&path("a.bpf.txt"), None, kallsyms).unwrap();
            listing[0].stacks[0].kernel.iter().map(ListedFrame::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(None), "0xffffffff8028f4d8 0xffffffffc0003010");
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(b"ffffffff8028f4d0 T vfs_mkdir\n").unwrap();
        std::fs::write(path("a.kallsyms.gz"), packed.finish().unwrap()).unwrap();
        std::fs::write(path("a.bpf-kallsyms.txt"), "ffffffffc0003000 t bpf_prog_1\t[bpf]\n").unwrap();
        assert_eq!(names(None), "vfs_mkdir+0x8 bpf_prog_1+0x10 [bpf]");
        assert_eq!(names(Some(&path("symbols"))), "other+0x8 0xffffffffc0003010");
        let error = read(&path("a.bpf.txt"), None, Some(&path("nothing"))).unwrap_err();
        assert_eq!(error.blame(), Blame::Usage);
    }
}
