//! `kshot nightly`: judges every scenario on every kernel, into one result folder.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::select::Selector;
use super::{CommandError, Format, Streams, at_once, paths};
use crate::nightly::engine::{RemoteHosts, Sender};
use crate::nightly::history::History;
use crate::nightly::matrix::Matrix;
use crate::nightly::{self, Completion, Engine, NightContext, NightlyError, ResultFolder, TimeLimit};
use crate::report;
use crate::workspace::Workspace;
use kshot_guest::kernel::Kernel;
use kshot_stack::document::Verdict;
use kshot_stack::exit::ExitCode;
use kshot_stack::night::results::{Night, Pair, PairStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The result folder: results.json, junit.xml, results.ktap, kcidb.json, index.html and the runs. If it
    /// holds an unfinished night, only the pairs without a verdict are run
    #[arg(long, value_name = "DIR", value_parser = paths::folder())]
    out: PathBuf,
    /// Kernels, by name or glob, instead of those of images/nightly.yaml
    #[arg(long, value_name = "KERNEL", num_args = 1..)]
    kernels: Vec<String>,
    /// Scenarios, by id or glob, instead of those of images/nightly.yaml
    #[arg(long, value_name = "SCENARIO", num_args = 1..)]
    scenarios: Vec<String>,
    /// The time limit of this invocation (8h, 90m); pairs that would not finish in time stay open
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Run each pair N times; differing verdicts are `unstable`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: Option<u32>,
    /// Where to execute the runs
    #[arg(long, value_enum, default_value_t = EngineKind::Local)]
    engine: EngineKind,
    /// With --engine parallel: a file with one host a line, as `parallel --sshloginfile` reads it
    /// (4/user@host)
    #[arg(long, value_name = "FILE", required_if_eq("engine", "parallel"), value_parser = paths::existing_file())]
    hosts: Option<PathBuf>,
    /// The number of parallel runs on this host; by default as many as it has processors and memory for
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Download or build missing kernels first; without this option, missing kernels are reported and left
    /// out
    #[arg(long)]
    provision: bool,
    /// The history file, instead of ~/.local/state/kshot/history.sqlite
    #[arg(long, value_name = "FILE", value_parser = paths::file_to_replace())]
    history: Option<PathBuf>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Where to execute the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EngineKind {
    /// On this host
    Local,
    /// On other hosts, by GNU parallel over SSH
    Parallel,
    /// On the nodes of a Slurm cluster, as a job array; --out must be on a file system that the nodes share
    Slurm,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let began = Instant::now();
        let without_effect = [
            ("--hosts", self.hosts.is_some() && self.engine != EngineKind::Parallel),
            ("--jobs", self.jobs.is_some() && self.engine != EngineKind::Local),
        ];
        if let Some((option, _)) = without_effect.iter().find(|(_, is_given)| *is_given) {
            return Err(CommandError::usage(
                format!("{option} has no effect with this --engine"),
                "--hosts is for `--engine parallel`, --jobs for runs on this host",
            ));
        }
        let select = Selector::open(None)?;
        let matrix = self.matrix(&select)?;
        let mut scenarios = Vec::new();
        for id in &matrix.scenarios {
            scenarios.push(select.scenario(id)?);
        }
        let (mut history, forgot) = History::open_or_forget(&history_file(self.history.as_ref())?)?;
        let folder = ResultFolder::open(&self.out)?;
        let engine = self.engine(&select.workspace);
        let context = NightContext {
            kernels: match engine {
                Engine::Local { .. } => self.kernels(&select, &matrix, streams)?,
                Engine::Hosts(_) => HashMap::new(),
            },
            workspace: &select.workspace,
            scenarios,
            progress: &streams.progress,
            repeat: matrix.repeat,
        };
        let planned = nightly::plan_night(&context, &select.catalogue, &matrix, &engine)?;
        if planned.pairs.is_empty() {
            return Err(CommandError::usage(
                "no scenario of this night is meant for one of its kernels",
                "`kshot list` shows the kernels of each scenario",
            ));
        }
        let (begun, damage) = folder.night()?;
        let mut night = match begun {
            Some(begun) => {
                let (path, night) = (folder.path().to_owned(), begun.name.clone());
                begun.resume(planned).ok_or(NightlyError::OtherMatrix { path, night })?
            }
            None => planned,
        };
        nightly::forget_notes_of_end(&mut night);
        if let Some(damage) = damage {
            streams.progress.print_line(&damage);
            night.add_note(damage);
        }
        if !night.pairs.iter().any(Pair::is_open) {
            streams.progress.print_line(&format!(
                "night {} is already finished; use another --out to start a new one",
                night.name
            ));
        }
        forgot.into_iter().for_each(|why| night.add_note(why));
        let limits = TimeLimit { began, deadline: matrix.deadline };
        let end = nightly::run_night(&context, &history, &folder, &mut night, &engine, limits)?;
        let report = nightly::close(&mut history, &folder, night)?;
        folder.write_files(&report::files(&report)?)?;
        let night = &report.night;
        match self.format {
            Format::Json => {
                writeln!(streams.out, "{}", serde_json::to_string(night).map_err(std::io::Error::other)?)?
            }
            Format::Table => {
                write!(streams.out, "{}", report::night_table(night))?;
                writeln!(streams.out, "report: {}", folder.path().join("index.html").display())?;
            }
        }
        Ok(exit(night, end))
    }

    fn matrix(&self, select: &Selector) -> Result<Matrix, CommandError> {
        let catalogue = &select.catalogue;
        let mut matrix = if self.kernels.is_empty() || self.scenarios.is_empty() {
            let ids = select.scenario_ids(&[])?;
            Matrix::load(&select.workspace.images().nightly_yaml(), &select.catalogue.names(), &ids)?
        } else {
            Matrix { kernels: Vec::new(), scenarios: Vec::new(), deadline: None, repeat: 1 }
        };
        if !self.kernels.is_empty() {
            let chosen = select.kernel_names(&self.kernels)?;
            let all = catalogue.names().into_iter();
            matrix.kernels =
                all.filter(|name| chosen.iter().any(|one| one == name)).map(Into::into).collect();
        }
        if !self.scenarios.is_empty() {
            matrix.scenarios = select.scenario_ids(&self.scenarios)?;
            matrix.scenarios.sort();
        }
        matrix.deadline = self.deadline.or(matrix.deadline);
        matrix.repeat = self.repeat.unwrap_or(matrix.repeat);
        Ok(matrix)
    }

    fn kernels(
        &self,
        select: &Selector,
        matrix: &Matrix,
        streams: &Streams<'_>,
    ) -> Result<HashMap<String, Kernel>, CommandError> {
        let catalogue = &select.catalogue;
        let mut found = HashMap::new();
        for name in &matrix.kernels {
            let entry = catalogue.get(name).expect("the name is from the catalogue");
            let mut kernel = match Kernel::find(entry, &select.workspace.images(), &select.workspace.cache) {
                Ok(kernel) => kernel,
                // One's own, half built, must not stop the night of the others.
                Err(error) => {
                    streams.progress.print_line(CommandError::from(error).render().trim_end());
                    None
                }
            };
            if kernel.is_none() && self.provision {
                match select.provision(name, &streams.progress) {
                    Ok(made) => kernel = Some(made),
                    Err(error) if error.exit() == ExitCode::Interrupted => return Err(error),
                    // Nor must one that cannot be provisioned.
                    Err(error) => streams.progress.print_line(error.render().trim_end()),
                }
            }
            match kernel {
                Some(kernel) => drop(found.insert(name.clone(), kernel)),
                None => {
                    streams.progress.print_line(&format!("left out: {name} ({})", select.how_to_get(name)))
                }
            }
        }
        Ok(found)
    }

    fn engine(&self, workspace: &Workspace) -> Engine {
        let hosts = |sender| Engine::Hosts(RemoteHosts { sender, provision: self.provision });
        match (self.engine, &self.hosts) {
            (EngineKind::Parallel, Some(file)) => return hosts(Sender::Parallel(file.clone())),
            (EngineKind::Slurm, _) => return hosts(Sender::Slurm),
            // Without a file, `parallel` has been refused with the command line.
            (EngineKind::Local | EngineKind::Parallel, _) => {}
        }
        Engine::Local { jobs: at_once(self.jobs, workspace) }
    }
}

/// The path of the history: the given one, or the one in the user's state folder.
pub(super) fn history_file(said: Option<&PathBuf>) -> Result<PathBuf, CommandError> {
    match said {
        Some(path) => Ok(path.clone()),
        None => Ok(Workspace::history_path()?),
    }
}

/// The exit code of a night: host errors come before drift, drift before "cannot tell".
fn exit(night: &Night, end: Completion) -> ExitCode {
    if end == Completion::Interrupted {
        return ExitCode::Interrupted;
    }
    ExitCode::worst(night.pairs.iter().map(|pair| match pair.status() {
        PairStatus::Match => ExitCode::from(Verdict::Match),
        PairStatus::Drift => ExitCode::Drift,
        PairStatus::Unstable | PairStatus::Inconclusive | PairStatus::NotRun => ExitCode::CannotTell,
        PairStatus::HostError => ExitCode::Host,
    }))
}
