//! What the ftrace ring buffer holds. Boot options or steps armed it; see
//! Documentation/trace/ftrace.rst for the files.

use super::{Asker, CAPTURE_LIMIT, COMMAND_LIMIT, Format, Home, ProbeError, TRACE};
use crate::session::Guest;
use kshot_stack::text::quote;

/// Where tracefs is mounted in the guest.
pub(super) const TRACEFS: &str = "/sys/kernel/tracing";

/// A ring buffer.
#[derive(Debug)]
pub(super) struct Ftrace {
    folder: String,
}

impl Ftrace {
    pub(super) fn of(instance: Option<&str>) -> Self {
        let folder = match instance {
            None => TRACEFS.to_owned(),
            Some(name) => format!("{TRACEFS}/instances/{name}"),
        };
        Self { folder }
    }

    pub(super) fn stop<G: Guest>(&self, asker: &mut Asker<'_, G>) -> Result<(), ProbeError<G::Error>> {
        let script = format!("cd {} || exit; echo 0 > tracing_on", quote(&self.folder));
        asker.ask("switching tracing off", &script, COMMAND_LIMIT).map(drop)
    }

    pub(super) fn fetch<G: Guest>(&self, home: &mut Home<'_, G>) -> Result<(), ProbeError<G::Error>> {
        // sym-offset and sym-addr change only how the same records are printed: with them, each symbol of the
        // text carries its offset and address. They are put back, and the rendering is kept in a file of the
        // guest, because the buffer is read in one go only there.
        let rendered = format!("/tmp/kshot-{}.trace", home.asker.file_stem());
        let render = format!(
            "cd {folder} || exit
             read -r offset < options/sym-offset || exit
             read -r address < options/sym-addr || exit
             echo 1 > options/sym-offset; echo 1 > options/sym-addr
             cat trace > {text}; status=$?
             echo $offset > options/sym-offset; echo $address > options/sym-addr
             for cpu in per_cpu/cpu*; do echo \"== $cpu\"; cat $cpu/stats; done > {text}.stats
             exit $status",
            folder = quote(&self.folder),
            text = quote(&rendered),
        );
        home.asker.ask("reading the trace", &render, CAPTURE_LIMIT)?;
        home.bring(&rendered, TRACE, Format::FtraceText)?;
        home.bring(&format!("{rendered}.stats"), "trace-stats.txt", Format::Notes)
    }
}
