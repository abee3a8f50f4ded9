//! Scenarios: the YAML as written ([`raw`]), the checked [`Scenario`], and the checks in between (`check`).

mod check; // raw YAML to a scenario
pub mod raw; // the YAML as written

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::kernel::OptionUsers;
use kshot_guest::probe::ProbeSpec;
use kshot_guest::yaml::{self, YamlError, YamlSource};
use kshot_stack::blame::{Blame, Blamed, passed_on_hint};
use kshot_stack::claim::{Claim, ConsoleClaim, KnownFault};
use kshot_stack::name::is_file_name;
use kshot_stack::text::is_hidden;

/// The largest scenario file, in bytes.
const BYTES_MOST: u64 = 1 << 20;

/// A scenario after all checks.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// The path below `scenarios/`, without `.yaml`: `tunsetiff/func_stack_trace`.
    pub id: String,
    /// What the scenario demonstrates, in one line.
    pub summary: String,
    /// Globs over the names of the catalogue.
    pub kernels: Vec<String>,
    /// Kernel options that the steps need, without `CONFIG_`.
    pub requires: Vec<String>,
    /// The boot options.
    pub boot: BootOptions,
    /// The commands that run in the guest, in order.
    pub steps: Vec<Step>,
    /// The probes that record stacks meanwhile; names are unique.
    pub probes: Vec<ProbeSpec>,
    /// The claims about the stacks.
    pub claims: Vec<Claim>,
    /// The claims about the console; their names differ from those of the other claims.
    pub console_claims: Vec<ConsoleClaim>,
    /// The known faults.
    pub known_faults: Vec<KnownFault>,
}

/// The boot options of a scenario, beyond what the machine needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BootOptions {
    /// Kernel parameters, in order (`ftrace=function`, ...).
    pub cmdline: Vec<String>,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Whether the guest's clock goes by what it executes ([`kshot_guest::machine::MachineSpec::icount`]).
    pub icount: bool,
}

/// A command that runs in the guest.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The shell script.
    pub script: String,
    /// The number of runs.
    pub repeat: u32,
    /// The time limit of one run.
    pub timeout: Duration,
    /// The expected exit status.
    pub expected_status: i32,
    /// Whether the guest gets a non-maskable interrupt before each run.
    pub nmi: bool,
}

/// Why a scenario cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// There is no scenario with this id.
    #[error("no scenario `{id}` under {}", folder.display())]
    Unknown {
        /// The given id.
        id: String,
        /// The folder of the scenarios.
        folder: PathBuf,
        /// Ids that are close to it.
        closest: Option<String>,
    },
    /// The scenario has no probe of this name.
    #[error("{id} has no probe `{probe}`")]
    NoProbe {
        /// The scenario.
        id: String,
        /// The given name.
        probe: String,
        /// The names of its probes.
        known: String,
    },
    /// The file's name cannot be used as a scenario's id.
    #[error("{} cannot be a scenario: its name, without .yaml, cannot name a run folder", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(FileError),
    /// The YAML is invalid.
    #[error(transparent)]
    Yaml(#[from] Box<YamlError>),
}

impl Blamed for ScenarioError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Yaml(error) => Some(&**error),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Unknown { .. } | Self::NoProbe { .. } | Self::Name { .. } => Blame::Usage,
            Self::Unreadable(error) => error.blame_of_input(),
            Self::Yaml(_) => Blame::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { closest, .. } => Some(match closest {
                Some(id) => format!("did you mean `{id}`? `kshot list` shows all"),
                None => "`kshot list` shows all".into(),
            }),
            Self::NoProbe { known, .. } => Some(format!("its probes: {known}")),
            Self::Name { .. } => Some("use letters, digits and `_` in its name: my_scenario.yaml".into()),
            _ => passed_on_hint(self),
        }
    }
}

impl Scenario {
    /// Parses the text of a scenario. `file` is the name in error messages, `kernels` the names of the
    /// catalogue.
    ///
    /// # Errors
    /// [`ScenarioError::Yaml`].
    pub fn parse(id: &str, file: &str, text: &str, kernels: &[&str]) -> Result<Self, ScenarioError> {
        let raw = yaml::from_str(file, text)?;
        Ok(check::check_scenario(id, &check::CheckContext { yaml: YamlSource { file, text }, kernels }, raw)?)
    }

    /// Reads the scenario `id` below `folder`; `kernels` are the names of the catalogue.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn load(folder: &Path, id: &str, kernels: &[&str]) -> Result<Self, ScenarioError> {
        let id = Self::resolve_id(folder, id)?;
        let path = folder.join(format!("{id}.yaml"));
        let text = read(&path)?;
        Self::parse(&id, &format!("scenarios/{id}.yaml"), &text, kernels)
    }

    /// The scenario in a file of one's own, anywhere. Its id is the file's name without `.yaml`.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn load_file(path: &Path, kernels: &[&str]) -> Result<Self, ScenarioError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !is_file_name(&name) {
            return Err(ScenarioError::Name { path: path.into() });
        }
        let text = read(path)?;
        Self::parse(&name, &path.display().to_string(), &text, kernels)
    }

    /// The id that `word` means. A trailing `.yaml` and a leading `scenarios/` are forgiven, because the
    /// shell completes them.
    ///
    /// # Errors
    /// [`ScenarioError::Unknown`].
    pub fn resolve_id(folder: &Path, word: &str) -> Result<String, ScenarioError> {
        let id = word.strip_suffix(".yaml").unwrap_or(word);
        let id = id.strip_prefix("./").unwrap_or(id);
        let id = id.strip_prefix("scenarios/").unwrap_or(id);
        let ids = Self::list_ids(folder)?;
        if ids.iter().any(|known| known == id) {
            return Ok(id.into());
        }
        let closest = yaml::closest(id, ids.iter().map(String::as_str)).map(Into::into);
        Err(ScenarioError::Unknown { id: word.into(), folder: folder.into(), closest })
    }

    /// A scenario without steps and probes, for logging in to a kernel.
    pub fn empty(id: &str) -> Self {
        Self {
            id: id.into(),
            summary: String::new(),
            kernels: Vec::new(),
            requires: Vec::new(),
            boot: BootOptions { cmdline: Vec::new(), memory_mib: check::DEFAULT_MEMORY_MIB, icount: false },
            steps: Vec::new(),
            probes: Vec::new(),
            claims: Vec::new(),
            console_claims: Vec::new(),
            known_faults: Vec::new(),
        }
    }

    /// The same scenario with some of its probes, the claims about their stacks, and what is known of those;
    /// all of it where no probe is named.
    ///
    /// # Errors
    /// [`ScenarioError::NoProbe`].
    pub fn with_probes(mut self, names: &[String]) -> Result<Self, ScenarioError> {
        if names.is_empty() {
            return Ok(self);
        }
        let known: Vec<&str> = self.probes.iter().map(|probe| probe.name.as_str()).collect();
        if let Some(probe) = names.iter().find(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            return Err(ScenarioError::NoProbe { id: self.id, probe: probe.clone(), known });
        }
        self.probes.retain(|probe| names.contains(&probe.name));
        let is_left_out = |claim: &Claim| !names.contains(&claim.probe);
        let left_out: Vec<String> =
            self.claims.iter().filter(|claim| is_left_out(claim)).map(|claim| claim.name.clone()).collect();
        self.claims.retain(|claim| !is_left_out(claim));
        self.known_faults.retain(|known| !left_out.contains(&known.claim));
        Ok(self)
    }

    /// What makes use of a kernel's options: the probes, the kernel parameters, and what the scenario
    /// requires by name.
    pub fn option_users(&self) -> OptionUsers {
        let probes = self.probes.iter().flat_map(ProbeSpec::needs).map(str::to_owned);
        let words = probes.chain(self.boot.cmdline.iter().cloned());
        OptionUsers { words: words.collect(), required: self.requires.iter().cloned().collect() }
    }

    /// The ids of all scenarios below `folder`, sorted.
    ///
    /// # Errors
    /// [`ScenarioError::Unreadable`].
    pub fn list_ids(folder: &Path) -> Result<Vec<String>, ScenarioError> {
        let mut ids = Vec::new();
        collect_ids(folder, "", &mut ids)?;
        ids.sort();
        Ok(ids)
    }
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    let text = bounded::read_text(path, BYTES_MOST).map_err(FileError::on("read", path));
    text.map_err(ScenarioError::Unreadable)
}

fn collect_ids(folder: &Path, prefix: &str, ids: &mut Vec<String>) -> Result<(), ScenarioError> {
    let fail = |source| ScenarioError::Unreadable(FileError::on("read", folder)(source));
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // An editor's own: its lock (`.#leaf.yaml`) or a copy. And what no command line could name.
        if name.starts_with('.') || name.contains(is_hidden) {
            continue;
        }
        if entry.file_type().map_err(fail)?.is_dir() {
            collect_ids(&entry.path(), &format!("{prefix}{name}/"), ids)?;
        } else if let Some(stem) = name.strip_suffix(".yaml") {
            ids.push(format!("{prefix}{stem}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
