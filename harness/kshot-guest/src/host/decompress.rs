//! Compressed bytes: gzip and zlib are unpacked here, xz and zstd by the host's programs.

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
    Xz,
    Zstd,
}

impl Compression {
    /// The compression that the name of a module ends with (`scripts/Makefile.modinst`): `tun.ko.zst`.
    pub(crate) fn of_module(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Unpacks `bytes`, to at most `most` bytes.
    ///
    /// # Errors
    /// Malformed or too long input, or a missing program.
    pub(crate) fn unpack(self, bytes: &[u8], most: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => limited(GzDecoder::new(bytes), most),
            Self::Zlib => limited(ZlibDecoder::new(bytes), most),
            Self::Xz => by_program("xz", "xz-utils", bytes, most),
            Self::Zstd => by_program("zstd", "zstd", bytes, most),
        }
    }
}

fn by_program(program: &str, package: &str, bytes: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let Some(path) = find_program(program) else {
        let why = format!("{program} is missing: {}", install([package]));
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    };
    let unpack = duct::cmd!(path, "-dc").stdin_bytes(bytes).stderr_null();
    // Its failure is an error of the reader.
    limited(unpack.reader()?, most)
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
            [(Compression::Gzip, "gzip"), (Compression::Xz, "xz"), (Compression::Zstd, "zstd")]
        {
            let packed =
                duct::cmd!(pack, "-c").stdin_bytes("text".repeat(9)).stdout_capture().run().unwrap().stdout;
            assert_eq!(compression.unpack(&packed, 36).unwrap(), b"text".repeat(9), "{pack}");
            let error = compression.unpack(&packed, 35).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{pack}");
            assert!(compression.unpack(&packed[..packed.len() - 9], 36).is_err(), "{pack}: cut");
        }
    }
}
