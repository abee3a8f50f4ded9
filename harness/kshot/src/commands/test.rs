//! `kshot test`: the workspace's scenarios as tests, with the words and formats of `cargo test`. Its front
//! end is our own: that of libtest-mimic, which the live tests have, would bring eight crates and colours
//! into every command.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;

use super::{CommandError, Streams, at_once, paths, workspace};
use crate::baseline::{self, Review};
use crate::pair_tests::{self, PairTest};
use crate::pool;
use crate::report::{TestCase, test_cases};
use kshot_guest::host::FileError;
use kshot_guest::host::cache::CacheError;
use kshot_stack::exit::ExitCode;
use kshot_stack::text::count_noun;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run only tests whose names contain one of these
    filters: Vec<String>,
    /// Run only tests whose whole name is one of the filters
    #[arg(long)]
    exact: bool,
    /// Skip tests whose names contain FILTER; can be given more than once
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,
    /// List the tests and run none
    #[arg(long)]
    list: bool,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: TestFormat,
    /// Write the result of each test to FILE, as JUnit XML
    #[arg(long, value_name = "FILE", value_parser = paths::file_to_write(), conflicts_with = "list")]
    junit: Option<PathBuf>,
    /// Run N tests at once; default: as many as this host has room for
    #[arg(short = 'j', long, visible_alias = "jobs", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    test_threads: Option<u16>,
}

/// How the results of tests are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// One line a test.
    #[default]
    Pretty,
    /// One character a test.
    Terse,
    /// One JSON object a line, as `cargo test -- --format json`.
    Json,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(None)?;
        let catalogue = workspace.catalogue()?;
        let mut tests = pair_tests::of_workspace(&workspace, &catalogue);
        if !std::env::current_dir().is_ok_and(|here| here.starts_with(&workspace.root)) {
            // Whoever forgot to change folders would wait for the wrong tests.
            let doing = if self.list { "listing" } else { "running" };
            streams.progress.print_line(&format!("{doing} the tests of {}", workspace.root.display()));
        }
        let all = tests.len();
        tests.retain(|test| self.is_chosen(&test.name));
        if tests.is_empty() && !self.list {
            let (filters, folder) = (self.filters.join(", "), workspace.scenarios());
            let what = match filters.as_str() {
                "" => format!("no tests: no scenario in {} names a known kernel", folder.display()),
                _ => format!("no test matches {filters}"),
            };
            return Err(CommandError::usage(what, "`kshot test --list` shows the names of all tests"));
        }
        if self.list {
            tests.iter().try_for_each(|test| match self.format {
                TestFormat::Json => {
                    let ignored = test.ignored_because();
                    let line = serde_json::json!({
                        "type": "test", "event": "discovered", "name": test.name,
                        "ignore": ignored.is_some(), "ignore_message": ignored.unwrap_or_default(),
                    });
                    writeln!(streams.out, "{line}")
                }
                TestFormat::Pretty | TestFormat::Terse => writeln!(streams.out, "{}: test", test.name),
            })?;
            return Ok(ExitCode::Match);
        }
        let (ignored, tests): (Vec<_>, Vec<_>) =
            tests.into_iter().partition(|test| test.ignored_because().is_some());
        let mut report = Report { format: self.format, out: streams.out, cases: Vec::new() };
        report.begin(tests.len())?;
        ignored.iter().try_for_each(|test| report.ignored(test))?;
        let jobs = at_once(self.test_threads, &workspace);
        let work = |test: &PairTest| {
            let started = Instant::now();
            // The test fails anyway; failing to write the proposal adds nothing.
            let result = test.run(&workspace, &|place, info, text| {
                drop(baseline::write(place, info, text, Review::Pending))
            });
            (result.err(), started.elapsed())
        };
        let mut exits = Vec::new();
        let ended = pool::each(&tests, jobs, work, |number, (failure, took)| {
            let exit = failure.as_ref().map_or(ExitCode::Match, |failure| failure.exit);
            exits.push(exit);
            report.ended(&tests[number], failure.map(|failure| failure.text), took)?;
            if exit == ExitCode::Interrupted {
                Err(CommandError::from(CacheError::Interrupted))
            } else {
                Ok(())
            }
        });
        report.finish(ignored.len(), all - ignored.len() - tests.len())?;
        if let Some(path) = &self.junit {
            fs::write(path, test_cases(report.cases)?).map_err(FileError::on("write", path))?;
        }
        ended?;
        Ok(ExitCode::worst(exits))
    }

    fn is_chosen(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

/// Prints the progress and the results of tests.
struct Report<'a> {
    format: TestFormat,
    out: &'a mut dyn Write,
    cases: Vec<TestCase>,
}

impl Report<'_> {
    fn begin(&mut self, tests: usize) -> io::Result<()> {
        match self.format {
            TestFormat::Json => {
                writeln!(self.out, "{}", json!({ "type": "suite", "event": "started", "test_count": tests }))
            }
            _ => writeln!(self.out, "\nrunning {}", count_noun(tests as u64, "test")),
        }
    }

    fn ignored(&mut self, test: &PairTest) -> io::Result<()> {
        let (name, because) = (&test.name, test.ignored_because().unwrap_or_default());
        match self.format {
            TestFormat::Pretty => writeln!(self.out, "test {name} ... ignored, {because}"),
            TestFormat::Terse => write!(self.out, "i"),
            TestFormat::Json => {
                let line = json!({ "type": "test", "event": "ignored", "name": name, "message": because });
                writeln!(self.out, "{line}")
            }
        }
    }

    fn ended(
        &mut self,
        test: &PairTest,
        failure: Option<String>,
        took: Duration,
    ) -> Result<(), CommandError> {
        let (name, seconds) = (test.name.clone(), took.as_secs_f64());
        match (self.format, &failure) {
            (TestFormat::Pretty, None) => writeln!(self.out, "test {name} ... ok")?,
            (TestFormat::Pretty, Some(_)) => writeln!(self.out, "test {name} ... FAILED")?,
            (TestFormat::Terse, None) => write!(self.out, ".")?,
            (TestFormat::Terse, Some(_)) => write!(self.out, "F")?,
            (TestFormat::Json, failure) => {
                let event = if failure.is_some() { "failed" } else { "ok" };
                let line = json!({
                    "type": "test", "event": event, "name": name, "exec_time": seconds, "stdout": failure,
                });
                writeln!(self.out, "{line}")?;
            }
        }
        self.out.flush()?;
        self.cases.push(TestCase { name, seconds, failure });
        Ok(())
    }

    /// Prints the failures and the totals.
    fn finish(&mut self, ignored: usize, filtered: usize) -> io::Result<()> {
        let failures = self.cases.iter().filter_map(|case| Some((&case.name, case.failure.as_ref()?)));
        let failures: Vec<_> = failures.collect();
        let (failed, passed) = (failures.len(), self.cases.len() - failures.len());
        if self.format == TestFormat::Json {
            let line = json!({
                "type": "suite", "event": if failed > 0 { "failed" } else { "ok" }, "passed": passed,
                "failed": failed, "ignored": ignored, "filtered_out": filtered,
            });
            return writeln!(self.out, "{line}");
        }
        if failed > 0 {
            writeln!(self.out, "\n\nfailures:")?;
        }
        for (name, failure) in &failures {
            writeln!(self.out, "\n---- {name} ----\n{failure}")?;
        }
        let result = if failed > 0 { "FAILED" } else { "ok" };
        writeln!(
            self.out,
            "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; {filtered} filtered out"
        )
    }
}
