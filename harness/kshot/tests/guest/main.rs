//! Guests in real QEMU: the machine, the session and the probes, and every text that a guest's trace buffer
//! can be printed as.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it may fail and starts what it tests"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "says what it did")]

/// Tests by the names of their functions. A function that is left out of its list is dead code, which clippy
/// refuses.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($test)), $test as fn())),*]
    };
}

mod boot;
mod firmware;
mod machine;
mod matrix;
mod probe;
mod session;
mod shared;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Tests by their names.
type Tests = &'static [(&'static str, fn())];

fn main() -> ExitCode {
    if let Some(played) = machine::play() {
        return played;
    }
    let mut all = trials(machine::TESTS, machine::missing());
    all.extend(trials(session::TESTS, shared::missing()));
    all.extend(trials(probe::TESTS, shared::missing()));
    all.extend(matrix::trials());
    let conclusion = libtest_mimic::run(&Arguments::from_args(), all);
    shared::shared().end();
    conclusion.exit_code()
}

/// The trials of tests, which are ignored where something is missing.
fn trials(tests: Tests, missing: Option<String>) -> Vec<Trial> {
    let trial = |&(name, test): &(&str, fn())| {
        let run = move || {
            test();
            Ok(())
        };
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        let trial = Trial::test(name, run).with_ignored_flag(missing.is_some());
        trial.with_kind(missing.clone().unwrap_or_default())
    };
    tests.iter().map(trial).collect()
}
