//! The symbols of the guest's kernel, for captures that hold addresses: `/proc/kallsyms`, saved long before a
//! probe records, and again at the end where other modules are loaded by then.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::ProbeError;
use super::capture::{Capture, ProbeFiles};
use super::guest::{COMMAND_LIMIT, CaptureFetcher, GuestFolder};
use crate::host::FileError;
use crate::symbols::AmbiguousFunction;
use kshot_stack::stack::kallsyms::Kallsyms;

/// The suffix of the kernel's symbols that belong to a capture, the text of `/proc/kallsyms`.
pub const KALLSYMS: &str = "kallsyms.gz";
/// The shell commands that set `$loaded` to the loaded modules and their addresses (proc(5)). No program is
/// started for it.
const READ_MODULES: &str = "loaded=; while read -r name _ _ _ _ address _; do loaded=$loaded$name:$address,; done 2> /dev/null < /proc/modules";
/// What the script prints if it has saved the symbols again.
const CHANGED: &str = "changed";

/// The shell commands that save the symbols and the list of modules in the current folder.
pub(super) fn save() -> String {
    format!("{READ_MODULES}\necho \"$loaded\" > modules; cat /proc/kallsyms > kallsyms")
}

/// Saves and fetches the symbols again if other modules have been loaded meanwhile. `folder` is the guest's
/// folder that holds them.
pub(super) fn refresh(fetcher: &mut CaptureFetcher<'_>, folder: &GuestFolder) -> Result<(), ProbeError> {
    let script = format!(
        "cd {} || exit
             {READ_MODULES}
             read -r before < modules
             [ \"$loaded\" = \"$before\" ] && exit
             cat /proc/kallsyms > kallsyms && echo {CHANGED}",
        folder.quoted()
    );
    let said = fetcher.guest.run("looking for other modules", &script, COMMAND_LIMIT)?;
    if said.trim_ascii() == CHANGED.as_bytes() { fetch(fetcher, folder) } else { Ok(()) }
}

/// Fetches the symbols that were saved in a folder of the guest.
pub(super) fn fetch(fetcher: &mut CaptureFetcher<'_>, folder: &GuestFolder) -> Result<(), ProbeError> {
    fetcher.fetch_gzipped(&folder.path("kallsyms"), KALLSYMS)
}

/// Checks that a probe's function is one function in the symbols that were fetched.
pub(super) fn check_function(fetcher: &CaptureFetcher<'_>, function: Option<&str>) -> Result<(), ProbeError> {
    let Some(function) = function else { return Ok(()) };
    let path = fetcher.files().path(KALLSYMS);
    let symbols = read(&path, io::empty()).map_err(FileError::on("read", &path))?;
    let probe = fetcher.guest.probe.to_owned();
    AmbiguousFunction::check(function, &symbols.starts(function))
        .map_err(|source| ProbeError::Ambiguous { probe, source })
}

/// Whether a probe has left symbols in a run folder.
pub(super) fn are_in(files: ProbeFiles<'_>) -> bool {
    files.path(KALLSYMS).is_file()
}

/// The symbols that belong to a capture, and those of `further`, in the same form.
///
/// # Errors
/// The file cannot be read.
pub(super) fn of(capture: &Capture, further: impl BufRead) -> io::Result<Kallsyms> {
    read(&capture.beside(KALLSYMS), further)
}

fn read(path: &Path, further: impl BufRead) -> io::Result<Kallsyms> {
    let file = File::open(path)?;
    Kallsyms::read(BufReader::new(GzDecoder::new(BufReader::new(file))).chain(further))
}
