//! What runs a guest's code: QEMU's translation, or the host's processor by KVM.

use std::fs::File;
use std::io;

use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed};

/// What runs the guest's code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU translates it (TCG). Snapshots are recorded this way, because it is the same on every host.
    #[default]
    Tcg,
    /// The host's processor runs it (KVM).
    Kvm,
}

/// The accelerator that the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// TCG.
    Tcg,
    /// KVM, or an error if KVM cannot be used.
    Kvm,
    /// KVM if it can be used, otherwise TCG.
    Auto,
}

/// Why KVM cannot run a guest.
#[derive(Debug, thiserror::Error)]
pub enum AcceleratorError {
    /// The guest is of another architecture than the host, or of one whose board under KVM is not known.
    #[error("kvm cannot run a guest of {arch} on this host ({host})")]
    Architecture {
        /// The guest's architecture.
        arch: Arch,
        /// The host's architecture, as Rust names it.
        host: &'static str,
    },
    /// The device cannot be opened.
    #[error("cannot open {DEVICE}")]
    NoDevice(#[source] io::Error),
    /// The guest's clock counts instructions.
    #[error("kvm cannot count instructions, and this run's clock does (-icount)")]
    Icount,
}

/// The device of KVM.
const DEVICE: &str = "/dev/kvm";

impl Blamed for AcceleratorError {
    fn blame(&self) -> Blame {
        match self {
            Self::Architecture { .. } | Self::Icount => Blame::Usage,
            Self::NoDevice(_) => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Architecture { .. } | Self::Icount => {
                Some("leave --accel out: tcg runs every guest on every host".into())
            }
            Self::NoDevice(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("sudo usermod -aG kvm $USER, or the group that owns {DEVICE} here, then log in again"))
            }
            Self::NoDevice(_) => Some(
                "load the host's module (kvm_intel, kvm_amd), or turn virtualisation on in its firmware; tcg needs none"
                    .into(),
            ),
        }
    }
}

impl AcceleratorChoice {
    /// What a guest of `arch` is run with; `icount` says whether its clock counts instructions.
    ///
    /// # Errors
    /// [`AcceleratorError`], for [`AcceleratorChoice::Kvm`] alone.
    pub fn resolve(self, arch: Arch, icount: bool) -> Result<Accelerator, AcceleratorError> {
        match (self, check_kvm(arch, icount)) {
            (Self::Tcg, _) | (Self::Auto, Err(_)) => Ok(Accelerator::Tcg),
            (_, Ok(())) => Ok(Accelerator::Kvm),
            (Self::Kvm, Err(error)) => Err(error),
        }
    }
}

/// Whether KVM can run such a guest on this host.
fn check_kvm(arch: Arch, icount: bool) -> Result<(), AcceleratorError> {
    let host = std::env::consts::ARCH;
    if arch.row().kvm.is_none_or(|board| board.host != host) {
        return Err(AcceleratorError::Architecture { arch, host });
    }
    if icount {
        return Err(AcceleratorError::Icount);
    }
    File::options().read(true).write(true).open(DEVICE).map_err(AcceleratorError::NoDevice)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_of_another_architecture_is_translated() {
        for arch in Arch::all().filter(|arch| arch.row().kvm.is_none()) {
            let error = AcceleratorChoice::Kvm.resolve(arch, false).unwrap_err();
            assert!(matches!(error, AcceleratorError::Architecture { .. }), "{arch}: {error}");
            assert_eq!(AcceleratorChoice::Auto.resolve(arch, false).unwrap(), Accelerator::Tcg);
            assert_eq!(AcceleratorChoice::Tcg.resolve(arch, true).unwrap(), Accelerator::Tcg);
        }
    }

    #[test]
    fn a_clock_that_counts_instructions_is_tcgs_alone() {
        let same =
            Arch::all().find(|arch| arch.row().kvm.is_some_and(|board| board.host == std::env::consts::ARCH));
        let Some(same) = same else { return };
        assert!(matches!(AcceleratorChoice::Kvm.resolve(same, true), Err(AcceleratorError::Icount)));
        assert_eq!(AcceleratorChoice::Auto.resolve(same, true).unwrap(), Accelerator::Tcg);
    }
}
