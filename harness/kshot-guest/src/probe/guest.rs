//! The guest as a probe uses it: scripts are run in it, and files are fetched from it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::capture::{Capture, CaptureContent, ProbeFiles, file_stem};
use super::{ProbeError, error};
use crate::host::FileError;
use crate::session::{Guest, GuestFile};
use kshot_stack::text::quote;

/// The time that one command in the guest may take.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// The time that fetching or rendering one capture may take.
pub(super) const CAPTURE_LIMIT: Duration = Duration::from_secs(300);

/// The shell commands that end as the command [`in_background`] ended, with its log where it failed.
pub(super) const END_AS_IT_ENDED: &str = "status=$(cat status)
             [ \"$status\" = 0 ] || cat log
             exit $status";

/// The guest, as a probe runs its scripts in it.
pub(super) struct ProbeGuest<'a> {
    /// The probe's name.
    pub(super) probe: &'a str,
    /// The guest itself, for commands that may fail.
    pub(super) guest: &'a mut dyn Guest,
}

impl<'a> ProbeGuest<'a> {
    pub(super) fn new(probe: &'a str, guest: &'a mut dyn Guest) -> Self {
        Self { probe, guest }
    }

    /// Runs a script that must exit with 0 and returns its output. `doing` describes it in errors.
    pub(super) fn run(&mut self, doing: &str, script: &str, limit: Duration) -> Result<Vec<u8>, ProbeError> {
        let output = self.guest.run(script, limit)?;
        if output.status == 0 {
            return Ok(output.text);
        }
        Err(ProbeError::ToolFailed {
            probe: self.probe.to_owned(),
            doing: doing.to_owned(),
            status: output.status,
            said: error::said(&output.text),
        })
    }

    /// The [`file_stem`] of the probe's name.
    pub(super) fn file_stem(&self) -> String {
        file_stem(self.probe)
    }
}

/// The folder of a probe in the guest.
#[derive(Debug)]
pub(super) struct GuestFolder(String);

impl GuestFolder {
    pub(super) fn of(probe: &str) -> Self {
        Self(format!("/tmp/kshot-{}", file_stem(probe)))
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// The folder as a word of a shell script.
    pub(super) fn quoted(&self) -> String {
        quote(&self.0)
    }
}

/// The shell commands that start a command in the background, in the current folder. At its end its status is
/// in the file `status`, then the word `ended` goes to the descriptor `answers`.
pub(super) fn in_background(command: &str, answers: u32) -> String {
    format!(
        "{{
                 {command}
                 echo $? > status.new; mv status.new status; echo ended >&{answers}
             }} < /dev/null > /dev/null 2>&1 &"
    )
}

/// A file in the guest that is fetched as the capture `<probe>.<suffix>`.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The path in the guest.
    pub(super) from: &'a str,
    /// The suffix of the capture's name.
    pub(super) suffix: &'a str,
    /// What the file holds.
    pub(super) content: CaptureContent,
}

/// The destination of a probe's captures.
pub(super) struct CaptureFetcher<'a> {
    /// The guest that they are fetched from.
    pub(super) guest: ProbeGuest<'a>,
    /// The run folder.
    pub(super) folder: &'a Path,
    /// What was fetched so far.
    pub(super) captures: Vec<Capture>,
}

impl<'a> CaptureFetcher<'a> {
    pub(super) fn new(probe: &'a str, guest: &'a mut dyn Guest, folder: &'a Path) -> Self {
        Self { guest: ProbeGuest::new(probe, guest), folder, captures: Vec::new() }
    }

    /// Fetches files of the guest as captures, all in one go.
    pub(super) fn fetch_as(&mut self, wanted: &[Wanted<'_>]) -> Result<(), ProbeError> {
        let paths: Vec<_> = wanted.iter().map(|wanted| self.files().path(wanted.suffix)).collect();
        let files: Vec<_> =
            wanted.iter().zip(&paths).map(|(wanted, to)| GuestFile { from: wanted.from, to }).collect();
        self.guest.guest.fetch(&files, CAPTURE_LIMIT)?;
        let probe = self.guest.probe;
        let captures = wanted.iter().zip(paths);
        self.captures.extend(captures.map(|(&Wanted { content, .. }, path)| Capture {
            probe: probe.to_owned(),
            content,
            path,
        }));
        Ok(())
    }

    /// Fetches a file of the guest that belongs to a capture as `<probe>.<suffix>`, and compresses it.
    pub(super) fn fetch_gzipped(&mut self, from: &str, suffix: &str) -> Result<(), ProbeError> {
        let path = self.files().path(suffix);
        let plain = path.with_extension("new");
        self.guest.guest.fetch(&[GuestFile { from, to: &plain }], CAPTURE_LIMIT)?;
        let gzip = || {
            let mut gzip = GzEncoder::new(BufWriter::new(File::create(&path)?), Compression::fast());
            io::copy(&mut File::open(&plain)?, &mut gzip)?;
            gzip.finish()?.flush()?;
            fs::remove_file(&plain)
        };
        Ok(gzip().map_err(FileError::on("write", &path))?)
    }

    /// Writes output of the guest as the capture `<probe>.<suffix>`.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        suffix: &str,
        content: CaptureContent,
    ) -> Result<(), ProbeError> {
        let path = self.files().path(suffix);
        fs::write(&path, bytes).map_err(FileError::on("write", &path))?;
        self.captures.push(Capture { probe: self.guest.probe.to_owned(), content, path });
        Ok(())
    }

    pub(super) fn files(&self) -> ProbeFiles<'_> {
        ProbeFiles { probe: self.guest.probe, folder: self.folder }
    }
}
