//! `cargo run --package kshot-fuzz -- --seconds N --seed S`: feeds damaged input, and prints how much and
//! what was not borne. Ends 1 where there is a find.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kshot_fuzz::{feed, targets};

/// Feeds damaged input to every parser of kshot.
#[derive(Debug, Parser)]
struct Args {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u64,
    /// Which row of inputs
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where inputs that were not borne are kept
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let targets = targets::all();
    let fed = feed(&targets, Duration::from_secs(args.seconds), args.seed, &args.out)?;
    let mut out = io::stdout().lock();
    for find in &fed.finds {
        writeln!(out, "{}: {}: {}", find.target, find.what, find.file.display())?;
    }
    let (inputs, names) = (fed.inputs, targets.len());
    writeln!(out, "{inputs} inputs for {names} targets, seed {}: {} not borne", args.seed, fed.finds.len())?;
    Ok(if fed.finds.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
