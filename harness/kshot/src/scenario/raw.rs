//! The YAML of a scenario exactly as typed. `schema.json` beside the scenarios is made from these types.

use std::time::Duration;

use kshot_guest::probe::Stacktrace;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

/// A scenario: a trigger that is replayed in a guest, what records stacks meanwhile, and what must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawScenario {
    /// What it shows, in one line.
    pub summary: String,
    /// The kernels it runs on: names of images/kernels.yaml, or globs over them ("mips64-*").
    pub kernels: Vec<String>,
    /// What the kernel is booted with.
    #[serde(default)]
    pub boot: RawBoot,
    /// What is done in the guest, in order, while the probes record.
    #[serde(default)]
    pub steps: Vec<RawStep>,
    /// What records stacks.
    pub probes: Vec<RawProbe>,
    /// What must hold on every kernel.
    #[serde(default)]
    pub claims: Vec<RawClaim>,
    /// What the kernel must not report on its console.
    #[serde(default)]
    pub console: Vec<RawConsole>,
    /// What is known not to hold, where and why.
    #[serde(default)]
    pub known: Vec<RawKnown>,
}

/// What the kernel is booted with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBoot {
    /// ftrace's boot options.
    #[serde(default)]
    pub ftrace: RawBootFtrace,
    /// Further kernel parameters, one an item, after ftrace's.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Guest memory in MiB, 256 unless said; the board takes at most 2048.
    #[serde(default)]
    pub memory_mib: Option<u32>,
}

/// ftrace's boot options (Documentation/admin-guide/kernel-parameters.txt).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBootFtrace {
    /// `ftrace=`: the tracer.
    #[serde(default)]
    pub tracer: Option<String>,
    /// `ftrace_filter=`: the functions to trace, globs allowed.
    #[serde(default)]
    pub filter: Vec<String>,
    /// `ftrace_notrace=`: the functions not to trace.
    #[serde(default)]
    pub notrace: Vec<String>,
    /// `ftrace_graph_filter=`: the functions that function_graph starts at.
    #[serde(default)]
    pub graph_filter: Vec<String>,
    /// `trace_options=`: names of files in tracefs' `options`.
    #[serde(default)]
    pub options: Vec<String>,
    /// `trace_event=`: events to enable (`sched:sched_process_fork`).
    #[serde(default)]
    pub events: Vec<String>,
    /// `trace_buf_size=`: the ring buffer of a CPU, in KiB.
    #[serde(default)]
    pub buffer_kib: Option<u32>,
}

/// One command in the guest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawStep {
    /// A shell script, run by `sh -c`.
    pub run: String,
    /// How often, 1 unless said.
    #[serde(default = "one")]
    pub repeat: u32,
    /// How long one run may take ("30s", "2m"), 30 seconds unless said.
    #[serde(default = "half_a_minute", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// The exit status it must end with, 0 unless said.
    #[serde(default)]
    pub status: i32,
}

/// What records stacks: exactly one of the keys below, and a name where a kind is used twice.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawProbe {
    /// The name in results, snapshots and claims; the kind unless said.
    #[serde(default)]
    pub name: Option<String>,
    /// The ftrace ring buffer, whatever armed it: boot options or steps.
    #[serde(default)]
    pub ftrace: Option<RawFtrace>,
    /// `perf record` on one event, with call chains.
    #[serde(default)]
    pub perf: Option<RawPerf>,
    /// A kprobe event with a stack.
    #[serde(default)]
    pub kprobe: Option<RawKprobe>,
    /// gdb, from outside, with the kernel's DWARF: the truth. At most one.
    #[serde(default)]
    pub gdb: Option<RawGdb>,
}

/// The ftrace ring buffer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawFtrace {
    /// A tracefs instance (`instances/NAME`); the top one unless said.
    #[serde(default)]
    pub instance: Option<String>,
    /// Of a buffer that records more than is of interest, the events that count: traced functions or names of
    /// events. All unless said.
    #[serde(default)]
    pub only: Vec<String>,
}

/// `perf record` on one event: exactly one of `probe` and `event`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPerf {
    /// A function: `perf probe FUNCTION` and its event `probe:FUNCTION`.
    #[serde(default)]
    pub probe: Option<String>,
    /// An event that exists: `sched:sched_process_fork`.
    #[serde(default)]
    pub event: Option<String>,
    /// The argument of `--call-graph`: `dwarf` (as in perf-record(1)) unless said.
    #[serde(default = "dwarf")]
    pub call_graph: String,
}

/// A kprobe event (Documentation/trace/kprobetrace.rst) whose records get a stack.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawKprobe {
    /// The line for `kprobe_events`, with group and name: `p:probe/rn register_netdevice`.
    pub event: String,
    /// What makes the kernel record the stack.
    #[serde(default)]
    pub stacktrace: Stacktrace,
}

/// gdb, attached to the machine from outside.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawGdb {
    /// The function to break at.
    #[serde(rename = "break")]
    pub function: String,
    /// After how many hits it lets go of the guest, 100 unless said.
    #[serde(default = "hundred")]
    pub hits: u32,
}

/// What must hold of a probe's stacks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawClaim {
    /// Its name, for `known`; the probe's name unless said.
    #[serde(default)]
    pub name: Option<String>,
    /// The probe it speaks of.
    pub probe: String,
    /// Functions that a stack passes through, innermost first, others between them allowed; `a|b` is either of two,
    /// as one compiler inlines what another does not. Such a stack is a witness. Without it every stack is one.
    #[serde(default)]
    pub through: Vec<String>,
    /// How many witnesses there are; at least one unless said.
    #[serde(default)]
    pub stacks: Option<u64>,
    /// Whether each witness reaches a system-call or kernel-thread entry.
    #[serde(default)]
    pub complete: bool,
    /// Whether no witness has a frame that the truth, or perf's stack where there is none, has not.
    #[serde(default)]
    pub exact: bool,
}

/// Trouble that the kernel must not report on its console: a claim like the others, for `known`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawConsole {
    /// Its name, for `known`.
    pub name: String,
    /// Text of the report's first line (`stack_trace_save_regs`).
    pub never: String,
}

/// A fault that is known: the claim does not hold on these kernels.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawKnown {
    /// Names or globs of kernels.
    pub kernels: Vec<String>,
    /// The claim's name.
    pub claim: String,
    /// Why it does not hold.
    pub because: String,
}

fn one() -> u32 {
    1
}

fn hundred() -> u32 {
    100
}

fn dwarf() -> String {
    "dwarf".into()
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = humantime::parse_duration(&text)
        .map_err(|error| de::Error::custom(format!("`{text}` is no duration such as 30s or 2m: {error}")))?;
    if value.is_zero() || value > Duration::from_secs(3600) {
        return Err(de::Error::custom(format!("`{text}` is not within 1ms and 1h")));
    }
    Ok(value)
}
