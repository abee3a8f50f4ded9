//! The dependency closure of kernel modules, from `modules.dep`.

use crate::symbols::module_name;

/// The largest module, in bytes: with DWARF, the largest of an `allmodconfig` take 200 MB.
pub const MODULE_BYTES_MOST: u64 = 512 << 20;

/// The lines of `modules_dep` (`kernel/drivers/net/tun.ko: kernel/a.ko kernel/b.ko`) that the modules
/// `wanted` need, themselves and what they depend on, in the file's order. `-` and `_` are the same in a
/// module's name, and a module that the kernel does not have is left out.
pub fn with_dependencies<'a>(modules_dep: &'a str, wanted: &[String]) -> Vec<&'a str> {
    let lines: Vec<(&str, Vec<&str>)> = modules_dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let wanted: Vec<String> = wanted.iter().map(|name| name.replace('-', "_")).collect();
    // A line of modules.dep already lists everything that its module needs, indirectly too.
    let needed: Vec<&str> = lines
        .iter()
        .filter(|(path, _)| wanted.contains(&module_name(path)))
        .flat_map(|(path, needs)| std::iter::once(*path).chain(needs.iter().copied()))
        .collect();
    let is_needed = |line: &&str| line.split_once(':').is_some_and(|(path, _)| needed.contains(&path));
    modules_dep.lines().filter(is_needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/virtio_ring.ko: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/other.ko:\n\
                       kernel/hw/virtio-rng.ko.xz: kernel/virtio_ring.ko kernel/virtio.ko\n";

    #[test]
    fn a_module_brings_what_it_needs_and_no_more() {
        let lines = with_dependencies(DEP, &["virtio_rng".into(), "not_there".into()]);
        let paths: Vec<_> = lines.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(paths, ["kernel/virtio_ring.ko", "kernel/virtio.ko", "kernel/hw/virtio-rng.ko.xz"]);
    }
}
