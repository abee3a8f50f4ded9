//! The YAML of a scenario exactly as typed. `schema.json` beside the scenarios is made from these types.

use std::time::Duration;

use kshot_guest::probe::RawProbe;
use kshot_stack::claim::FunctionNames;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

/// A scenario: a trigger that is replayed in a guest, the probes that record stacks meanwhile, and the claims
/// about them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawScenario {
    /// What the scenario demonstrates, in one line.
    pub summary: String,
    /// The kernels to run on: names in images/kernels.yaml, or globs ("mips64-*").
    pub kernels: Vec<String>,
    /// Kernel options that the steps need, without `CONFIG_` (TUN). They are looked for in the `.config` of a
    /// kernel of one's own, before the boot.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The boot options.
    #[serde(default)]
    pub boot: RawBoot,
    /// The commands that run in the guest while the probes record, in order.
    #[serde(default)]
    pub steps: Vec<RawStep>,
    /// The probes that record stacks.
    pub probes: Vec<RawProbe>,
    /// The claims that must hold on every kernel.
    #[serde(default)]
    pub claims: Vec<RawClaim>,
    /// The problems that the kernel must not report on its console.
    #[serde(default)]
    pub console: Vec<RawConsole>,
    /// The claims that are known to fail, with kernels and reasons.
    #[serde(default)]
    pub known: Vec<RawKnown>,
}

/// The boot options.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBoot {
    /// ftrace's boot options.
    #[serde(default)]
    pub ftrace: RawBootFtrace,
    /// Further kernel parameters, one an item, after those of ftrace.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Guest memory in MiB; default: 256. The board takes at most 2048.
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

/// A command that runs in the guest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawStep {
    /// A shell script, run by `sh -c`.
    pub run: String,
    /// The number of runs; default: 1.
    #[serde(default = "default_repeat")]
    pub repeat: u32,
    /// The time limit of one run ("30s", "2m"); default: 30 seconds.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// The expected exit status; default: 0.
    #[serde(default)]
    pub status: i32,
    /// Whether the machine sends the guest a non-maskable interrupt before each run, where its board has one;
    /// default: false.
    #[serde(default)]
    pub nmi: bool,
}

/// A claim about the stacks of one probe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawClaim {
    /// The claim's name, which `known` refers to; default: the probe's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The probe that the claim is about.
    pub probe: String,
    /// The functions that a stack passes through, innermost first, with other frames allowed in between;
    /// `a|b` matches either, because one compiler inlines what another does not. Such a stack is a witness.
    /// Default: every stack is a witness.
    #[serde(default)]
    pub through: Vec<FunctionNames>,
    /// The required number of witnesses; default: at least one.
    #[serde(default)]
    pub stacks: Option<u64>,
    /// Whether every witness must reach a system-call or kernel-thread entry.
    #[serde(default)]
    pub complete: bool,
    /// Whether every witness is exact: it has no frame that the truth (perf's stack if there is no truth)
    /// does not have.
    #[serde(default)]
    pub exact: bool,
    /// Whether every witness is whole: it lacks no frame of the truth (of perf's stack if there is no truth).
    #[serde(default)]
    pub whole: bool,
}

/// A claim that the kernel does not report a certain problem on its console; `known` may refer to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawConsole {
    /// The claim's name, which `known` refers to.
    pub name: String,
    /// Text of the report's first line (`stack_trace_save_regs`).
    pub never: String,
}

/// A known fault: the claim fails on these kernels.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawKnown {
    /// Names or globs of kernels.
    pub kernels: Vec<String>,
    /// The claim's name.
    pub claim: String,
    /// The reason why the claim fails.
    pub because: String,
}

fn default_repeat() -> u32 {
    1
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!("`{text}` is not a duration such as 30s or 2m: {error}"))
    })?;
    if value.is_zero() || value > Duration::from_secs(3600) {
        return Err(de::Error::custom(format!("`{text}` is not within 1ms and 1h")));
    }
    Ok(value)
}
