//! Which party has to act on an error, and how.

use std::error::Error;

/// The party that has to act on an error. It decides the exit code (see [`crate::exit`]) and keeps an error
/// of the host from being counted for or against a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The command line or the environment.
    Usage,
    /// A scenario, catalogue or other input file.
    #[serde(rename = "scenario")]
    Input,
    /// The kernel under test: it did not build, boot, answer or survive.
    Guest,
    /// The host: QEMU, disk, network, missing tools.
    #[serde(rename = "infra")]
    Host,
    /// The user, with Ctrl-C.
    Interrupted,
}

/// An error that knows which party has to act on it.
pub trait Blamed: Error {
    /// The error that this one passes on; its blame and its hint are this one's, too, unless it says
    /// otherwise.
    fn passed_on(&self) -> Option<&dyn Blamed> {
        None
    }

    /// The party that has to act on the error. By default the host's.
    fn blame(&self) -> Blame {
        passed_on_blame(self)
    }

    /// The remedy, as one self-contained sentence, where there is one.
    fn hint(&self) -> Option<String> {
        passed_on_hint(self)
    }
}

/// The blame of the error that another one passes on; the host's where there is none.
pub fn passed_on_blame(error: &(impl Blamed + ?Sized)) -> Blame {
    error.passed_on().map_or(Blame::Host, Blamed::blame)
}

/// The remedy of the error that another one passes on.
pub fn passed_on_hint(error: &(impl Blamed + ?Sized)) -> Option<String> {
    error.passed_on().and_then(Blamed::hint)
}

/// An error and its causes, on one line.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
