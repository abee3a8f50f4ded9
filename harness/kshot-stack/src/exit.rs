//! The exit-code table.
//!
//! `git bisect run` reads 1 to 127 (125 aside) as bad and aborts from 128: a fault of the host must never
//! become a mark.

use crate::blame::Blame;
use crate::document::Verdict;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The stacks match, or the command is done.
    Match = 0,
    /// The stacks are not what the snapshot or the claims say.
    Drift = 1,
    /// No verdict: the kernel does not build or boot, the run is unstable, or there is no snapshot.
    CannotTell = 125,
    /// An error in the command line or the environment.
    Usage = 128,
    /// An error in a scenario or another input file.
    Input = 129,
    /// Interrupted by Ctrl-C; the code that shells report for SIGINT.
    Interrupted = 130,
    /// An error of the host: QEMU, disk, network or tools.
    Host = 131,
    /// kshot itself: a panic.
    Defect = 132,
}

impl ExitCode {
    /// The number that is passed to the operating system.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Combines several exit codes: errors come before drift, drift before "cannot tell".
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        let rank = |exit: &Self| match exit {
            Self::Match => 0,
            Self::CannotTell => 1,
            Self::Drift => 2,
            Self::Usage | Self::Input | Self::Host | Self::Defect => 3,
            Self::Interrupted => 4,
        };
        all.into_iter().max_by_key(rank).unwrap_or(Self::Match)
    }
}

impl From<Verdict> for ExitCode {
    fn from(word: Verdict) -> Self {
        match word {
            Verdict::Match => Self::Match,
            Verdict::Drift => Self::Drift,
            Verdict::Unstable | Verdict::Inconclusive => Self::CannotTell,
        }
    }
}

impl From<Blame> for ExitCode {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Usage => Self::Usage,
            Blame::Input => Self::Input,
            Blame::Guest => Self::CannotTell,
            Blame::Host => Self::Host,
            Blame::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_is_never_read_as_a_mark_by_git_bisect() {
        for blame in [Blame::Usage, Blame::Input, Blame::Host, Blame::Interrupted] {
            assert!(ExitCode::from(blame).as_u8() >= 128, "{blame:?}");
        }
        assert_eq!(ExitCode::from(Blame::Guest).as_u8(), 125);
    }

    #[test]
    fn drift_outranks_cannot_tell_and_a_fault_outranks_both() {
        assert_eq!(
            ExitCode::worst([ExitCode::CannotTell, ExitCode::Drift, ExitCode::Match]),
            ExitCode::Drift
        );
        assert_eq!(ExitCode::worst([ExitCode::Host, ExitCode::Drift]), ExitCode::Host);
        assert_eq!(ExitCode::worst([]), ExitCode::Match);
    }
}
