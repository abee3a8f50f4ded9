//! Compressed bytes: gzip and zlib are unpacked here, everything else by the host's programs.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::{GzDecoder, ZlibDecoder};

use super::distribution::install;
use super::tool::find_program;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zlib,
    /// By a program of the host.
    Program(Decompressor),
}

/// A program of the host that unpacks standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decompressor {
    program: &'static str,
    /// Debian's package of it.
    package: &'static str,
    /// How the bytes begin that it unpacks (file(1)).
    magic: &'static [u8],
}

const XZ: Decompressor = Decompressor { program: "xz", package: "xz-utils", magic: b"\xfd7zXZ\0" };
const ZSTD: Decompressor = Decompressor { program: "zstd", package: "zstd", magic: b"\x28\xb5\x2f\xfd" };
/// What the kernel's Makefiles make besides gzip, xz and zstd (scripts/Makefile.lib). lz4's older form is theirs.
const OTHERS: [Decompressor; 5] = [
    Decompressor { program: "lz4", package: "lz4", magic: b"\x02\x21\x4c\x18" },
    Decompressor { program: "lz4", package: "lz4", magic: b"\x04\x22\x4d\x18" },
    Decompressor { program: "bzip2", package: "bzip2", magic: b"BZh" },
    Decompressor { program: "lzop", package: "lzop", magic: b"\x89LZO" },
    // The dictionary's size follows; its lowest bytes are 0.
    Decompressor { program: "lzma", package: "xz-utils", magic: b"\x5d\0\0" },
];
/// How gzip begins: its magic number, and the one method that there is (RFC 1952).
const GZIP_MAGIC: &[u8] = b"\x1f\x8b\x08";

impl Compression {
    pub(crate) const XZ: Self = Self::Program(XZ);
    pub(crate) const ZSTD: Self = Self::Program(ZSTD);

    /// Those that begin with a number that is not found by chance.
    pub(crate) const MARKED: [Self; 3] = [Self::Gzip, Self::XZ, Self::ZSTD];

    /// The compression that the name of a module ends with (`scripts/Makefile.modinst`): `tun.ko.zst`.
    pub(crate) fn of_module(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::XZ),
            "zst" => Some(Self::ZSTD),
            _ => None,
        }
    }

    /// The compression of a file, from its first bytes.
    pub(crate) fn of_file(bytes: &[u8]) -> Option<Self> {
        let others = OTHERS.into_iter().map(Self::Program);
        Self::MARKED.into_iter().chain(others).find(|one| bytes.starts_with(one.magic()))
    }

    /// How the bytes begin.
    pub(crate) fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => GZIP_MAGIC,
            // Deflate with the default window, which RFC 1950 leaves open.
            Self::Zlib => b"\x78",
            Self::Program(program) => program.magic,
        }
    }

    /// Unpacks `bytes`, to at most `most` bytes.
    ///
    /// # Errors
    /// Malformed or too long input, or a missing program.
    pub(crate) fn unpack(self, bytes: &[u8], most: u64) -> io::Result<Vec<u8>> {
        limited(self.reader(bytes)?, most)
    }

    /// Unpacks `bytes` while they are read.
    ///
    /// # Errors
    /// A missing program. Malformed input is an error of the reader.
    pub(crate) fn reader(self, bytes: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Gzip => Box::new(GzDecoder::new(bytes)),
            Self::Zlib => Box::new(ZlibDecoder::new(bytes)),
            Self::Program(Decompressor { program, package, .. }) => {
                let Some(path) = find_program(program) else {
                    let why = format!("{program} is missing: {}", install([package]));
                    return Err(io::Error::new(io::ErrorKind::Unsupported, why));
                };
                Box::new(duct::cmd!(path, "-dc").stdin_bytes(bytes).stderr_null().reader()?)
            }
        })
    }
}

fn limited(mut reader: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    reader.by_ref().take(most.saturating_add(1)).read_to_end(&mut plain)?;
    if plain.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it unpacks to more than {most} bytes"),
        ));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_within_the_limit_alone() {
        for (compression, pack) in
            [(Compression::Gzip, "gzip"), (Compression::XZ, "xz"), (Compression::ZSTD, "zstd")]
        {
            let packed =
                duct::cmd!(pack, "-c").stdin_bytes("text".repeat(9)).stdout_capture().run().unwrap().stdout;
            assert_eq!(Compression::of_file(&packed), Some(compression));
            assert_eq!(compression.unpack(&packed, 36).unwrap(), b"text".repeat(9), "{pack}");
            let error = compression.unpack(&packed, 35).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{pack}");
            assert!(compression.unpack(&packed[..packed.len() - 9], 36).is_err(), "{pack}: cut");
        }
    }
}
