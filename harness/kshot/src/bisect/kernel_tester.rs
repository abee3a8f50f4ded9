//! Builds and runs real kernels of versions or commits.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::answers::{AskedScenario, RecordedAnswers, run_once};
use super::driver::{BisectError, BuiltCandidate, CandidateError, TestRun, Tester};
use super::plan::Candidate;
use super::question::Question;
use super::versions::VersionCandidate;
use crate::run::RunContext;
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::git::Repository;
use kshot_guest::host::cache::{self, Cache};
use kshot_guest::host::{FileError, ScratchFolder, compiler_version};
use kshot_guest::kernel::{
    self, BuildFolder, GitCommit, Kernel, KernelError, KernelSource, KernelSpec, extract_paths,
};
use kshot_guest::progress::Progress;
use kshot_stack::arch::Arch;

/// How the kernels of a bisection are configured.
#[derive(Clone, Debug)]
pub(crate) struct BuildTemplate {
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
pub(crate) enum CandidateSet {
    /// Versions from Debian's archive.
    Versions(Vec<VersionCandidate>),
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
struct CandidateBuilder {
    workspace: Workspace,
    template: BuildTemplate,
    candidates: Arc<CandidateSet>,
}

/// What a commit is built with.
struct CommitBuild {
    build_folder: BuildFolder,
    /// kshot's own clone, in the build folder.
    clone: Repository,
    id: String,
    spec: KernelSpec,
}

/// Builds and runs real kernels.
#[derive(Debug)]
pub(crate) struct KernelTester<'a> {
    builder: CandidateBuilder,
    scenario: Scenario,
    question: Question,
    kernels: BTreeMap<Candidate, Kernel>,
    /// The candidate that was built last.
    last_built: Option<Candidate>,
    /// Whether recorded results are ignored.
    fresh: bool,
    /// Whether kernels are built ahead while cores are idle.
    speculate: bool,
    ahead_thread: Option<JoinHandle<()>>,
    progress: &'a Progress,
}

/// Options of a tester.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TesterOptions {
    /// Verdicts on file do not count.
    pub(crate) ignore_recorded: bool,
    /// Kernels are built ahead while cores are idle.
    pub(crate) build_ahead: bool,
}

impl<'a> KernelTester<'a> {
    /// A tester whose run folders go to `workspace.runs_folder`.
    pub(crate) fn new(
        workspace: Workspace,
        asked: AskedScenario<'_>,
        template: BuildTemplate,
        candidates: CandidateSet,
        options: TesterOptions,
        progress: &'a Progress,
    ) -> Self {
        Self {
            builder: CandidateBuilder { workspace, template, candidates: Arc::new(candidates) },
            scenario: asked.question.add_step(asked.scenario.clone()),
            question: asked.question.clone(),
            kernels: BTreeMap::new(),
            last_built: None,
            fresh: options.ignore_recorded,
            speculate: options.build_ahead,
            ahead_thread: None,
            progress,
        }
    }

    fn kernel(&mut self, candidate: Candidate) -> Result<Kernel, CandidateError> {
        if let Some(kernel) = self.kernels.get(&candidate) {
            return Ok(kernel.clone());
        }
        let mut kernel = self.builder.build(candidate, "", self.progress)?;
        self.last_built = Some(candidate);
        (kernel.name, kernel.in_catalogue) = match &self.question {
            Question::Verdict(name) => (name.clone(), true),
            _ => (kernel.name, false),
        };
        self.kernels.insert(candidate, kernel.clone());
        Ok(kernel)
    }
}

impl Tester for KernelTester<'_> {
    fn name(&self, candidate: Candidate) -> String {
        match candidate {
            Candidate::Node(node) => self.builder.candidates.name(node),
            Candidate::Reverted(node) => {
                format!(
                    "{} without {}",
                    self.builder.candidates.end(true),
                    self.builder.candidates.name(node)
                )
            }
            Candidate::Applied(node) => {
                format!("{} with {}", self.builder.candidates.end(false), self.builder.candidates.name(node))
            }
        }
    }

    fn build(&mut self, candidate: Candidate) -> Result<BuiltCandidate, CandidateError> {
        let kernel = self.kernel(candidate)?;
        let notes = kernel.lost.iter().map(|line| format!("not in this version: {line}")).collect();
        Ok(BuiltCandidate { image_sha256: kernel.sha256, release: kernel.release, notes })
    }

    fn run(&mut self, candidate: Candidate, number: usize) -> Result<TestRun, CandidateError> {
        let kernel = self.kernel(candidate)?;
        let asked = AskedScenario { scenario: &self.scenario, question: &self.question };
        let context =
            RunContext { workspace: &self.builder.workspace, kernel: &kernel, progress: self.progress };
        let mut recorded = RecordedAnswers::of(context, asked)?;
        if self.fresh && number == 0 {
            // What counts for this search counts for later ones.
            recorded.forget()?;
        }
        if let Some(answer) = recorded.answers.get(number).filter(|_| !self.fresh) {
            return Ok(TestRun { answer: answer.clone(), run_folder: None });
        }
        let run = run_once(context, asked)?;
        recorded.add(&run.answer)?;
        Ok(run)
    }

    fn build_last_again(&mut self) -> Result<(), CandidateError> {
        let Some(last) = self.last_built else { return Ok(()) };
        self.progress.print_line(&format!(
            "the build failed without saying why; building {} again, to check that this host still can",
            self.name(last)
        ));
        self.builder.build_again(last, self.progress)
    }

    fn build_ahead(&mut self, nodes: &[usize]) {
        let busy = self.ahead_thread.as_ref().is_some_and(|thread| !thread.is_finished());
        let missing: Vec<usize> =
            nodes.iter().copied().filter(|&node| self.builder.is_unbuilt(node)).collect();
        if !self.speculate || busy || missing.is_empty() || !cores_are_idle() {
            return;
        }
        let builder = self.builder.clone();
        // A build that fails here fails again when it is requested, and is reported then.
        self.ahead_thread = Some(std::thread::spawn(move || {
            for node in missing.into_iter().take(2) {
                drop(builder.build(Candidate::Node(node), "-ahead", &Progress::silent()));
            }
        }));
    }
}

impl Drop for KernelTester<'_> {
    fn drop(&mut self) {
        if let Some(thread) = self.ahead_thread.take() {
            if !thread.is_finished() {
                self.progress
                    .print_line("waiting for a kernel that is being built ahead; it stays in the cache");
            }
            drop(thread.join());
        }
    }
}

impl CandidateSet {
    fn name(&self, node: usize) -> String {
        match self {
            Self::Versions(candidates) => candidates[node].name.clone(),
            Self::Commits { ids, .. } => short_id(&ids[node]),
        }
    }

    fn end(&self, newer: bool) -> String {
        match self {
            Self::Versions(candidates) => {
                let end = if newer { candidates.last() } else { candidates.first() };
                end.map(|candidate| candidate.name.clone()).unwrap_or_default()
            }
            Self::Commits { ids, ends, .. } => short_id(&ids[if newer { ends.1 } else { ends.0 }]),
        }
    }
}

impl CandidateBuilder {
    fn build(
        &self,
        candidate: Candidate,
        name_suffix: &str,
        progress: &Progress,
    ) -> Result<Kernel, CandidateError> {
        match (&*self.candidates, candidate) {
            (CandidateSet::Versions(candidates), Candidate::Node(node)) => {
                self.version(&candidates[node], progress)
            }
            (CandidateSet::Versions(_), _) => {
                Err(CandidateError::Skip("a version cannot be reverted".into()))
            }
            (CandidateSet::Commits { .. }, _) => {
                let CommitBuild { build_folder, clone, id, spec } =
                    self.commit_build(candidate, name_suffix, progress)?;
                let ready = || Ok::<_, BisectError>(clone.checkout(&id)?);
                Ok(build_folder.provision(&spec, &self.workspace.provisioning(progress), ready)?)
            }
        }
    }

    /// Builds a candidate whose kernel is in the cache once more.
    fn build_again(&self, candidate: Candidate, progress: &Progress) -> Result<(), CandidateError> {
        let context = self.workspace.provisioning(progress);
        if let (CandidateSet::Versions(candidates), Candidate::Node(node)) = (&*self.candidates, candidate) {
            let version = &candidates[node];
            let sources = version.sources.iter().map(|source| self.candidate_spec(version, source.clone()));
            let specs: Vec<KernelSpec> = version.entry.iter().cloned().chain(sources).collect();
            let built = specs.iter().find(|spec| {
                Kernel::find(spec, &context.images, context.cache).is_ok_and(|kernel| kernel.is_some())
            });
            // A prebuilt kernel says nothing of this host's compiler.
            return match built {
                Some(spec) if !matches!(spec.source, KernelSource::DebianPackage(_)) => {
                    Ok(kernel::build_again(spec, &context)?)
                }
                _ => Ok(()),
            };
        }
        let CommitBuild { build_folder, clone, id, spec } = self.commit_build(candidate, "", progress)?;
        let ready = || Ok::<_, BisectError>(clone.checkout(&id)?);
        Ok(build_folder.build_again(&spec, &context, ready)?)
    }

    fn commit_build(
        &self,
        candidate: Candidate,
        name_suffix: &str,
        progress: &Progress,
    ) -> Result<CommitBuild, CandidateError> {
        let CandidateSet::Commits { repository, ids, ends } = &*self.candidates else {
            return Err(CandidateError::Skip("a version is not a commit".into()));
        };
        let name = format!("{}{name_suffix}", self.build_folder_name(repository));
        let build_folder = BuildFolder::open(&name, &self.workspace.cache, progress)?;
        let clone = repository.shared_clone(&build_folder.source())?;
        let id = match candidate {
            Candidate::Node(node) => ids[node].clone(),
            Candidate::Reverted(node) => clone.revert(&ids[ends.1], &ids[node])?,
            Candidate::Applied(node) => clone.cherry_pick(&ids[ends.0], &ids[node])?,
        };
        let source = KernelSource::Git(GitCommit { path: repository.path().into(), commit: id.clone() });
        let spec = KernelSpec { patches: Vec::new(), ..self.spec(&short_id(&id), source, &[]) };
        Ok(CommitBuild { build_folder, clone, id, spec })
    }

    /// The first of a version's sources that the archive still holds.
    fn version(&self, candidate: &VersionCandidate, progress: &Progress) -> Result<Kernel, CandidateError> {
        if let Some(entry) = &candidate.entry {
            return Ok(kernel::provision(entry, &self.workspace.provisioning(progress))?);
        }
        let compiler = compiler_version(self.template.arch);
        for limit in &candidate.limits {
            let too_new = limit.compiler_below.zip(compiler).is_some_and(|(below, has)| has >= below);
            if limit.skip || too_new {
                return Err(CandidateError::Skip(format!("left out: {}", limit.because)));
            }
        }
        let mut gone = None;
        for source in &candidate.sources {
            let entry = self.candidate_spec(candidate, source.clone());
            match kernel::provision(&entry, &self.workspace.provisioning(progress)) {
                Err(error) if error.is_unavailable() => gone = Some(error),
                other => return Ok(other?),
            }
        }
        Err(gone.map_or_else(
            || CandidateError::Skip("the archive's indexes no longer have it".into()),
            CandidateError::from,
        ))
    }

    fn candidate_spec(&self, candidate: &VersionCandidate, source: KernelSource) -> KernelSpec {
        let limits = &candidate.limits;
        let config: Vec<String> = limits.iter().flat_map(|limit| limit.config.clone()).collect();
        let mut entry = self.spec(&candidate.name, source, &config);
        entry.patches = limits.iter().flat_map(|limit| limit.patches.clone()).chain(entry.patches).collect();
        entry
    }

    fn spec(&self, name: &str, source: KernelSource, config: &[String]) -> KernelSpec {
        let BuildTemplate { arch, patches, objects, required, .. } = &self.template;
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

    fn is_unbuilt(&self, node: usize) -> bool {
        let (images, cache) = (self.workspace.images(), &self.workspace.cache);
        let found =
            |entry: &KernelSpec| Kernel::find(entry, &images, cache).is_ok_and(|kernel| kernel.is_some());
        match &*self.candidates {
            CandidateSet::Versions(candidates) => {
                let candidate = &candidates[node];
                let entries =
                    candidate.sources.iter().map(|source| self.candidate_spec(candidate, source.clone()));
                !candidate.entry.iter().cloned().chain(entries).any(|entry| found(&entry))
            }
            CandidateSet::Commits { repository, ids, .. } => {
                let source = KernelSource::Git(GitCommit {
                    path: repository.path().into(),
                    commit: ids[node].clone(),
                });
                !found(&KernelSpec { patches: Vec::new(), ..self.spec(&short_id(&ids[node]), source, &[]) })
            }
        }
    }

    /// The name of the build folder for a repository and a configuration.
    fn build_folder_name(&self, repository: &Repository) -> String {
        build_folder_name(repository.path(), &self.template)
    }
}

/// The name of the build folder for a source tree and a configuration.
pub(crate) fn build_folder_name(tree: &Path, template: &BuildTemplate) -> String {
    let parts = [tree.as_os_str().as_encoded_bytes(), template.arch.row().name.as_bytes()];
    let config = template.config.iter().map(String::as_bytes);
    cache::key(parts.into_iter().chain(config))
}

/// The diff between the sources of two versions in `paths`; empty if one of them cannot be downloaded.
pub(crate) fn differences(
    versions: [&VersionCandidate; 2],
    paths: &[String],
    cache: &Cache,
    progress: &Progress,
) -> Result<String, BisectError> {
    let folder = ScratchFolder::create().map_err(FileError::on("create a folder in", &std::env::temp_dir()));
    let folder = folder.map_err(KernelError::from)?;
    let mut extracted = Vec::new();
    for version in versions {
        let sources = version.entry.iter().map(|entry| &entry.source).chain(&version.sources);
        let into = folder.path().join(&version.name);
        for source in sources {
            match extract_paths(&version.name, source, paths, &into, cache, progress) {
                Err(error) if error.is_unavailable() => {}
                taken => {
                    taken?;
                    break;
                }
            }
        }
        extracted.push(into);
    }
    Ok(kernel::diff_folders(&extracted[0], &extracted[1])?)
}

/// The first digits of a commit id; versions and names of kernels as they are.
pub(crate) fn short_id(id: &str) -> String {
    let is_commit = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.chars().take(if is_commit { 12 } else { usize::MAX }).collect()
}

/// Whether the load average of the last minute leaves a core idle.
fn cores_are_idle() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Option<f64> = load.split(' ').next().and_then(|load| load.parse().ok());
    load.is_some_and(|load| load + 1.0 <= cores as f64)
}
