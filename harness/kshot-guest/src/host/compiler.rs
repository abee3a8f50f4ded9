//! The host's cross compilers.

use std::time::Duration;

use super::cache;
use super::program::{OnInterrupt, output_of};
use super::tool::{environment, find_program};
use kshot_stack::arch::Arch;

/// The time that a compiler may take to tell its version: 10 ms on an idle host.
const LIMIT: Duration = Duration::from_secs(20);

/// The identity of the cross compiler `triplet`-gcc, without running it: the SHA-256 of its driver, which
/// contains its version. Empty if there is no such compiler.
pub fn compiler(triplet: &str) -> String {
    let driver = find_program(&format!("{triplet}-gcc"));
    driver.and_then(|path| cache::sha256_file(&path).ok()).unwrap_or_default()
}

/// The major version of the cross compiler of `arch`, `None` if it is not installed.
pub fn compiler_version(arch: Arch) -> Option<u32> {
    let compiler = find_program(&format!("{}-gcc", arch.row().triplet))?;
    let ask = duct::cmd!(compiler, "-dumpversion").full_env(environment(std::env::vars_os()));
    let output = output_of(&ask, "-dumpversion", LIMIT, OnInterrupt::Kill).ok()?;
    String::from_utf8_lossy(&output.stdout).split('.').next()?.trim().parse().ok()
}
