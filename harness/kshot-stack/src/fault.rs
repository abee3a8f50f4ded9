//! Whose fault an error is, and what to do about it.

use std::error::Error;

/// The party that has to act on an error. It decides the exit code (see [`crate::exit`]) and keeps a fault
/// of the host from ever being read as a mark for or against a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The command line or the environment.
    Usage,
    /// A scenario, catalogue or other input file.
    Scenario,
    /// The kernel under test: it did not build, boot, answer or survive.
    Guest,
    /// The host: QEMU, disk, network, missing tools.
    Infra,
    /// The user, with Ctrl-C.
    Interrupted,
}

/// An error that knows whose it is.
pub trait Fault: Error {
    /// The party that has to act.
    fn blame(&self) -> Blame;

    /// The remedy, as one sentence that can stand alone, where there is one.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error and what caused it, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
