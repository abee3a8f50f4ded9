//! Building a kernel from source with kbuild.

use std::fs;
use std::path::Path;

use duct::{Expression, cmd};

use super::catalogue::{ImagesFolder, KernelSpec};
use super::kconfig::{self, Fragment};
use super::{KernelError, ProvisionContext, Provisioned, source, vmlinux};
use crate::host::FileError;
use crate::host::cache::Cache;
use crate::host::slots::Slots;
use crate::host::{ToolError, ToolLog, find_program, tied};
use crate::records;
use kshot_stack::arch::{Arch, KernelImage};

/// The messages with which kbuild refuses a source tree because of its path or state (top Makefile), each
/// with its remedy.
const REFUSALS: &[(&str, &str)] = &[
    (
        // "The source tree is not clean"; up to 5.3 "/home/me/linux is not clean".
        "is not clean, please run",
        "keep its .config elsewhere and run `make mrproper` in it, or name another worktree (git worktree add)",
    ),
    ("cannot contain spaces", "move it to a path without spaces and colons"),
];

/// The folders of an incremental build.
#[derive(Clone, Copy, Debug)]
pub struct BuildPaths<'a> {
    /// The source tree.
    pub tree: &'a Path,
    /// The folder for the files of the finished kernel.
    pub into: &'a Path,
}

/// Builds kernel `spec` into `folder`. Source and object files stay in `scratch`. Returns the facts of
/// the kernel.
///
/// # Errors
/// [`KernelError`].
pub(super) fn build(
    spec: &KernelSpec,
    context: &ProvisionContext<'_>,
    scratch: &Path,
    folder: &Path,
) -> Result<Provisioned, KernelError> {
    let ProvisionContext { cache, .. } = context;
    let step = KernelError::tool(&spec.name);
    let mut log = ToolLog::create(cache, &format!("kernel-{}", spec.name)).map_err(&step)?;
    let (source, objects) = (scratch.join("source"), scratch.join("build"));
    let tree = source::unpack(spec, context, &mut log, &source)?;
    fs::create_dir_all(&objects).map_err(FileError::on("create", &objects))?;
    let lost = configure_and_build(spec, context, &mut log, &tree.path, &objects)?;
    let release = copy_results(spec, &mut log, &objects, folder)?;
    Ok(Provisioned { release, version: tree.version, lost })
}

/// Builds a source tree as [`build`] does, in a folder `objects` where other versions were built before.
///
/// # Errors
/// [`KernelError`].
pub(super) fn build_incrementally(
    spec: &KernelSpec,
    context: &ProvisionContext<'_>,
    paths: BuildPaths<'_>,
    objects: &Path,
) -> Result<Provisioned, KernelError> {
    let ProvisionContext { cache, .. } = context;
    let mut log =
        ToolLog::create(cache, &format!("kernel-{}", spec.name)).map_err(KernelError::tool(&spec.name))?;
    fs::create_dir_all(objects).map_err(FileError::on("create", objects))?;
    let lost = configure_and_build(spec, context, &mut log, paths.tree, objects)?;
    let release = copy_results(spec, &mut log, objects, paths.into)?;
    Ok(Provisioned { release, version: None, lost })
}

/// Adds a fragment to the `.config` of a user's build folder and lets kbuild complete it, as
/// `scripts/kconfig/merge_config.sh` does.
///
/// # Errors
/// [`KernelError`].
pub fn merge_config(folder: &Path, arch: Arch, fragment: &str, cache: &Cache) -> Result<(), KernelError> {
    let path = folder.join(".config");
    let step = KernelError::tool(&folder.display().to_string());
    // `.config` may be a symbolic link; write through it.
    let path = fs::canonicalize(&path).map_err(FileError::on("read", &path))?;
    let before = fs::read_to_string(&path).map_err(FileError::on("read", &path))?;
    let line_end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let write =
        |config: &str| records::replace(&path, config.as_bytes()).map_err(FileError::on("write", &path));
    write(&format!("{before}{line_end}{fragment}"))?;
    let mut log = ToolLog::create(cache, "merge-config").map_err(&step)?;
    let row = arch.row();
    let arguments = [format!("ARCH={}", row.kbuild), format!("CROSS_COMPILE={}-", row.triplet)];
    // A folder that was built in with `O=` has a Makefile of its own, which knows the source.
    let words =
        ["-C".into(), folder.display().to_string(), "olddefconfig".into()].into_iter().chain(arguments);
    let completed = log.run("olddefconfig", &cmd("make", words)).map_err(step);
    if completed.is_err() {
        write(&before)?;
    }
    completed
}

/// Configures and builds the kernel, with one job for each free slot of the host. Returns the fragment lines
/// that `olddefconfig` dropped and that are not required.
fn configure_and_build(
    spec: &KernelSpec,
    context: &ProvisionContext<'_>,
    log: &mut ToolLog,
    tree: &Path,
    objects: &Path,
) -> Result<Vec<String>, KernelError> {
    let ProvisionContext { images, cache, progress } = context;
    let slots = Slots::of_this_host(cache);
    let held = slots.take_for_build(progress)?;
    let make = |targets: &[&str]| kbuild(spec.arch, held.len(), tree, objects, targets);
    let lost = configure(spec, images, log, objects, &make).map_err(|error| refused(tree, error))?;
    let task = progress.task(format!("build {}", spec.name), spec.objects);
    let mut done = 0;
    // An image of the architecture's own is made from vmlinux.
    log.run_with_lines("kbuild", &make(&[spec.arch.row().image.name()]), |line| {
        if let Some(object) = object_in_line(line) {
            done += 1;
            task.update(done, object);
        }
    })
    .map_err(KernelError::tool(&spec.name))?;
    Ok(lost)
}

/// Copies the files of a finished build that are kept to `folder`. Returns the kernel release.
fn copy_results(
    spec: &KernelSpec,
    log: &mut ToolLog,
    objects: &Path,
    folder: &Path,
) -> Result<String, KernelError> {
    let image = &spec.arch.row().image;
    let built = objects.join("vmlinux");
    let own_image = match image {
        KernelImage::Elf => {
            let strip = format!("{}-objcopy", spec.arch.row().triplet);
            log.run("objcopy", &cmd!(strip, "--strip-debug", &built, folder.join(image.name())))
                .map_err(ToolError::of_host)
                .map_err(KernelError::tool(&spec.name))?;
            None
        }
        KernelImage::Own { path, .. } => Some((*path, image.name())),
    };
    let vmlinux = vmlinux::read(&built)?;
    let dwarf = vmlinux.dwarf.is_ok().then_some(("vmlinux", "vmlinux.debug"));
    let files = [(".config", "config"), ("System.map", "System.map")];
    for (from, to) in files.into_iter().chain(own_image).chain(dwarf) {
        let from = objects.join(from);
        fs::copy(&from, folder.join(to)).map_err(FileError::on("copy", &from))?;
    }
    let nothing = || KernelError::NotBootable { path: built.clone(), why: "it has no banner".into() };
    vmlinux.release.ok_or_else(nothing)
}

/// Merges the fragments onto `allnoconfig`, as `merge_config.sh -n` does, and compares the result with them.
/// Returns the dropped lines that are not required.
fn configure(
    spec: &KernelSpec,
    images: &ImagesFolder,
    log: &mut ToolLog,
    objects: &Path,
    make: &dyn Fn(&[&str]) -> Expression,
) -> Result<Vec<String>, KernelError> {
    let mut merged = String::new();
    let mut fragments = Vec::new();
    for (name, path) in source::config_files(spec, images) {
        let text = fs::read_to_string(&path).map_err(FileError::on("read", &path))?;
        fragments.push(Fragment::parse(&name, &text));
        merged.push_str(&text);
        merged.push('\n');
    }
    let path = objects.join("kshot.config");
    fs::write(&path, merged).map_err(FileError::on("write", &path))?;
    let step = KernelError::tool(&spec.name);
    log.run("allnoconfig", &make(&["allnoconfig"]).env("KCONFIG_ALLCONFIG", &path)).map_err(&step)?;
    log.run("olddefconfig", &make(&["olddefconfig"])).map_err(&step)?;

    let path = objects.join(".config");
    let config = fs::read_to_string(&path).map_err(FileError::on("read", &path))?;
    let (fatal, tolerated): (Vec<_>, Vec<_>) =
        kconfig::dropped(&fragments, &config).into_iter().partition(|dropped| {
            spec.required.as_ref().is_none_or(|required| required.iter().any(|one| dropped.is_of(one)))
        });
    match fatal.into_iter().next() {
        None => Ok(tolerated
            .into_iter()
            .map(|dropped| format!("{} of {}: {}", dropped.line, dropped.fragment, dropped.found))
            .collect()),
        Some(dropped) => Err(KernelError::SettingDropped {
            kernel: spec.name.clone(),
            line: dropped.line,
            fragment: dropped.fragment,
            found: dropped.found,
        }),
    }
}

/// The error of a build; [`KernelError::TreeRefused`] if kbuild refused the source tree.
fn refused(tree: &Path, error: KernelError) -> KernelError {
    let KernelError::Tool { source, .. } = &error else { return error };
    let ToolError::Failed { tail, .. } = &**source else { return error };
    let refusal = REFUSALS.iter().find_map(|(words, remedy)| {
        let said = tail.lines().find(|line| line.contains(words))?;
        Some((said.trim_start_matches(['*', ' ']).to_owned(), *remedy))
    });
    refusal.map_or(error, |(said, remedy)| KernelError::TreeRefused { tree: tree.into(), said, remedy })
}

/// A kbuild command for a reproducible build: its output does not depend on folder, time or user.
fn kbuild(arch: Arch, jobs: usize, source: &Path, objects: &Path, targets: &[&str]) -> Expression {
    let row = arch.row();
    let ccache = if find_program("ccache").is_some() { "ccache " } else { "" };
    let here = source.parent().unwrap_or(source);
    let mut argv: Vec<String> = vec![
        "-C".into(),
        source.display().to_string(),
        format!("O={}", objects.display()),
        format!("-j{jobs}"),
        format!("ARCH={}", row.kbuild),
        format!("CROSS_COMPILE={}-", row.triplet),
        // Not in KCFLAGS: assembly and the vDSO have flags of their own, and their DWARF is hashed into a
        // build id, which is part of the image.
        format!("CC={ccache}{}-gcc -fdebug-prefix-map={}=.", row.triplet, here.display()),
        format!("HOSTCC={ccache}gcc"),
        // An empty value prevents the `+` that kbuild appends for a git tree without a tag: the release must
        // not depend on the commit.
        "LOCALVERSION=".into(),
    ];
    argv.extend(targets.iter().map(|target| (*target).to_owned()));
    tied("make", argv)
        .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
        .env("KBUILD_BUILD_USER", "kshot")
        .env("KBUILD_BUILD_HOST", "kshot")
        .env("KBUILD_BUILD_VERSION", "1")
        // Not CCACHE_DEPEND, which saves a quarter of the time where nothing is found: it does not see
        // `.incbin`, by which images, the vDSO and the configuration get into assembly, and gives those of
        // another build.
        // With -g, ccache would otherwise treat another build folder as another compilation.
        .env("CCACHE_BASEDIR", here)
        .env("CCACHE_NOHASHDIR", "1")
}

/// The object file in a line of kbuild's output: `  CC      kernel/fork.o`, `  LD [M]  fs/a.ko`.
fn object_in_line(line: &str) -> Option<&str> {
    let mut words = line.strip_prefix("  ")?.split_whitespace();
    matches!(words.next()?, "CC" | "AS" | "LD" | "AR").then(|| words.next_back()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_and_other_lines_are_not() {
        assert_eq!(object_in_line("  CC      kernel/fork.o\n"), Some("kernel/fork.o"));
        assert_eq!(object_in_line("  LD [M]  fs/a.ko\n"), Some("fs/a.ko"));
        assert_eq!(object_in_line("  HOSTCC  scripts/kallsyms\n"), None);
        assert_eq!(object_in_line("kernel/fork.c:1: warning: CC x\n"), None);
    }
}
