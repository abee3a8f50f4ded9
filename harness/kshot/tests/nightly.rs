//! Nights with what stands around them: a browser for the report, hosts to send units to, a bundle elsewhere.
//!
//! Each test is ignored, with its reason, where a program or a kernel is missing; `scripts/test` installs the
//! programs (images/test-packages.txt).
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it may fail and starts what it tests"
)]

mod night;
#[path = "support/mod.rs"]
mod support;
#[path = "../src/report/test_night.rs"]
mod test_night;
#[path = "support/wait.rs"]
mod wait;

fn main() -> std::process::ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, night::trials()).exit_code()
}
