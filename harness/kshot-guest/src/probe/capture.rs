//! The files that probes leave in a run folder.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// The size of the read buffer for captures.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// One raw file that a probe recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The probe's name.
    pub probe: String,
    /// What the file holds.
    pub content: CaptureContent,
    /// The path of the file.
    pub path: PathBuf,
}

/// What a capture file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureContent {
    /// Stacks; its probe parses them.
    Stacks,
    /// Supplementary text for people: buffer statistics, perf's messages.
    Supplement,
}

/// The text form of a binary capture, and how the guest that recorded it prints it itself.
#[derive(Debug)]
pub struct TextForm {
    /// The path of the text, beside the capture.
    pub path: PathBuf,
    /// The script that prints it in the guest, after the probe was stopped.
    pub script: String,
    /// The path of the script's output in the guest.
    pub output: String,
}

/// The files of one probe in a run folder: `<probe>.<suffix>`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeFiles<'a> {
    /// The probe's name.
    pub(super) probe: &'a str,
    /// The run folder.
    pub(super) folder: &'a Path,
}

impl ProbeFiles<'_> {
    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        self.folder.join(file_name(self.probe, suffix))
    }
}

impl Capture {
    /// Opens the file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self) -> io::Result<BufReader<File>> {
        Ok(BufReader::with_capacity(READ_BUFFER_BYTES, File::open(&self.path)?))
    }

    /// The file of the same probe with another suffix.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        self.path.with_file_name(file_name(&self.probe, suffix))
    }
}

/// The name of a probe's file.
pub(super) fn file_name(probe: &str, suffix: &str) -> String {
    format!("{}.{suffix}", file_stem(probe))
}

/// A probe's name encoded for a file name, unambiguously.
pub(super) fn file_stem(probe: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let encode = |c: char| if plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) };
    probe.chars().map(encode).collect()
}
