//! The host's cross compilers.

use super::cache;
use super::tool::find_program;
use kshot_stack::arch::Arch;

/// The identity of the cross compiler `triplet`-gcc, without running it: the SHA-256 of its driver, which
/// contains its version. Empty if there is no such compiler.
pub fn compiler(triplet: &str) -> String {
    let driver = find_program(&format!("{triplet}-gcc"));
    driver.and_then(|path| cache::sha256_file(&path).ok()).unwrap_or_default()
}

/// The major version of the cross compiler of `arch`, `None` if it is not installed.
pub fn compiler_version(arch: Arch) -> Option<u32> {
    let compiler = find_program(&format!("{}-gcc", arch.row().triplet))?;
    let said = duct::cmd!(compiler, "-dumpversion").stderr_null().unchecked().read().ok()?;
    said.split('.').next()?.trim().parse().ok()
}
