//! The host's tools that provisioning a kernel needs.

use super::catalogue::{KernelSource, KernelSpec};
use crate::host::{MissingTool, UNPACK, missing, missing_build_tools};

/// The tools that provisioning `spec` needs and the host lacks.
pub fn missing_tools(spec: &KernelSpec) -> Vec<MissingTool> {
    match &spec.source {
        KernelSource::DebianPackage(_) => {
            missing(UNPACK).into_iter().chain(missing(&[("depmod", "kmod")])).collect()
        }
        KernelSource::Built(_) => Vec::new(),
        KernelSource::Git(_) => {
            missing(&[("git", "git")]).into_iter().chain(missing_build_tools(spec.arch)).collect()
        }
        _ => missing_build_tools(spec.arch),
    }
}
