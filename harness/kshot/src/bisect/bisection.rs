//! The interface for the commands: creates a bisection from a request, drives it, and writes its reports.

use kshot_stack::snapshot;
use std::fs;
use std::path::{Path, PathBuf};

use super::answers::{AskedScenario, run_once};
use super::bisector::Bisector;
use super::commits::CommitRange;
use super::driver::{self, BisectError, CandidateError, TestRun};
use super::graph::CandidateGraph;
use super::kernel_tester::{self, BuildTemplate, CandidateSet, KernelTester, TesterOptions};
use super::log::{BisectLog, BisectLogError, BisectRequest, CandidateSource, LogEntry};
use super::plan::{BisectionResult, Candidate, SearchEvent};
use super::question::Question;
use super::report::{BisectReport, ChangeEvidence};
use super::versions::{VersionCandidate, VersionRange, VersionTable};
use crate::artifacts;
use crate::run::{DECODED_STACKS, RunContext, RunError};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::git::Repository;
use kshot_guest::host::FileError;
use kshot_guest::kernel::{
    BuildFolder, BuildPaths, GitCommit, Kernel, KernelError, KernelSource, KernelSpec, SourceTree,
};
use kshot_guest::progress::Progress;
use kshot_stack::text::printable;

/// How many lines of a run's stacks a report shows.
const MAX_STACK_LINES: usize = 30;

/// The candidates to search, with the good and the bad end. A node is a candidate's place in `names`.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    /// The versions or full commit ids.
    pub(crate) names: Vec<String>,
    /// The subjects of the commits; none of versions.
    pub(crate) titles: Vec<String>,
    /// The candidates and their parents.
    pub(crate) history: CandidateGraph,
    /// The good ends: one node, the merge bases, or none if no good version is given.
    pub(crate) good: Vec<usize>,
    /// The bad end.
    pub(crate) bad: usize,
    /// What the report says of how the candidates were found.
    pub(crate) notes: Vec<String>,
}

/// The result of a bisection, with its texts.
#[derive(Clone, Debug)]
pub(crate) struct BisectSummary {
    pub(crate) outcome: BisectionResult,
    /// The result in one or two sentences.
    pub(crate) summary: String,
    /// The report for a terminal.
    pub(crate) text: String,
}

/// The result of testing one kernel once.
#[derive(Clone, Debug)]
pub(crate) enum TestResult {
    /// The answer, and the run folder's name.
    Ran { answer: String, folder: Option<String> },
    /// The kernel cannot be tested, with the reason.
    Skip(String),
}

/// Why a source tree could not be built.
#[derive(Debug)]
pub(crate) enum TreeBuildError {
    /// The tree does not build: skip it.
    Skip(String),
    /// An error that ends the command.
    Abort(Box<BisectError>),
}

/// The versions within a range or a list, oldest first, that the archive's indexes list now, or that the list
/// asks for; `None` if it is neither.
///
/// # Errors
/// [`BisectError`].
pub(crate) fn list_versions(
    workspace: &Workspace,
    text: &str,
    progress: &Progress,
) -> Result<Option<Vec<String>>, BisectError> {
    let candidates = candidates(workspace, text, progress)?;
    Ok(candidates.map(|candidates| candidates.into_iter().map(|one| one.name).collect()))
}

/// The commits between two revisions of the tree at `path`, and where that tree is.
///
/// # Errors
/// [`BisectError::Git`].
pub(crate) fn commit_range(
    path: &Path,
    good: &str,
    bad: &str,
    paths: &[String],
) -> Result<(PathBuf, Candidates), BisectError> {
    let repository = Repository::at(path)?;
    let found = CommitRange::between(&repository, good, bad, paths)?;
    let titles = repository.subjects(&found.ids)?;
    let mut notes = vec![format!("{} commits", found.history.len())];
    if found.forked {
        notes.push(format!("{good} is not an ancestor of {bad}: their merge base is used instead"));
    }
    if !paths.is_empty() {
        notes.push(format!("only the commits that touch {}", paths.join(", ")));
    }
    let ends = Candidates {
        names: found.ids,
        titles,
        history: found.history,
        good: found.good,
        bad: found.bad,
        notes,
    };
    Ok((repository.path().to_owned(), ends))
}

/// Starts a bisection in a new folder.
///
/// # Errors
/// [`BisectError::Log`].
pub(crate) fn create(folder: &Path, header: BisectRequest) -> Result<BisectLog, BisectError> {
    Ok(BisectLog::create(folder, header)?)
}

/// Resumes an unfinished bisection.
///
/// # Errors
/// [`BisectError::Log`].
pub(crate) fn resume(folder: &Path) -> Result<BisectLog, BisectError> {
    Ok(BisectLog::open(folder)?)
}

/// The newest unfinished bisection below `base`.
///
/// # Errors
/// [`BisectError::Log`].
pub(crate) fn newest_unfinished(base: &Path) -> Result<PathBuf, BisectError> {
    Ok(BisectLog::unfinished(base)?)
}

/// Runs a bisection to its result and writes its reports.
///
/// # Errors
/// [`BisectError`].
pub(crate) fn run(
    mut log: BisectLog,
    workspace: &Workspace,
    scenario: &Scenario,
    template: BuildTemplate,
    options: TesterOptions,
    progress: &Progress,
) -> Result<BisectSummary, BisectError> {
    let header = log.header().clone();
    let mut search = Bisector::new(header.plan.clone());
    log.entries().iter().filter_map(|record| record.event.clone()).for_each(|event| search.add_event(event));
    let candidates = candidate_set(&header, workspace, progress)?;
    let known = candidates.clone();
    let workspace = Workspace { runs_folder: log.folder().join("runs"), ..workspace.clone() };
    let mut tester = KernelTester::new(
        workspace.clone(),
        AskedScenario { scenario, question: &header.question },
        template,
        candidates,
        options,
        progress,
    );
    let outcome = driver::drive_search(&mut search, &mut log, &mut tester, progress)?;
    drop(tester);
    let mut evidence = evidence_of(&log, &outcome)?;
    if let (CandidateSet::Versions(candidates), BisectionResult::Found { changes, .. }) = (&known, &outcome) {
        for change in changes.iter().filter(|_| !header.paths.is_empty()) {
            let pair = [change.parents[0], change.culprit()].map(|node| &candidates[node]);
            let differences = kernel_tester::differences(pair, &header.paths, &workspace.cache, progress);
            let differences = evidence.or_missing(differences)?;
            evidence.commit.push_str(&differences);
        }
    }
    let report =
        BisectReport { header: &header, records: log.entries(), outcome: &outcome, evidence: &evidence };
    let mut reports = vec![("report.md", report.markdown())];
    reports.extend(report.mail().map(|mail| ("mail.txt", mail)));
    log.finish(&outcome, &reports)?;
    Ok(BisectSummary { summary: report.summary(), text: report.text(), outcome })
}

/// Tests one kernel once.
///
/// # Errors
/// [`BisectError`]: what is not the kernel's fault.
pub(crate) fn test_once(
    context: RunContext<'_>,
    asked: AskedScenario<'_>,
) -> Result<TestResult, BisectError> {
    let scenario = asked.question.add_step(asked.scenario.clone());
    let mut kernel = context.kernel.clone();
    if let Question::Verdict(name) = asked.question {
        (kernel.name, kernel.in_catalogue) = (name.clone(), true);
    }
    let asked = AskedScenario { scenario: &scenario, ..asked };
    match run_once(RunContext { kernel: &kernel, ..context }, asked) {
        Ok(TestRun { answer, run_folder }) => Ok(TestResult::Ran { answer, folder: run_folder }),
        Err(CandidateError::Skip(why) | CandidateError::InDoubt(why)) => Ok(TestResult::Skip(why)),
        Err(CandidateError::Host(error) | CandidateError::Abort(error)) => Err(error),
    }
}

/// Builds a source tree as it is. A build that fails without saying why is made once more: where that fails
/// as well, the commit that was built last is built again, to see that this host still can.
///
/// # Errors
/// [`TreeBuildError`].
pub(crate) fn build_tree(
    workspace: &Workspace,
    template: &BuildTemplate,
    paths: BuildPaths<'_>,
    progress: &Progress,
) -> Result<Kernel, TreeBuildError> {
    let builder = TreeBuilder { workspace, template, progress };
    let built = Repository::at(paths.tree)
        .map_err(CandidateError::from)
        .and_then(|repository| builder.build_or_prove(&repository, paths.into));
    built.map_err(|trouble| match trouble {
        CandidateError::Skip(why) | CandidateError::InDoubt(why) => TreeBuildError::Skip(why),
        CandidateError::Host(error) | CandidateError::Abort(error) => TreeBuildError::Abort(Box::new(error)),
    })
}

/// Builds source trees in place, for steps of `git bisect run`.
struct TreeBuilder<'a> {
    workspace: &'a Workspace,
    template: &'a BuildTemplate,
    progress: &'a Progress,
}

impl TreeBuilder<'_> {
    fn build_or_prove(&self, repository: &Repository, into: &Path) -> Result<Kernel, CandidateError> {
        let tree = repository.path().to_owned();
        if !tree.join("Makefile").is_file() {
            let (said, remedy) = ("it has no Makefile".into(), "name a kernel's source tree: --tree DIR");
            return Err(KernelError::TreeRefused { tree, said, remedy }.into());
        }
        let workspace = self.workspace;
        // A folder of its own, apart from that of `kshot bisect --git`: object files depend on the source
        // folder.
        let name = format!("{}-tree", kernel_tester::build_folder_name(&tree, self.template));
        let build_folder = BuildFolder::open(&name, &workspace.cache, self.progress)?;
        let spec = self.spec(KernelSource::Directory(SourceTree { path: tree.clone() }));
        let build = || -> Result<Kernel, CandidateError> {
            let paths = BuildPaths { tree: &tree, into };
            Ok(build_folder.build_tree(&spec, paths, &workspace.provisioning(self.progress))?)
        };
        let mut built = build();
        if let Err(CandidateError::InDoubt(_)) = built {
            self.progress.print_line("the build failed without saying why; building again");
            built = build();
        }
        match built {
            Ok(kernel) => {
                // What is not committed is in no clone: such a tree proves nothing later.
                if let Some(commit) = repository.clean_head()? {
                    build_folder.note_built(&commit)?;
                }
                Ok(kernel)
            }
            Err(CandidateError::InDoubt(why)) => {
                if let Some(commit) = build_folder.last_built() {
                    self.build_again(repository, &name, &commit)?;
                }
                Err(CandidateError::Skip(why))
            }
            Err(error) => Err(error),
        }
    }

    /// Builds a commit that was built before in a clone. That it fails is the host's fault.
    fn build_again(&self, repository: &Repository, name: &str, commit: &str) -> Result<(), CandidateError> {
        let Workspace { cache, .. } = self.workspace;
        self.progress.print_line(&format!(
            "the build failed without saying why; building {} again, to check that this host still can",
            kernel_tester::short_id(commit)
        ));
        let proof = BuildFolder::open(&format!("{name}-proof"), cache, self.progress)?;
        let clone = repository.shared_clone(&proof.source())?;
        let source =
            KernelSource::Git(GitCommit { path: repository.path().into(), commit: commit.to_owned() });
        let ready = || Ok::<_, BisectError>(clone.checkout(commit)?);
        let built = proof.build_again(&self.spec(source), &self.workspace.provisioning(self.progress), ready);
        built.map_err(|error| CandidateError::Host(BisectError::HostCannotBuild { source: Box::new(error) }))
    }

    fn spec(&self, source: KernelSource) -> KernelSpec {
        let template = self.template;
        KernelSpec {
            name: format!("{}-tree", template.arch),
            arch: template.arch,
            source,
            config: template.config.clone(),
            patches: Vec::new(),
            objects: template.objects,
            required: Some(template.required.clone()),
        }
    }
}

fn candidate_set(
    header: &BisectRequest,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<CandidateSet, BisectError> {
    match &header.range {
        CandidateSource::Versions(text) => {
            let listed = candidates(workspace, text, progress)?.unwrap_or_default();
            let find = |name: &String| {
                let found = listed.iter().find(|candidate| candidate.name == *name).cloned();
                // The archive may have changed since the bisection was started.
                found.unwrap_or_else(|| VersionCandidate::unlisted(name))
            };
            Ok(CandidateSet::Versions(header.names.iter().map(find).collect()))
        }
        CandidateSource::Git(path) => {
            let plan = &header.plan;
            let good = plan.good.first().copied().unwrap_or(0);
            let ends = (good.min(plan.bad), good.max(plan.bad));
            Ok(CandidateSet::Commits { repository: Repository::at(path)?, ids: header.names.clone(), ends })
        }
    }
}

/// The candidates of a list of versions, ranges of versions, and catalogue names. A version that is listed
/// and in no index becomes a candidate all the same; it is skipped when it is tried.
fn candidates(
    workspace: &Workspace,
    text: &str,
    progress: &Progress,
) -> Result<Option<Vec<VersionCandidate>>, BisectError> {
    let table = VersionTable::load(&workspace.images())?;
    let catalogue = workspace.catalogue()?;
    let mut all = Vec::new();
    for name in text.split(',').map(str::trim) {
        if let Some(entry) = catalogue.get(name) {
            all.push(VersionCandidate { entry: Some(entry.clone()), ..VersionCandidate::unlisted(name) });
            continue;
        }
        let Some(span) = VersionRange::parse(name) else { return Ok(None) };
        let mut listed = table.candidates(&span, &workspace.cache, progress)?;
        if listed.is_empty() {
            listed.push(VersionCandidate::unlisted(name));
        }
        all.append(&mut listed);
    }
    Ok(Some(all))
}

/// The stacks of a run before the change and of one after it, and the culprit.
fn evidence_of(log: &BisectLog, outcome: &BisectionResult) -> Result<ChangeEvidence, BisectError> {
    let mut evidence = ChangeEvidence::default();
    let BisectionResult::Found { changes, .. } = outcome else { return Ok(evidence) };
    let Some(change) = changes.last() else { return Ok(evidence) };
    if let (CandidateSource::Git(path), [only]) = (&log.header().range, change.suspects.as_slice()) {
        let commit = Repository::at(path).and_then(|repository| repository.show(&log.header().names[*only]));
        evidence.commit = evidence.or_missing(commit.map_err(BisectError::from))?;
        let author = evidence.commit.lines().find_map(|line| line.strip_prefix("Author: "));
        evidence.author = author.unwrap_or_default().to_owned();
    }
    let shown = |node: usize| -> Result<String, BisectError> {
        let folder = log.entries().iter().rev().find_map(|record| match record {
            LogEntry {
                event: Some(SearchEvent::Ran { candidate, .. }), run_folder: Some(folder), ..
            } if *candidate == Candidate::Node(node) => Some(folder),
            _ => None,
        });
        folder.map_or(Ok(String::new()), |folder| run_stacks(&log.folder().join("runs").join(folder)))
    };
    evidence.after = evidence.or_missing(shown(change.culprit()))?;
    evidence.before = match change.parents.first() {
        Some(&node) => evidence.or_missing(shown(node))?,
        None => String::new(),
    };
    Ok(evidence)
}

/// The stacks of a run folder: decoded if there was DWARF, otherwise as ftrace printed them, otherwise in the
/// form of snapshots.
fn run_stacks(folder: &Path) -> Result<String, BisectError> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).map_err(FileError::on("read", &path)).map_err(BisectLogError::from)?;
        Ok::<_, BisectError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let cut = |text: &str| {
        let lines =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).take(MAX_STACK_LINES);
        lines.map(|line| printable(line.as_bytes())).collect::<Vec<_>>().join("\n")
    };
    if folder.join(DECODED_STACKS).is_file() {
        return Ok(cut(&read(folder.join(DECODED_STACKS))?));
    }
    let document = artifacts::read_document(folder).map_err(RunError::from)?;
    if let Some(name) = document.artifacts.keys().find(|name| name.ends_with(".trace.txt")) {
        return Ok(cut(&read(folder.join(name))?));
    }
    Ok(cut(&document.probes.iter().map(snapshot::snapshot_text).collect::<Vec<_>>().join("\n")))
}
