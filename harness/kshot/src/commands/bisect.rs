//! `kshot bisect`: find where a stack changed, over versions or over commits.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::question::{BuildArgs, BuildChoice, QuestionArgs, template};
use super::select::Selector;
use super::{CommandError, Format, Streams, paths};
use crate::artifacts::RunTime;
use crate::bisect::{
    self, BisectRequest, BisectionResult, CandidateGraph, CandidateSource, Candidates, SearchPlan,
    TesterOptions,
};
use kshot_stack::exit::ExitCode;

/// The arguments that a bisection keeps from its start: to resume it with others would answer another
/// question.
const FIXED_AT_START: [&str; 18] = [
    "scenario", "versions", "git", "path", "good", "bad", "old", "new", "term_old", "term_new", "question",
    "like", "config", "require", "only", "error", "patience", "checks",
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario's id
    #[arg(required_unless_present = "resume")]
    scenario: Option<String>,
    /// Search the versions in Debian's archive: 6.1.164..6.1.192. Several ranges, versions and catalogue
    /// kernels can be given, separated by commas, in their order
    #[arg(long, value_name = "RANGE", conflicts_with = "git")]
    versions: Option<String>,
    /// Search the commits of this git tree, which is only read
    #[arg(long, value_name = "TREE")]
    git: Option<PathBuf>,
    /// With --git: test only the commits that touch PATH. With --versions: show how the sources differ there
    /// before and after the change. Can be given more than once
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// A version or revision without the fault, older or newer than the bad one. With --versions kshot looks
    /// for one if this is not given
    #[arg(long, value_name = "X", conflicts_with = "old")]
    good: Option<String>,
    /// A version or revision with the fault
    #[arg(long, value_name = "Y", conflicts_with = "new")]
    bad: Option<String>,
    /// Like --good, for a change that is not a fault
    #[arg(long, value_name = "X")]
    old: Option<String>,
    /// Like --bad, for a change that is not a fault
    #[arg(long, value_name = "Y", requires = "old")]
    new: Option<String>,
    /// The report's word for the older side
    #[arg(long, value_name = "WORD")]
    term_old: Option<String>,
    /// The report's word for the newer side
    #[arg(long, value_name = "WORD")]
    term_new: Option<String>,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    template: BuildArgs,
    /// Use only these probes of the scenario; can be given more than once
    #[arg(long, value_name = "PROBE")]
    only: Vec<String>,
    /// The accepted probability that the result is wrong
    #[arg(long, value_name = "P", default_value_t = 0.01, value_parser = probability)]
    error: f64,
    /// How many good runs in a row are accepted where the fault is expected
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..10_000))]
    patience: u32,
    /// After the search, test N candidates on both sides to check that nothing changed elsewhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    checks: usize,
    /// Ignore results that earlier bisections recorded
    #[arg(long)]
    fresh: bool,
    /// While cores are idle, build kernels that may be needed next
    #[arg(long)]
    speculate: bool,
    /// Resume an unfinished bisection: the newest one, or the one in FOLDER
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, conflicts_with_all = FIXED_AT_START)]
    resume: Option<Option<PathBuf>>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Store the bisection below DIR instead of ~/.local/state/kshot/bisects
    #[arg(long, value_name = "DIR", value_parser = paths::folder())]
    out: Option<PathBuf>,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(None)?;
        let base = self.out.clone().unwrap_or_else(|| select.workspace.runs_folder.with_file_name("bisects"));
        let base = std::path::absolute(&base).unwrap_or(base);
        let options = TesterOptions { ignore_recorded: self.fresh, build_ahead: self.speculate };
        let format = self.format;
        let log = match &self.resume {
            Some(folder) => {
                let folder = folder.clone().map_or_else(|| bisect::newest_unfinished(&base), Ok)?;
                let log = bisect::resume(&folder)?;
                if let Some(damage) = log.damage() {
                    streams.progress.print_line(&format!("{}: {damage}", folder.display()));
                }
                log
            }
            None => {
                let header = self.header(&select, streams)?;
                bisect::create(&new_folder(&base, &header.scenario), header)?
            }
        };
        let header = log.header().clone();
        let folder = log.folder().to_owned();
        let scenario = select.scenario(&header.scenario)?;
        let scenario = scenario.with_probes(&header.probes)?;
        let template = template(&select, &header.configuration_of, &header.config, &header.require)?;
        streams.progress.print_line(&format!("bisection's folder: {}", folder.display()));
        let finished = bisect::run(log, &select.workspace, &scenario, template, options, &streams.progress);
        let finished = finished.inspect_err(|_| {
            streams.progress.print_line(&format!("to resume: kshot bisect --resume {}", folder.display()));
        })?;
        match format {
            Format::Table => {
                write!(streams.out, "{}", finished.text)?;
                writeln!(streams.out, "report: {}", folder.join("report.md").display())?;
            }
            Format::Json => {
                let document = serde_json::json!({
                    "outcome": finished.outcome, "summary": finished.summary, "names": header.names, "folder": folder.display().to_string(),
                });
                writeln!(streams.out, "{document}")?;
            }
        }
        Ok(match finished.outcome {
            BisectionResult::Found { .. } => ExitCode::Match,
            BisectionResult::TooManyHostErrors { .. } => ExitCode::Host,
            _ => ExitCode::CannotTell,
        })
    }

    fn header(self, select: &Selector, streams: &Streams<'_>) -> Result<BisectRequest, CommandError> {
        let workspace = &select.workspace;
        let word = self.scenario.clone().unwrap_or_default();
        let id = select.single_scenario_id(&word)?;
        let scenario = select.scenario(&id)?.with_probes(&self.only)?;
        let question = self.question.question(select)?;
        question.check(&scenario)?;
        let BuildChoice { configuration_of, config, require } = self.template.resolve(select, &scenario)?;
        let is_old_new = self.old.is_some();
        let good = self.good.or(self.old);
        let bad = self.bad.or(self.new);
        let bad = bad.ok_or_else(|| {
            usage("neither --bad nor --new is given".into(), "give the version or commit with the fault")
        })?;
        let (range, ends) = match (self.versions, self.git) {
            (Some(versions), _) => {
                let names =
                    bisect::list_versions(workspace, &versions, &streams.progress)?.ok_or_else(|| {
                        usage(
                            format!("`{versions}` is neither a range of versions nor a list of versions or kernels"),
                            "write versions as 6.1.164..6.1.192, or list them with commas; `kshot list` shows the kernels",
                        )
                    })?;
                (CandidateSource::Versions(versions), version_ends(names, good.as_deref(), &bad)?)
            }
            (None, Some(tree)) => {
                let good = good.ok_or_else(|| {
                    usage("neither --good nor --old is given".into(), "a search over commits needs both ends")
                })?;
                let (tree, ends) = bisect::commit_range(&tree, &good, &bad, &self.path)?;
                (CandidateSource::Git(tree), ends)
            }
            (None, None) => {
                return Err(usage(
                    "neither --versions nor --git is given".into(),
                    "say what to search: --versions 6.1.164..6.1.192, or --git TREE",
                ));
            }
        };
        let Candidates { names, titles, history, good, bad, notes } = ends;
        if good.contains(&bad) {
            return Err(usage("both ends are the same".into(), "give two ends"));
        }
        let quiet = if is_old_new { BTreeSet::new() } else { question.good_answers() };
        let flips = matches!(range, CandidateSource::Git(_));
        let plan = SearchPlan {
            graph: history,
            good,
            bad,
            good_answers: quiet,
            accepted_error: self.error,
            patience: self.patience,
            can_verify_culprit: flips,
            spot_checks: self.checks,
        };
        let fixed = plan.good.first().map_or(plan.bad == 0, |&good| plan.graph.is_ancestor(plan.bad, good));
        let terms = match (is_old_new, fixed) {
            (true, _) => ("old", "new"),
            (false, false) => ("good", "bad"),
            (false, true) => ("bad", "good"),
        };
        let terms = (self.term_old.unwrap_or(terms.0.into()), self.term_new.unwrap_or(terms.1.into()));
        let command: Vec<String> = streams.words.iter().map(|word| shell_word(word)).collect();
        let command = format!("kshot {}", command.join(" "));
        Ok(BisectRequest {
            schema: bisect::SCHEMA,
            command,
            scenario: id,
            probes: self.only,
            question,
            range,
            paths: self.path,
            configuration_of,
            config,
            require,
            terms,
            plan,
            names,
            titles,
            notes,
        })
    }
}

/// The ends of a search over versions; an error that lists the versions if one of them does not exist.
fn version_ends(names: Vec<String>, good: Option<&str>, bad: &str) -> Result<Candidates, CommandError> {
    let node = |name: &str| {
        names.iter().position(|one| one == name).ok_or_else(|| {
            usage(
                format!("{name} is not among the versions: {}", names.join(", ")),
                "choose one of these, or widen --versions",
            )
        })
    };
    let good = good.map(node).transpose()?.into_iter().collect();
    let bad = node(bad)?;
    let notes = vec![format!("versions that the archive's indexes list: {}", names.join(", "))];
    Ok(Candidates {
        history: CandidateGraph::linear(names.len()),
        good,
        bad,
        titles: Vec::new(),
        notes,
        names,
    })
}

/// Quotes a word of the command line for a shell.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { kshot_stack::text::quote(word) }
}

fn new_folder(base: &Path, scenario: &str) -> PathBuf {
    base.join(format!("{}-{}-{}", RunTime::now(), scenario.replace('/', "."), std::process::id()))
}

fn probability(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|number| (1e-9..0.5).contains(number))
        .ok_or_else(|| "a probability of at least 1e-9 and below 0.5, such as 0.01".into())
}

fn usage(message: String, hint: &str) -> CommandError {
    CommandError::usage(message, hint)
}
