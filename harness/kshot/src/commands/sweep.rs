//! `kshot sweep`: measures how many stacks of whole kernels func_stack_trace records correctly.

use std::path::PathBuf;

use super::select::Selector;
use super::{CommandError, Format, OutputArgs, Streams, paths, prune_runs};
use crate::artifacts::RunTime;
use crate::sweep::{SLICES, SweepOptions};
use crate::{report, sweep};
use kshot_guest::kernel::Kernel;
use kshot_stack::exit::ExitCode;
use kshot_stack::sweep::document::SweepDocument;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kernels with DWARF: catalogue names (provisioned if necessary) or files (./vmlinux)
    #[arg(required_unless_present = "replay", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Compare the first N stacks of each function
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    hits: u32,
    /// Trace only N of 20 slices of the functions, which takes less time
    #[arg(long, value_name = "N", default_value_t = SLICES, value_parser = slices)]
    slices: usize,
    /// Boot nothing: judge the captures of an earlier sweep again
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["kernels", "hits", "slices"], value_parser = paths::existing())]
    replay: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.output.out.as_ref())?;
        let began = RunTime::now();
        let mut documents = Vec::new();
        for folder in &self.replay {
            // The folder may be untrusted: download nothing for it.
            let find = |name: &str| select.provisioned_kernel(name);
            let document = sweep::rejudge(folder, find)?;
            self.add(document, &mut documents, streams)?;
        }
        let options = SweepOptions { stacks_per_function: self.hits, slices: self.slices };
        // All kernels are found first, so that a wrong name is not reported after minutes.
        let names = if self.replay.is_empty() { self.kernels.as_slice() } else { &[] };
        let kernels = names.iter().map(|name| select.single_kernel(name, &streams.progress));
        let swept =
            kernels.collect::<Result<Vec<Kernel>, CommandError>>()?.into_iter().try_for_each(|kernel| {
                let context = select.context(&kernel, &streams.progress);
                let (document, folder) = sweep::sweep(context, options)?;
                streams.progress.print_line(&format!("artifacts: {}", folder.display()));
                self.add(document, &mut documents, streams)
            });
        prune_runs(&select.workspace, &began, &streams.progress);
        if self.output.format == Format::Table {
            write!(streams.out, "{}", report::sweep_table(&documents))?;
            for document in &documents {
                write!(streams.out, "\n{}", report::sweep_breaks(document))?;
            }
        }
        swept?;
        let is_true = documents.iter().all(|document| document.findings.breaks.is_empty());
        Ok(if is_true { ExitCode::Match } else { ExitCode::Drift })
    }

    /// Adds a document and, in JSON format, prints it at once.
    fn add(
        &self,
        document: SweepDocument,
        documents: &mut Vec<SweepDocument>,
        streams: &mut Streams<'_>,
    ) -> Result<(), CommandError> {
        if self.output.format == Format::Json {
            writeln!(streams.out, "{}", document.to_json_line())?;
            streams.out.flush()?;
        }
        documents.push(document);
        Ok(())
    }
}

fn slices(word: &str) -> Result<usize, String> {
    let number = word.parse().ok().filter(|number| (1..=SLICES).contains(number));
    number.ok_or_else(|| format!("not a number from 1 to {SLICES}"))
}
