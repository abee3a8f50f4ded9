//! The ftrace probe: reads a ring buffer that boot options or steps have armed
//! (Documentation/trace/ftrace.rst).

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capture::{Capture, CaptureContent, ProbeFiles, file_stem};
use super::guest::{CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, ProbeGuest, Wanted};
use super::{Armed, Probe, ProbeError, TruthContext};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::{ParsedCapture, ftrace_text};
use kshot_stack::text::quote;

/// How the buffer is printed, whatever its user has set: each symbol with its offset and address; as text and
/// not as the entries lie in memory; with whole task names, and with them in front of programs' text too. Not
/// every kernel has all of these options.
const RENDERING: &str = "sym-offset:1 sym-addr:1 raw:0 hex:0 bin:0 fields:0 latency-format:0 context-info:1 \
                         printk-msg-only:0";
/// The mount point of tracefs in the guest.
pub(super) const TRACEFS: &str = "/sys/kernel/tracing";
/// The suffix of the text of tracefs's `trace`, each symbol with its offset and address.
pub(super) const TRACE: &str = "trace.txt";

/// What the ftrace ring buffer holds, as text; armed by boot options or by steps.
#[derive(Clone, Debug, Serialize)]
pub struct FtraceProbe {
    /// The tracefs instance, `None` for the top one.
    pub instance: Option<String>,
    /// The events that count; all where there are none.
    pub only: Vec<String>,
}

/// The ftrace ring buffer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawFtrace {
    /// The tracefs instance (`instances/NAME`); default: the top-level one.
    #[serde(default)]
    pub instance: Option<String>,
    /// The traced functions or event names to keep, if the buffer records more; default: all.
    #[serde(default)]
    pub only: Vec<String>,
}

/// The ring buffer of a tracefs instance.
#[derive(Debug)]
pub(super) struct RingBuffer {
    folder: String,
}

impl RawFtrace {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<FtraceProbe, Box<YamlError>> {
        if let Some(instance) = &self.instance {
            source.check_characters("probes", "an instance", instance, "_-")?;
        }
        for event in &self.only {
            source.check_characters("probes", "an event", event, "_.$")?;
        }
        Ok(FtraceProbe { instance: self.instance, only: self.only })
    }
}

impl Probe for FtraceProbe {
    fn arm(&self, _: &mut ProbeGuest<'_>, _: Option<TruthContext<'_>>) -> Result<Box<dyn Armed>, ProbeError> {
        Ok(Box::new(RingBuffer::of(self.instance.as_deref())))
    }

    fn capture_suffix(&self, _: ProbeFiles<'_>) -> &'static str {
        TRACE
    }

    fn guest_file(&self, probe: &str) -> Option<String> {
        Some(text_file(probe))
    }

    fn parse(&self, capture: &Capture, _: &ArchRow) -> io::Result<ParsedCapture> {
        ftrace_text::parse_only(capture.open()?, &self.only)
    }
}

/// The guest's file with the text of a probe's buffer.
pub(super) fn text_file(probe: &str) -> String {
    format!("/tmp/kshot-{}.trace", file_stem(probe))
}

impl RingBuffer {
    pub(super) fn of(instance: Option<&str>) -> Self {
        let folder = match instance {
            None => TRACEFS.to_owned(),
            Some(name) => format!("{TRACEFS}/instances/{name}"),
        };
        Self { folder }
    }
}

impl Armed for RingBuffer {
    fn stop(&self, guest: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        let script = format!("cd {} || exit; echo 0 > tracing_on", quote(&self.folder));
        guest.run("switching tracing off", &script, COMMAND_LIMIT).map(drop)
    }

    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        // The script leaves the options as they were, and writes to a file in the guest, because only there
        // the buffer can be read in one go.
        let rendered = text_file(fetcher.guest.probe);
        let render = format!(
            "cd {folder}/options || exit
             undo=
             for option in {RENDERING}; do
                 read -r was < ${{option%:*}} || continue
                 [ \"$was\" = ${{option#*:}} ] && continue
                 undo=\"$undo echo $was > ${{option%:*}};\"
                 echo ${{option#*:}} > ${{option%:*}}
             done 2> /dev/null
             cat ../trace > {text}; status=$?
             eval \"$undo\"
             cd ..
             for cpu in per_cpu/cpu*; do echo \"== $cpu\"; cat $cpu/stats; done > {text}.stats
             exit $status",
            folder = quote(&self.folder),
            text = quote(&rendered),
        );
        fetcher.guest.run("reading the trace", &render, CAPTURE_LIMIT)?;
        let stats = format!("{rendered}.stats");
        fetcher.fetch_as(&[
            Wanted { from: &rendered, suffix: TRACE, content: CaptureContent::Stacks },
            Wanted { from: &stats, suffix: "trace-stats.txt", content: CaptureContent::Supplement },
        ])
    }
}
