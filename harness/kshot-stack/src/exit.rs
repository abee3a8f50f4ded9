//! The exit-code table.
//!
//! `git bisect run` reads 1 to 127 (125 aside) as bad and aborts from 128: a fault of the host must never
//! become a mark.

use crate::document::Word;
use crate::fault::Blame;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The stacks match, or the command is done.
    Match = 0,
    /// The stacks are not what the snapshot or the claims say.
    Drift = 1,
    /// No verdict: the kernel does not build or boot, the run is unstable, or there is no snapshot.
    CannotTell = 125,
    /// An error in the command line or the environment.
    Usage = 128,
    /// An error in a scenario or another input file.
    Scenario = 129,
    /// Interrupted by Ctrl-C; the code that shells report for SIGINT.
    Interrupted = 130,
    /// An error of the host: QEMU, disk, network or tools.
    Infra = 131,
    /// kshot itself: a panic.
    Defect = 132,
}

impl Exit {
    /// The number that is passed to the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Combines several exit codes: errors come before drift, drift before "cannot tell".
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        let rank = |exit: &Self| match exit {
            Self::Match => 0,
            Self::CannotTell => 1,
            Self::Drift => 2,
            Self::Usage | Self::Scenario | Self::Infra | Self::Defect => 3,
            Self::Interrupted => 4,
        };
        all.into_iter().max_by_key(rank).unwrap_or(Self::Match)
    }
}

impl From<Word> for Exit {
    fn from(word: Word) -> Self {
        match word {
            Word::Match => Self::Match,
            Word::Drift => Self::Drift,
            Word::Unstable | Word::Inconclusive => Self::CannotTell,
        }
    }
}

impl From<Blame> for Exit {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Usage => Self::Usage,
            Blame::Scenario => Self::Scenario,
            Blame::Guest => Self::CannotTell,
            Blame::Host => Self::Infra,
            Blame::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_is_never_read_as_a_mark_by_git_bisect() {
        for blame in [Blame::Usage, Blame::Scenario, Blame::Host, Blame::Interrupted] {
            assert!(Exit::from(blame).code() >= 128, "{blame:?}");
        }
        assert_eq!(Exit::from(Blame::Guest).code(), 125);
    }

    #[test]
    fn drift_outranks_cannot_tell_and_a_fault_outranks_both() {
        assert_eq!(Exit::worst([Exit::CannotTell, Exit::Drift, Exit::Match]), Exit::Drift);
        assert_eq!(Exit::worst([Exit::Infra, Exit::Drift]), Exit::Infra);
        assert_eq!(Exit::worst([]), Exit::Match);
    }
}
