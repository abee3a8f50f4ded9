//! The ftrace probe: reads a ring buffer that boot options or steps have armed (Documentation/trace/ftrace.rst).

use super::{CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, CaptureFormat, ProbeError, ProbeGuest, TRACE};
use crate::session::Guest;
use kshot_stack::text::quote;

/// The mount point of tracefs in the guest.
pub(super) const TRACEFS: &str = "/sys/kernel/tracing";

/// The ring buffer of a tracefs instance.
#[derive(Debug)]
pub(super) struct FtraceProbe {
    folder: String,
}

impl FtraceProbe {
    pub(super) fn of(instance: Option<&str>) -> Self {
        let folder = match instance {
            None => TRACEFS.to_owned(),
            Some(name) => format!("{TRACEFS}/instances/{name}"),
        };
        Self { folder }
    }

    pub(super) fn stop<G: Guest>(&self, guest: &mut ProbeGuest<'_, G>) -> Result<(), ProbeError<G::Error>> {
        let script = format!("cd {} || exit; echo 0 > tracing_on", quote(&self.folder));
        guest.run("switching tracing off", &script, COMMAND_LIMIT).map(drop)
    }

    pub(super) fn fetch<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
    ) -> Result<(), ProbeError<G::Error>> {
        // sym-offset and sym-addr affect only the rendering: they add offset and address to each symbol. The script
        // restores them, and writes to a file in the guest, because only there the buffer can be read in one go.
        let rendered = format!("/tmp/kshot-{}.trace", fetcher.guest.file_stem());
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
        fetcher.guest.run("reading the trace", &render, CAPTURE_LIMIT)?;
        fetcher.fetch_as(&rendered, TRACE, CaptureFormat::FtraceText)?;
        fetcher.fetch_as(&format!("{rendered}.stats"), "trace-stats.txt", CaptureFormat::Supplement)
    }
}
