//! The host's randomness.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::file::FileError;

/// Random bytes, fit for keys (random(4)).
///
/// # Errors
/// [`FileError`].
pub fn random<const N: usize>() -> Result<[u8; N], FileError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(FileError::on("read", path))?;
    Ok(bytes)
}
