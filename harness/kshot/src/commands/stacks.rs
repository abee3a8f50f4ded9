//! `kshot stacks`: the stacks in texts that somebody else has recorded. It needs no workspace.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::{CommandError, Format, Streams};
use crate::captures;
use crate::report;
use kshot_stack::exit::ExitCode;
use kshot_stack::format::{Listing, TextFormat};

/// How many different stacks the table shows, the most frequent first.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Console or kernel logs, /proc/PID/stack, tracefs' trace, hist and stack_trace files, output of perf
    /// script, trace-cmd report, bpftrace, gdb, crash and drgn, also quoted in a mail; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read the files as FORMAT instead of guessing their format
    #[arg(long = "as", value_name = "FORMAT", value_parser = text_format())]
    text_format: Option<TextFormat>,
    /// Symbolise addresses with this copy of /proc/kallsyms, which may be gzipped
    #[arg(long, value_name = "FILE")]
    kallsyms: Option<PathBuf>,
    /// Print lines for flame graphs: task;outermost;..;innermost count
    #[arg(long, conflicts_with = "format")]
    folded: bool,
    /// Show the N most frequent stacks in the table
    #[arg(long, value_name = "N", default_value_t = SHOWN, conflicts_with = "folded")]
    top: usize,
    /// How the stacks are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let mut exits = Vec::new();
        for file in &self.files {
            let listings = match captures::read(file, self.text_format, self.kallsyms.as_deref()) {
                Ok(listings) => listings,
                Err(error) if self.files.len() == 1 => return Err(error.into()),
                // The others may be fine.
                Err(error) => {
                    let error = CommandError::from(error);
                    streams.progress.print_line(error.render().trim_end());
                    exits.push(error.exit());
                    continue;
                }
            };
            for listing in &listings {
                self.print(listing, streams)?;
            }
            exits.push(exit(&listings, streams));
        }
        Ok(ExitCode::worst(exits))
    }

    fn print(&self, listing: &Listing, streams: &mut Streams<'_>) -> Result<(), CommandError> {
        if self.folded {
            for stack in &listing.stacks {
                writeln!(streams.out, "{}", stack.folded())?;
            }
            report::listing_notes(listing).iter().for_each(|note| streams.progress.print_line(note));
            return Ok(());
        }
        match self.format {
            Format::Table => write!(streams.out, "{}", report::listing_table(listing, self.top))?,
            Format::Json => writeln!(streams.out, "{}", listing.to_json_line())?,
        }
        Ok(())
    }
}

fn exit(listings: &[Listing], streams: &Streams<'_>) -> ExitCode {
    if listings.iter().any(|listing| !listing.stacks.is_empty()) {
        return ExitCode::Match;
    }
    for Listing { file, format, .. } in listings {
        let format = format.name();
        streams.progress.print_line(&format!("{file}: no stacks found (read as {format}); try --as FORMAT"));
    }
    ExitCode::CannotTell
}

fn text_format() -> impl clap::builder::TypedValueParser<Value = TextFormat> {
    let names = PossibleValuesParser::new(TextFormat::ALL.map(TextFormat::name));
    names.map(|name| TextFormat::of_name(&name).expect("clap takes the names of formats alone"))
}
