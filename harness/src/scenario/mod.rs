//! Scenarios: the YAML as typed ([`raw`]) and as meant ([`Scenario`]), and the step between (`check`).

mod check;
pub mod raw;

pub use raw::RawStacktrace as Stacktrace;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use globset::Glob;

use crate::fault::{Blame, Fault};
use crate::yaml::{self, YamlFault};

/// What a scenario means, checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its path below `scenarios/`, without `.yaml`: `tunsetiff/func_stack_trace`.
    pub id: String,
    /// What it shows, in one line.
    pub summary: String,
    /// Globs over the names of the catalogue.
    pub kernels: Vec<String>,
    /// What the kernel is booted with.
    pub boot: Boot,
    /// What is done in the guest, in order.
    pub steps: Vec<Step>,
    /// What records stacks meanwhile; names are unique.
    pub probes: Vec<ProbeSpec>,
    /// What must hold.
    pub claims: Vec<Claim>,
    /// What the kernel must not report on its console; names differ from those of the claims.
    pub console: Vec<Silence>,
    /// What is known not to hold.
    pub known: Vec<Known>,
}

/// What the kernel is booted with, beyond what the machine needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Kernel parameters, in order (`ftrace=function`, ...).
    pub cmdline: Vec<String>,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Whether the guest's clock goes by what it executes ([`crate::machine::MachineSpec::steady`]).
    pub steady: bool,
}

/// One command in the guest.
#[derive(Clone, Debug)]
pub struct Step {
    /// The shell script.
    pub run: String,
    /// How often it runs.
    pub repeat: u32,
    /// How long one run may take.
    pub limit: Duration,
    /// The exit status it must end with.
    pub status: i32,
}

/// A probe and its name.
#[derive(Clone, Debug)]
pub struct ProbeSpec {
    /// The name in results, snapshots and claims; the kind unless the scenario gives one.
    pub name: String,
    /// What it is.
    pub kind: ProbeKind,
}

/// The mechanisms that record stacks.
#[derive(Clone, Debug)]
pub enum ProbeKind {
    /// What the ftrace ring buffer holds, as text; armed by boot options or by steps.
    Ftrace {
        /// The tracefs instance, `None` for the top one.
        instance: Option<String>,
        /// The events that count; all where there are none.
        only: Vec<String>,
    },
    /// `perf record` on one event with call chains.
    Perf {
        /// The event.
        event: PerfEvent,
        /// The argument of `--call-graph`.
        call_graph: String,
    },
    /// A kprobe event with a stack.
    Kprobe {
        /// The event.
        event: KprobeEvent,
        /// What makes the kernel record the stack.
        stacktrace: Stacktrace,
    },
    /// gdb, from outside, with the kernel's DWARF: the truth.
    Gdb {
        /// The function to break at.
        function: String,
        /// After how many hits it lets go of the guest.
        hits: u32,
        /// Whether the function is one of the function tracer, and the stacks those of what it traces
        /// ([`crate::machine::Watch::traced`]). Only a sweep asks for that.
        traced: bool,
    },
}

/// A kprobe event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KprobeEvent {
    /// The line for `kprobe_events`.
    pub definition: String,
    /// Its folder in tracefs' `events`.
    pub group: String,
    /// Its folder in the group's.
    pub name: String,
}

/// What perf records.
#[derive(Clone, Debug)]
pub enum PerfEvent {
    /// `perf probe FUNCTION`, then its event `probe:FUNCTION`.
    Probe(String),
    /// An event that exists: `sched:sched_process_fork`.
    Event(String),
}

/// What must hold of a probe's stacks.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name, for `known`; the probe's name unless the scenario gives one.
    pub name: String,
    /// The probe it speaks of.
    pub probe: String,
    /// Functions that a stack has to pass through, innermost first, others between them allowed; `a|b` is
    /// either of two. A stack that does is a *witness*.
    pub through: Vec<String>,
    /// How many witnesses there must be; `None` means at least one.
    pub stacks: Option<u64>,
    /// Whether each witness has to be complete.
    pub complete: bool,
}

/// Trouble that the kernel must not report on its console.
#[derive(Clone, Debug)]
pub struct Silence {
    /// Its name, for `known`.
    pub name: String,
    /// Text of the report's first line.
    pub never: String,
}

/// A fault that is known: the claim does not hold on these kernels, and why.
#[derive(Clone, Debug)]
pub struct Known {
    /// Globs over kernel names.
    pub kernels: Vec<String>,
    /// The claim.
    pub claim: String,
    /// The reason, for people.
    pub because: String,
}

/// Why a scenario cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// No such file.
    #[error("no scenario `{id}` under {}", folder.display())]
    Unknown {
        /// What was asked for.
        id: String,
        /// Where scenarios lie.
        folder: PathBuf,
        /// Ids that are close to it.
        closest: Option<String>,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The YAML is wrong.
    #[error(transparent)]
    Yaml(#[from] Box<YamlFault>),
}

impl Fault for ScenarioError {
    fn blame(&self) -> Blame {
        match self {
            Self::Unknown { .. } => Blame::Usage,
            Self::Unreadable { .. } | Self::Yaml(_) => Blame::Scenario,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { closest, .. } => Some(match closest {
                Some(id) => format!("did you mean `{id}`? `kshot list` shows all"),
                None => "`kshot list` shows all".into(),
            }),
            Self::Unreadable { .. } => None,
            Self::Yaml(fault) => fault.hint().map(Into::into),
        }
    }
}

impl Known {
    /// Whether it is known of the kernel of that name.
    pub fn speaks_of(&self, kernel: &str) -> bool {
        self.kernels
            .iter()
            .any(|glob| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(kernel)))
    }
}

impl ProbeKind {
    /// The mechanism's word: `ftrace`, `perf`, `kprobe`, `gdb`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ftrace { .. } => "ftrace",
            Self::Perf { .. } => "perf",
            Self::Kprobe { .. } => "kprobe",
            Self::Gdb { .. } => "gdb",
        }
    }
}

impl Scenario {
    /// Reads the text of a scenario. `file` is the name that faults show, `kernels` the catalogue's names.
    ///
    /// # Errors
    /// [`ScenarioError::Yaml`].
    pub fn parse(id: &str, file: &str, text: &str, kernels: &[&str]) -> Result<Self, ScenarioError> {
        let raw = yaml::from_str(file, text)?;
        Ok(check::check(id, &check::Source { file, text, kernels }, raw)?)
    }

    /// The scenario `id` below `folder`; `kernels` are the catalogue's names.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn load(folder: &Path, id: &str, kernels: &[&str]) -> Result<Self, ScenarioError> {
        let id = Self::id_of(folder, id)?;
        let path = folder.join(format!("{id}.yaml"));
        let text = fs::read_to_string(&path).map_err(|source| ScenarioError::Unreadable { path, source })?;
        Self::parse(&id, &format!("scenarios/{id}.yaml"), &text, kernels)
    }

    /// The id that `word` means. A trailing `.yaml` and a leading `scenarios/` are forgiven, because the
    /// shell completes them.
    ///
    /// # Errors
    /// [`ScenarioError::Unknown`].
    pub fn id_of(folder: &Path, word: &str) -> Result<String, ScenarioError> {
        let id = word.strip_suffix(".yaml").unwrap_or(word);
        let id = id.strip_prefix("./").unwrap_or(id);
        let id = id.strip_prefix("scenarios/").unwrap_or(id);
        let ids = Self::ids(folder)?;
        if ids.iter().any(|known| known == id) {
            return Ok(id.into());
        }
        let closest = yaml::closest(id, ids.iter().map(String::as_str)).map(Into::into);
        Err(ScenarioError::Unknown { id: word.into(), folder: folder.into(), closest })
    }

    /// A scenario that does nothing: a kernel to log in to.
    pub fn bare(id: &str) -> Self {
        Self {
            id: id.into(),
            summary: String::new(),
            kernels: Vec::new(),
            boot: Boot { cmdline: Vec::new(), memory_mib: check::MEMORY_MIB, steady: false },
            steps: Vec::new(),
            probes: Vec::new(),
            claims: Vec::new(),
            console: Vec::new(),
            known: Vec::new(),
        }
    }

    /// The ids of all scenarios below `folder`, sorted.
    ///
    /// # Errors
    /// [`ScenarioError::Unreadable`].
    pub fn ids(folder: &Path) -> Result<Vec<String>, ScenarioError> {
        let mut ids = Vec::new();
        collect(folder, "", &mut ids)?;
        ids.sort();
        Ok(ids)
    }
}

fn collect(folder: &Path, prefix: &str, ids: &mut Vec<String>) -> Result<(), ScenarioError> {
    let fail = |source| ScenarioError::Unreadable { path: folder.into(), source };
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(fail)?.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), ids)?;
        } else if let Some(stem) = name.strip_suffix(".yaml") {
            ids.push(format!("{prefix}{stem}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
