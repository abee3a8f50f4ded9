//! Builds and runs real kernels of versions or commits.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::hunt::{Built, HuntError, Lab, Ran, Trouble};
use super::plan::Subject;
use super::question::{Question, Testimony};
use super::versions::Candidate;
use crate::run::{self, Options, RunError, Starts};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::git::Repository;
use kshot_guest::host::FileError;
use kshot_guest::host::cache::{self, Cache};
use kshot_guest::host::compiler_version;
use kshot_guest::kernel::{
    self, BuildFolder, GitCommit, Kernel, KernelError, KernelSource, KernelSpec, extract_paths,
};
use kshot_guest::progress::Progress;
use kshot_guest::{bounded, records};
use kshot_stack::arch::Arch;
use kshot_stack::document::Document;

/// How many bytes of a console log or capture are searched for a text.
const TEXT_MOST: u64 = 64 * 1024 * 1024;

/// How the kernels of a bisection are configured.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The architecture to build for.
    pub(crate) arch: Arch,
    /// The configuration fragments.
    pub(crate) config: Vec<String>,
    /// The patches. They apply to versions only: a commit is tested as it is.
    pub(crate) patches: Vec<String>,
    /// About how many lines kbuild prints.
    pub(crate) objects: u64,
    /// The symbols that must survive.
    pub(crate) required: Vec<String>,
}

/// The candidates of a bisection.
#[derive(Clone, Debug)]
pub(crate) enum Supply {
    /// Versions from Debian's archive.
    Versions(Vec<Candidate>),
    /// Commits of a git tree.
    Commits {
        /// The repository, which is only read.
        repository: Repository,
        /// Commit ids, in the order of the nodes.
        ids: Vec<String>,
        /// The older and the newer end.
        ends: (usize, usize),
    },
}

/// Builds the candidates' kernels. Shared with the thread that builds ahead.
#[derive(Clone, Debug)]
struct Maker {
    workspace: Workspace,
    template: Template,
    supply: Arc<Supply>,
}

/// Builds and runs real kernels.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    maker: Maker,
    scenario: Scenario,
    question: Question,
    kernels: BTreeMap<Subject, Kernel>,
    /// Whether recorded results are ignored.
    fresh: bool,
    /// Whether kernels are built ahead while cores are idle.
    speculate: bool,
    ahead: Option<JoinHandle<()>>,
    progress: &'a Progress,
}

/// Options of a tester.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Verdicts on file do not count.
    pub(crate) fresh: bool,
    /// Kernels are built ahead while cores are idle.
    pub(crate) speculate: bool,
}

impl<'a> Bench<'a> {
    /// A tester whose run folders go to `workspace.runs`.
    pub(crate) fn new(
        workspace: Workspace,
        (scenario, question): (&Scenario, &Question),
        template: Template,
        supply: Supply,
        habits: Habits,
        progress: &'a Progress,
    ) -> Self {
        Self {
            maker: Maker { workspace, template, supply: Arc::new(supply) },
            scenario: question.prepare(scenario.clone()),
            question: question.clone(),
            kernels: BTreeMap::new(),
            fresh: habits.fresh,
            speculate: habits.speculate,
            ahead: None,
            progress,
        }
    }

    fn kernel(&mut self, subject: Subject) -> Result<Kernel, Trouble> {
        if let Some(kernel) = self.kernels.get(&subject) {
            return Ok(kernel.clone());
        }
        let mut kernel = self.maker.make(subject, "", self.progress)?;
        (kernel.name, kernel.in_catalogue) = match &self.question {
            Question::Verdict(name) => (name.clone(), true),
            _ => (kernel.name, false),
        };
        self.kernels.insert(subject, kernel.clone());
        Ok(kernel)
    }
}

impl Lab for Bench<'_> {
    fn name(&self, subject: Subject) -> String {
        match subject {
            Subject::At(node) => self.maker.supply.name(node),
            Subject::Reverted(node) => {
                format!("{} without {}", self.maker.supply.end(true), self.maker.supply.name(node))
            }
            Subject::Applied(node) => {
                format!("{} with {}", self.maker.supply.end(false), self.maker.supply.name(node))
            }
        }
    }

    fn build(&mut self, subject: Subject) -> Result<Built, Trouble> {
        let kernel = self.kernel(subject)?;
        let notes = kernel.lost.iter().map(|line| format!("not in this version: {line}")).collect();
        Ok(Built { image: kernel.sha256, release: kernel.release, notes })
    }

    fn run(&mut self, subject: Subject, number: usize) -> Result<Ran, Trouble> {
        let kernel = self.kernel(subject)?;
        try_once(
            &self.maker.workspace,
            (&self.scenario, &self.question),
            &kernel,
            (number, self.fresh),
            self.progress,
        )
    }

    fn ahead(&mut self, nodes: &[usize]) {
        let busy = self.ahead.as_ref().is_some_and(|thread| !thread.is_finished());
        let missing: Vec<usize> = nodes.iter().copied().filter(|&node| self.maker.is_missing(node)).collect();
        if !self.speculate || busy || missing.is_empty() || !cores_are_idle() {
            return;
        }
        let maker = self.maker.clone();
        // A build that fails here fails again when it is requested, and is reported then.
        self.ahead = Some(std::thread::spawn(move || {
            for node in missing.into_iter().take(2) {
                drop(maker.make(Subject::At(node), "-ahead", &Progress::silent()));
            }
        }));
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if let Some(thread) = self.ahead.take() {
            if !thread.is_finished() {
                self.progress.print_line("waiting for the kernel that is built ahead: it stays in the cache");
            }
            drop(thread.join());
        }
    }
}

impl Supply {
    fn name(&self, node: usize) -> String {
        match self {
            Self::Versions(candidates) => candidates[node].name.clone(),
            Self::Commits { ids, .. } => short(&ids[node]),
        }
    }

    fn end(&self, newer: bool) -> String {
        match self {
            Self::Versions(candidates) => {
                let end = if newer { candidates.last() } else { candidates.first() };
                end.map(|candidate| candidate.name.clone()).unwrap_or_default()
            }
            Self::Commits { ids, ends, .. } => short(&ids[if newer { ends.1 } else { ends.0 }]),
        }
    }
}

impl Maker {
    fn make(&self, subject: Subject, bench: &str, progress: &Progress) -> Result<Kernel, Trouble> {
        match (&*self.supply, subject) {
            (Supply::Versions(candidates), Subject::At(node)) => self.version(&candidates[node], progress),
            (Supply::Versions(_), _) => Err(Trouble::CannotTell("a version cannot be taken back".into())),
            (Supply::Commits { repository, ids, ends }, _) => {
                let name = format!("{}{bench}", self.workshop(repository));
                let workshop = BuildFolder::open(&name, &self.workspace.cache, progress)?;
                let clone = repository.shared_clone(&workshop.source())?;
                let id = match subject {
                    Subject::At(node) => ids[node].clone(),
                    Subject::Reverted(node) => clone.revert(&ids[ends.1], &ids[node])?,
                    Subject::Applied(node) => clone.cherry_pick(&ids[ends.0], &ids[node])?,
                };
                let source =
                    KernelSource::Git(GitCommit { path: repository.path().into(), commit: id.clone() });
                let entry = KernelSpec { patches: Vec::new(), ..self.entry(&short(&id), source, &[]) };
                let images = self.workspace.images();
                let ready = || Ok::<_, HuntError>(clone.checkout(&id)?);
                Ok(workshop.provision(&entry, &images, &self.workspace.cache, progress, ready)?)
            }
        }
    }

    /// The first of a version's sources that the archive still holds.
    fn version(&self, candidate: &Candidate, progress: &Progress) -> Result<Kernel, Trouble> {
        let Workspace { cache, .. } = &self.workspace;
        if let Some(entry) = &candidate.entry {
            return Ok(kernel::provision(entry, &self.workspace.images(), cache, progress)?);
        }
        let compiler = compiler_version(self.template.arch);
        for limit in &candidate.limits {
            let too_new = limit.compiler_below.zip(compiler).is_some_and(|(below, has)| has >= below);
            if limit.skip || too_new {
                return Err(Trouble::CannotTell(format!("left out: {}", limit.because)));
            }
        }
        let mut gone = None;
        for source in &candidate.sources {
            let entry = self.entry_of(candidate, source.clone());
            match kernel::provision(&entry, &self.workspace.images(), cache, progress) {
                Err(error) if error.is_unavailable() => gone = Some(error),
                other => return Ok(other?),
            }
        }
        Err(gone.map_or_else(
            || Trouble::CannotTell("the archive's indexes no longer have it".into()),
            Trouble::from,
        ))
    }

    fn entry_of(&self, candidate: &Candidate, source: KernelSource) -> KernelSpec {
        let limits = &candidate.limits;
        let config: Vec<String> = limits.iter().flat_map(|limit| limit.config.clone()).collect();
        let mut entry = self.entry(&candidate.name, source, &config);
        entry.patches = limits.iter().flat_map(|limit| limit.patches.clone()).chain(entry.patches).collect();
        entry
    }

    fn entry(&self, name: &str, source: KernelSource, config: &[String]) -> KernelSpec {
        let Template { arch, patches, objects, required, .. } = &self.template;
        KernelSpec {
            name: format!("{arch}-{name}"),
            arch: *arch,
            source,
            config: self.template.config.iter().chain(config).cloned().collect(),
            patches: patches.clone(),
            objects: *objects,
            required: Some(required.clone()),
        }
    }

    fn is_missing(&self, node: usize) -> bool {
        let (images, cache) = (self.workspace.images(), &self.workspace.cache);
        let found =
            |entry: &KernelSpec| Kernel::find(entry, &images, cache).is_ok_and(|kernel| kernel.is_some());
        match &*self.supply {
            Supply::Versions(candidates) => {
                let candidate = &candidates[node];
                let entries = candidate.sources.iter().map(|source| self.entry_of(candidate, source.clone()));
                !candidate.entry.iter().cloned().chain(entries).any(|entry| found(&entry))
            }
            Supply::Commits { repository, ids, .. } => {
                let source = KernelSource::Git(GitCommit {
                    path: repository.path().into(),
                    commit: ids[node].clone(),
                });
                !found(&KernelSpec { patches: Vec::new(), ..self.entry(&short(&ids[node]), source, &[]) })
            }
        }
    }

    /// The name of the workshop for a repository and a configuration.
    fn workshop(&self, repository: &Repository) -> String {
        workshop(repository.path(), &self.template)
    }
}

/// The name of the workshop for a source tree and a configuration.
pub(crate) fn workshop(tree: &Path, template: &Template) -> String {
    let parts = [tree.as_os_str().as_encoded_bytes(), template.arch.row().name.as_bytes()];
    let config = template.config.iter().map(String::as_bytes);
    cache::key(parts.into_iter().chain(config))
}

/// Runs a kernel once and evaluates the question. A recorded result is used if the same kernel, guest, scenario and
/// question already ran `number` times.
fn try_once(
    workspace: &Workspace,
    (scenario, question): (&Scenario, &Question),
    kernel: &Kernel,
    (number, fresh): (usize, bool),
    progress: &Progress,
) -> Result<Ran, Trouble> {
    let asked = serde_json::to_string(&(scenario, question)).expect("a scenario has string keys only");
    let parts = [
        env!("CARGO_PKG_VERSION").into(),
        run::state_key(workspace, scenario, kernel, progress)?,
        asked,
        kernel.name.clone(),
        // Only a verdict rests on snapshots.
        match question {
            Question::Verdict(_) => run::inputs(workspace, scenario, &kernel.name).map_err(RunError::from)?,
            _ => String::new(),
        },
    ];
    let verdicts = Verdicts::at(workspace, &cache::key(parts.iter().map(String::as_bytes)))?;
    if let Some(state) = verdicts.states.get(number).filter(|_| !fresh) {
        return Ok(Ran { state: state.clone(), folder: None });
    }
    let (state, folder) = boot(workspace, (scenario, question), kernel, progress)?;
    verdicts.add(&state)?;
    Ok(Ran { state, folder: Some(folder) })
}

/// Runs a kernel once: the observed state, and the run folder's name.
pub(crate) fn boot(
    workspace: &Workspace,
    (scenario, question): (&Scenario, &Question),
    kernel: &Kernel,
    progress: &Progress,
) -> Result<(String, String), Trouble> {
    // Runs from one saved state share everything that chance decided at boot, so they would not be independent.
    let options = Options { keep: true, starts: Starts::Cold, ..Options::default() };
    let outcome = run::run(workspace, scenario, kernel, &options, progress)?;
    let state =
        answer(question, scenario, &outcome.document, &outcome.folder).map_err(Trouble::CannotTell)?;
    let folder = outcome.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((state, folder))
}

/// Evaluates a question on a run folder.
fn answer(
    question: &Question,
    scenario: &Scenario,
    document: &Document,
    folder: &Path,
) -> Result<String, String> {
    let text = |name: &str| {
        let mut bytes = Vec::new();
        let read =
            bounded::open(&folder.join(name)).and_then(|file| file.take(TEXT_MOST).read_to_end(&mut bytes));
        read.map_err(|error| format!("cannot read {name} of the run folder: {error}"))?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let is_capture =
        |name: &&String| [".trace.txt", ".perf-script.txt"].iter().any(|end| name.ends_with(end));
    let captures =
        document.artifacts.keys().filter(is_capture).map(|name| text(name)).collect::<Result<Vec<_>, _>>()?;
    let steps = document.artifacts.keys().filter(|name| name.starts_with("steps/"));
    let last_step = steps.max().map_or(Ok(String::new()), |name| text(name))?;
    let console = text(kshot_guest::machine::CONSOLE_LOG)?;
    question.answer(&Testimony {
        scenario,
        document,
        captures: &captures,
        console: &console,
        last_step: &last_step,
    })
}

/// The recorded states of one kernel, guest, scenario and question, in the order of the runs.
struct Verdicts {
    path: PathBuf,
    states: Vec<String>,
}

impl Verdicts {
    fn at(workspace: &Workspace, key: &str) -> Result<Self, Trouble> {
        let folder = workspace.cache.root().join("verdicts");
        fs::create_dir_all(&folder).map_err(|error| host("make", &folder, error))?;
        let path = folder.join(key);
        let read = records::read(&path, never).map_err(|error| host("read", &path, error))?;
        Ok(Self { states: read.records, path })
    }

    fn add(&self, state: &str) -> Result<(), Trouble> {
        records::append(&self.path, state, never).map_err(|error| host("write", &self.path, error))
    }
}

/// No verdict without a checksum counts: `hol` of `holds` is one that nobody gave.
fn never(_: &str) -> bool {
    false
}

fn host(action: &'static str, path: &Path, source: std::io::Error) -> Trouble {
    KernelError::File(FileError { action, path: path.into(), source }).into()
}

/// The diff between the sources of two versions in `paths`; empty if one of them cannot be downloaded.
pub(crate) fn differences(
    versions: [&Candidate; 2],
    paths: &[String],
    cache: &Cache,
    progress: &Progress,
) -> Result<String, HuntError> {
    let folder = tempfile::tempdir().map_err(FileError::on("create a folder in", &std::env::temp_dir()));
    let folder = folder.map_err(KernelError::from)?;
    let mut places = Vec::new();
    for version in versions {
        let sources = version.entry.iter().map(|entry| &entry.source).chain(&version.sources);
        let place = folder.path().join(&version.name);
        for source in sources {
            match extract_paths(&version.name, source, paths, (cache, progress), &place) {
                Err(error) if error.is_unavailable() => {}
                taken => {
                    taken?;
                    break;
                }
            }
        }
        places.push(place);
    }
    Ok(kernel::diff_folders(&places[0], &places[1])?)
}

/// The first digits of a commit id.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// Whether the load average of the last minute leaves a core idle.
fn cores_are_idle() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Option<f64> = load.split(' ').next().and_then(|load| load.parse().ok());
    load.is_some_and(|load| load + 1.0 <= cores as f64)
}
