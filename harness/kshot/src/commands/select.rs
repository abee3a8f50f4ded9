//! Resolves the words of a command line to scenarios and kernels.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::run::RunContext;
use crate::scenario::{Scenario, ScenarioError};
use crate::workspace::Workspace;
use kshot_guest::kernel::{self, Catalogue, Kernel};
use kshot_guest::progress::Progress;
use kshot_guest::yaml;
use kshot_stack::name;

/// Whether a word is the path of a scenario file outside of the workspace's scenarios.
fn is_own_file(word: &str) -> bool {
    is_file_name(word) && Path::new(word).is_file()
}

/// Whether a word can only be the path of a scenario file: no id ends so.
fn is_file_name(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A kernel that a scenario is to run on.
pub(super) enum KernelChoice {
    /// The kernel is provisioned.
    Provisioned(Box<Kernel>),
    /// The kernel is not provisioned, with its catalogue name.
    NotProvisioned(String),
}

impl KernelChoice {
    /// The kernel's catalogue name, if it is from the catalogue.
    pub(super) fn in_catalogue(&self) -> Option<&str> {
        match self {
            Self::Provisioned(kernel) => Some(kernel.name.as_str()).filter(|_| kernel.in_catalogue),
            Self::NotProvisioned(name) => Some(name),
        }
    }

    /// The catalogue name of a kernel that is in the catalogue and not among `its_own`, those of a scenario.
    pub(super) fn not_among(&self, its_own: &[String]) -> Option<&str> {
        self.in_catalogue().filter(|name| !its_own.iter().any(|own| own == name))
    }

    /// The catalogue name of a kernel that is not provisioned.
    pub(super) fn not_provisioned(&self) -> Option<&str> {
        match self {
            Self::Provisioned(_) => None,
            Self::NotProvisioned(name) => Some(name),
        }
    }

    /// The kernel, downloaded or built if necessary.
    pub(super) fn provision(self, select: &Selector, progress: &Progress) -> Result<Kernel, CommandError> {
        match self {
            Self::Provisioned(kernel) => Ok(*kernel),
            Self::NotProvisioned(name) => select.provision(&name, progress),
        }
    }
}

/// What scenarios and kernels are chosen from.
#[derive(Debug)]
pub(super) struct Selector {
    pub(super) workspace: Workspace,
    pub(super) catalogue: Catalogue,
}

impl Selector {
    /// Those of the workspace that the command was called in; results go to `out` if there is one.
    pub(super) fn open(out: Option<&PathBuf>) -> Result<Self, CommandError> {
        let workspace = super::workspace(out)?;
        let catalogue = workspace.catalogue()?;
        Ok(Self { workspace, catalogue })
    }

    /// What a run on a kernel needs besides its scenario.
    pub(super) fn context<'a>(&'a self, kernel: &'a Kernel, progress: &'a Progress) -> RunContext<'a> {
        RunContext { workspace: &self.workspace, kernel, progress }
    }

    /// The scenario ids that the words match, each word an id, a glob, or the path of a scenario of one's own;
    /// all ids if there are no words.
    pub(super) fn scenario_ids(&self, words: &[String]) -> Result<Vec<String>, CommandError> {
        let folder = self.workspace.scenarios();
        let all = Scenario::list_ids(&folder)?;
        if words.is_empty() {
            return Ok(all);
        }
        let mut chosen: Vec<String> = Vec::new();
        for word in words {
            let matching = if is_own_file(word) {
                // Whatever its name looks like; one of the workspace's has its id.
                vec![Scenario::resolve_id(&folder, word).unwrap_or_else(|_| word.clone())]
            } else {
                match glob(word)? {
                    Some(glob) => all.iter().filter(|id| glob.is_match(id)).cloned().collect(),
                    None => vec![Scenario::resolve_id(&folder, word).map_err(|error| {
                        if is_file_name(word) { no_such_file(word) } else { error.into() }
                    })?],
                }
            };
            if matching.is_empty() {
                return Err(ScenarioError::Unknown { id: word.clone(), folder, closest: None }.into());
            }
            for id in matching {
                if !chosen.contains(&id) {
                    chosen.push(id);
                }
            }
        }
        Ok(chosen)
    }

    /// The id of the single scenario that a word stands for.
    pub(super) fn single_scenario_id(&self, word: &str) -> Result<String, CommandError> {
        single(word, "scenarios", self.scenario_ids(&[word.to_owned()])?)
    }

    /// Loads a scenario; all its kernels must be in the catalogue.
    pub(super) fn scenario(&self, id: &str) -> Result<Scenario, CommandError> {
        let names = self.catalogue.names();
        let own = is_own_file(id).then(|| Scenario::load_file(Path::new(id), &names));
        Ok(own.unwrap_or_else(|| Scenario::load(&self.workspace.scenarios(), id, &names))?)
    }

    /// The catalogue names that the words match, each word a name or a glob; all names if there are no words.
    pub(super) fn kernel_names(&self, words: &[String]) -> Result<Vec<String>, CommandError> {
        names_among(self.catalogue.names(), words)
    }

    /// The single name of a catalogue kernel that a word stands for.
    pub(super) fn single_kernel_name(&self, word: &str) -> Result<String, CommandError> {
        single(word, "kernels", self.kernel_names(&[word.to_owned()])?)
    }

    /// The kernels that `words` name, or the scenario's kernels if there are no words; provisioned or not.
    pub(super) fn kernels(
        &self,
        scenario: &Scenario,
        words: &[String],
    ) -> Result<Vec<KernelChoice>, CommandError> {
        let words = if words.is_empty() { &scenario.kernels } else { words };
        let mut choices = Vec::new();
        for word in words {
            if word.contains('/') {
                let kernel =
                    Kernel::from_path(Path::new(word), &self.workspace.images(), &self.workspace.cache)?;
                choices.push(KernelChoice::Provisioned(kernel.into()));
                continue;
            }
            for name in self.kernel_names(std::slice::from_ref(word))? {
                let entry = self.catalogue.get(&name).expect("the name is from the catalogue");
                choices.push(match Kernel::find(entry, &self.workspace.images(), &self.workspace.cache)? {
                    Some(kernel) => KernelChoice::Provisioned(kernel.into()),
                    None => KernelChoice::NotProvisioned(name),
                });
            }
        }
        Ok(choices)
    }

    /// The single kernel that a word names, provisioned if necessary.
    pub(super) fn single_kernel(&self, word: &str, progress: &Progress) -> Result<Kernel, CommandError> {
        self.single_choice(word)?.provision(self, progress)
    }

    fn single_choice(&self, word: &str) -> Result<KernelChoice, CommandError> {
        let choices = self.kernels(&Scenario::empty(""), &[word.to_owned()])?;
        single(word, "kernels", choices)
    }

    /// The single kernel that a word names, which has to be provisioned already.
    pub(super) fn provisioned_kernel(&self, word: &str) -> Result<Kernel, CommandError> {
        match self.single_choice(word)? {
            KernelChoice::Provisioned(kernel) => Ok(*kernel),
            KernelChoice::NotProvisioned(name) => Err(CommandError::usage(
                format!("kernel `{name}` is not provisioned"),
                self.how_to_get(&name),
            )),
        }
    }

    /// How to get a kernel of the catalogue that is not there.
    pub(super) fn how_to_get(&self, name: &str) -> String {
        self.catalogue.get(name).expect("the name is from the catalogue").how_to_get()
    }

    /// Downloads or builds a kernel of the catalogue.
    pub(super) fn provision(&self, name: &str, progress: &Progress) -> Result<Kernel, CommandError> {
        let entry = self.catalogue.get(name).expect("the name is from the catalogue");
        Ok(kernel::provision(entry, &self.workspace.provisioning(progress))?)
    }

    /// Downloads or builds a kernel of the catalogue with its DWARF, which for a prebuilt kernel is a separate
    /// download.
    pub(super) fn provision_dwarf(&self, name: &str, progress: &Progress) -> Result<Kernel, CommandError> {
        let entry = self.catalogue.get(name).expect("the name is from the catalogue");
        Ok(kernel::provision_dwarf(entry, &self.workspace.provisioning(progress))?)
    }
}

fn no_such_file(word: &str) -> CommandError {
    CommandError::usage(
        format!("there is no scenario file {word}"),
        "give the path of a file, or a scenario's id: `kshot list` shows all",
    )
}

/// As [`Selector::kernel_names`], of `all` names.
pub(super) fn names_among(all: Vec<&str>, words: &[String]) -> Result<Vec<String>, CommandError> {
    if words.is_empty() {
        return Ok(all.into_iter().map(Into::into).collect());
    }
    let mut chosen: Vec<String> = Vec::new();
    for word in words {
        let matching: Vec<&str> = match glob(word)? {
            Some(glob) => all.iter().copied().filter(|name| glob.is_match(name)).collect(),
            None => all.iter().copied().filter(|name| name == word).collect(),
        };
        if matching.is_empty() {
            return Err(CommandError::usage(
                format!("the catalogue has no kernel `{word}`"),
                match yaml::closest(word, all) {
                    Some(name) => {
                        format!("did you mean `{name}`? `kshot list` shows all kernels; a path needs a `/`")
                    }
                    None => "`kshot list` shows all; a kernel file of your own needs a `/`, as in ./vmlinux"
                        .into(),
                },
            ));
        }
        for name in matching {
            if !chosen.iter().any(|one| one == name) {
                chosen.push(name.into());
            }
        }
    }
    Ok(chosen)
}

fn single<T>(word: &str, what: &str, found: Vec<T>) -> Result<T, CommandError> {
    <[T; 1]>::try_from(found).map(|[one]| one).map_err(|found| {
        CommandError::usage(
            format!("`{word}` matches {} {what}, but exactly one is needed", found.len()),
            "`kshot list` shows their names",
        )
    })
}

fn glob(word: &str) -> Result<Option<globset::GlobMatcher>, CommandError> {
    if !word.contains(['*', '?', '[', '{']) {
        return Ok(None);
    }
    match name::glob(word) {
        Ok(glob) => Ok(Some(glob.compile_matcher())),
        Err(why) => Err(CommandError::usage(why, "correct the pattern; `kshot list` shows the names")),
    }
}
