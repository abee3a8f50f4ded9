//! The interface for the commands: creates a bisection from a request, drives it, and writes its reports.

use kshot_stack::snapshot;
use std::fs;
use std::path::{Path, PathBuf};

use super::bench::{self, Bench, Habits, Supply, Template};
use super::commits::Commits;
use super::history::History;
use super::hunt::{self, HuntError, Trouble};
use super::journal::{Header, Journal, JournalError, Range, Record};
use super::plan::{Event, Outcome, Subject};
use super::question::Question;
use super::report::{Stacks, Telling};
use super::search::Search;
use super::versions::{Candidate, Span, Table};
use crate::artifacts;
use crate::run::{RunError, STACKS};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::git::Repository;
use kshot_guest::kernel::{BuildFolder, Catalogue, Kernel, KernelSource, KernelSpec, SourceTree};
use kshot_guest::progress::Progress;
use kshot_stack::text::printable;

/// How many lines of a run's stacks a report shows.
const LINES_MOST: usize = 30;

/// The candidates to search, with the good and the bad end.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) names: Vec<String>,
    pub(crate) titles: Vec<String>,
    pub(crate) history: History,
    pub(crate) good: Vec<usize>,
    pub(crate) bad: usize,
    pub(crate) notes: Vec<String>,
}

/// The result of a bisection, with its texts.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    /// The result in one or two sentences.
    pub(crate) summary: String,
    /// The report for a terminal.
    pub(crate) text: String,
}

/// The result of testing one kernel once.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// The observed state, and the run folder's name.
    Saw { state: String, folder: Option<String> },
    /// The kernel cannot be tested, with the reason.
    CannotTell(String),
}

/// Why a source tree could not be built.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The tree does not build: skip it.
    CannotTell(String),
    /// An error that ends the command.
    Stop(Box<HuntError>),
}

/// The versions within a range or a list, oldest first, that the archive's indexes list now, or that the list
/// asks for; `None` if it is neither.
///
/// # Errors
/// [`HuntError`].
pub(crate) fn version_names(
    workspace: &Workspace,
    text: &str,
    progress: &Progress,
) -> Result<Option<Vec<String>>, HuntError> {
    let candidates = candidates(workspace, text, progress)?;
    Ok(candidates.map(|candidates| candidates.into_iter().map(|one| one.name).collect()))
}

/// The commits between two revisions of the tree at `path`, and where that tree is.
///
/// # Errors
/// [`HuntError::Git`].
pub(crate) fn commit_ends(
    path: &Path,
    good: &str,
    bad: &str,
    paths: &[String],
) -> Result<(PathBuf, Ends), HuntError> {
    let repository = Repository::at(path)?;
    let found = Commits::between(&repository, good, bad, paths)?;
    let titles = repository.subjects(&found.ids)?;
    let mut notes = vec![format!("{} commits", found.history.len())];
    if found.forked {
        notes.push(format!("{good} is no ancestor of {bad}: their merge base stands for it"));
    }
    if !paths.is_empty() {
        notes.push(format!("of the commits, those that touch {}", paths.join(", ")));
    }
    let ends =
        Ends { names: found.ids, titles, history: found.history, good: found.good, bad: found.bad, notes };
    Ok((repository.path().to_owned(), ends))
}

/// Starts a bisection in a new folder.
///
/// # Errors
/// [`HuntError::Journal`].
pub(crate) fn begin(folder: &Path, header: Header) -> Result<Journal, HuntError> {
    Ok(Journal::create(folder, header)?)
}

/// Resumes an unfinished bisection.
///
/// # Errors
/// [`HuntError::Journal`].
pub(crate) fn resume(folder: &Path) -> Result<Journal, HuntError> {
    Ok(Journal::open(folder)?)
}

/// The newest unfinished bisection below `base`.
///
/// # Errors
/// [`HuntError::Journal`].
pub(crate) fn unfinished(base: &Path) -> Result<PathBuf, HuntError> {
    Ok(Journal::unfinished(base)?)
}

/// Runs a bisection to its result and writes its reports.
///
/// # Errors
/// [`HuntError`].
pub(crate) fn drive(
    mut journal: Journal,
    workspace: &Workspace,
    scenario: &Scenario,
    template: Template,
    habits: Habits,
    progress: &Progress,
) -> Result<Told, HuntError> {
    let header = journal.header().clone();
    let mut search = Search::new(header.plan.clone());
    journal.records().iter().filter_map(|record| record.event.clone()).for_each(|event| search.record(event));
    let supply = supply(&header, workspace, progress)?;
    let known = supply.clone();
    let workspace = Workspace { runs: journal.folder().join("runs"), ..workspace.clone() };
    let mut bench =
        Bench::new(workspace.clone(), (scenario, &header.question), template, supply, habits, progress);
    let outcome = hunt::hunt(&mut search, &mut journal, &mut bench, progress)?;
    drop(bench);
    let mut stacks = stacks(&journal, &outcome)?;
    if let (Supply::Versions(candidates), Outcome::Found { changes, .. }) = (&known, &outcome) {
        for change in changes.iter().filter(|_| !header.paths.is_empty()) {
            let pair = [change.before[0], change.culprit()].map(|node| &candidates[node]);
            stacks.commit.push_str(&bench::differences(pair, &header.paths, &workspace.cache, progress)?);
        }
    }
    let telling = Telling { header: &header, records: journal.records(), outcome: &outcome, stacks: &stacks };
    let mut reports = vec![("report.md", telling.markdown())];
    reports.extend(telling.mail().map(|mail| ("mail.txt", mail)));
    journal.finish(&outcome, &reports)?;
    Ok(Told { summary: telling.sentence(), text: telling.text(), outcome })
}

/// Tests one kernel once.
///
/// # Errors
/// [`HuntError`]: what is not the kernel's fault.
pub(crate) fn ask(
    workspace: &Workspace,
    (scenario, question): (&Scenario, &Question),
    kernel: &Kernel,
    progress: &Progress,
) -> Result<Asked, HuntError> {
    let scenario = question.prepare(scenario.clone());
    let mut kernel = kernel.clone();
    if let Question::Verdict(name) = question {
        (kernel.name, kernel.in_catalogue) = (name.clone(), true);
    }
    match bench::boot(workspace, (&scenario, question), &kernel, progress) {
        Ok((state, folder)) => Ok(Asked::Saw { state, folder: Some(folder) }),
        Err(Trouble::CannotTell(why)) => Ok(Asked::CannotTell(why)),
        Err(Trouble::Host(error) | Trouble::Stop(error)) => Err(error),
    }
}

/// Builds the source tree `tree` as it is, into the folder `into`.
///
/// # Errors
/// [`Failed`].
pub(crate) fn build_tree(
    workspace: &Workspace,
    template: &Template,
    (tree, into): (&Path, &Path),
    progress: &Progress,
) -> Result<Kernel, Failed> {
    let build = || -> Result<Kernel, Trouble> {
        let tree = Repository::at(tree)?.path().to_owned();
        // A folder of its own, apart from that of `kshot bisect --git`: object files depend on the source folder.
        let name = format!("{}-tree", bench::workshop(&tree, template));
        let workshop = BuildFolder::open(&name, &workspace.cache, progress)?;
        let entry = KernelSpec {
            name: format!("{}-tree", template.arch),
            arch: template.arch,
            source: KernelSource::Directory(SourceTree { path: tree.clone() }),
            config: template.config.clone(),
            patches: Vec::new(),
            objects: template.objects,
            required: Some(template.required.clone()),
        };
        Ok(workshop.build_tree(&entry, (&tree, into), &workspace.images(), &workspace.cache, progress)?)
    };
    build().map_err(|trouble| match trouble {
        Trouble::CannotTell(why) => Failed::CannotTell(why),
        Trouble::Host(error) | Trouble::Stop(error) => Failed::Stop(Box::new(error)),
    })
}

fn supply(header: &Header, workspace: &Workspace, progress: &Progress) -> Result<Supply, HuntError> {
    match &header.range {
        Range::Versions(text) => {
            let listed = candidates(workspace, text, progress)?.unwrap_or_default();
            let find = |name: &String| {
                let found = listed.iter().find(|candidate| candidate.name == *name).cloned();
                // The archive may have changed since the bisection was started.
                found.unwrap_or_else(|| Candidate::hole(name))
            };
            Ok(Supply::Versions(header.names.iter().map(find).collect()))
        }
        Range::Git(path) => {
            let plan = &header.plan;
            let good = plan.good.first().copied().unwrap_or(0);
            let ends = (good.min(plan.bad), good.max(plan.bad));
            Ok(Supply::Commits { repository: Repository::at(path)?, ids: header.names.clone(), ends })
        }
    }
}

/// The candidates of a list of versions, ranges of them, and names of the catalogue: what it names and the indexes
/// lack is a hole, found when it is tried.
fn candidates(
    workspace: &Workspace,
    text: &str,
    progress: &Progress,
) -> Result<Option<Vec<Candidate>>, HuntError> {
    let table = Table::load(&workspace.images())?;
    let catalogue = Catalogue::load(&workspace.images().kernels_yaml())?;
    let mut all = Vec::new();
    for name in text.split(',').map(str::trim) {
        if let Some(entry) = catalogue.get(name) {
            all.push(Candidate { entry: Some(entry.clone()), ..Candidate::hole(name) });
            continue;
        }
        let Some(span) = Span::parse(name) else { return Ok(None) };
        let mut listed = table.candidates(&span, &workspace.cache, progress)?;
        if listed.is_empty() {
            listed.push(Candidate::hole(name));
        }
        all.append(&mut listed);
    }
    Ok(Some(all))
}

/// The stacks of a run before the change and of one after it, and the culprit.
fn stacks(journal: &Journal, outcome: &Outcome) -> Result<Stacks, HuntError> {
    let Outcome::Found { changes, .. } = outcome else { return Ok(Stacks::default()) };
    let Some(change) = changes.last() else { return Ok(Stacks::default()) };
    let mut stacks = Stacks::default();
    if let (Range::Git(path), [only]) = (&journal.header().range, change.suspects.as_slice()) {
        let repository = Repository::at(path)?;
        stacks.commit = repository.show(&journal.header().names[*only])?;
        let author = stacks.commit.lines().find_map(|line| line.strip_prefix("Author: "));
        stacks.author = author.unwrap_or_default().to_owned();
    }
    let shown = |node: usize| -> Result<String, HuntError> {
        let folder = journal.records().iter().rev().find_map(|record| match record {
            Record { event: Some(Event::Ran { subject, .. }), folder: Some(folder), .. }
                if *subject == Subject::At(node) =>
            {
                Some(folder)
            }
            _ => None,
        });
        folder.map_or(Ok(String::new()), |folder| shown(&journal.folder().join("runs").join(folder)))
    };
    stacks.after = shown(change.culprit())?;
    stacks.before = change.before.first().map_or(Ok(String::new()), |&node| shown(node))?;
    Ok(stacks)
}

/// The stacks of a run folder: decoded if there was DWARF, otherwise as ftrace printed them, otherwise in the form of
/// snapshots.
fn shown(folder: &Path) -> Result<String, HuntError> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).map_err(|source| JournalError::Io { action: "read", path, source })?;
        Ok::<_, HuntError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let cut = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).take(LINES_MOST);
        lines.map(|line| printable(line.as_bytes())).collect::<Vec<_>>().join("\n")
    };
    if folder.join(STACKS).is_file() {
        return Ok(cut(&read(folder.join(STACKS))?));
    }
    let document = artifacts::read(folder).map_err(RunError::from)?;
    if let Some(name) = document.artifacts.keys().find(|name| name.ends_with(".trace.txt")) {
        return Ok(cut(&read(folder.join(name))?));
    }
    Ok(cut(&document.probes.iter().map(snapshot::text).collect::<Vec<_>>().join("\n")))
}
