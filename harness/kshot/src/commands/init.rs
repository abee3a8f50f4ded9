//! `kshot init`: a workspace of one's own, so that scenarios live beside the code that they guard.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CommandError, Streams, paths};
use crate::workspace::{FILE, Workspace};
use kshot_guest::host::FileError;
use kshot_guest::kernel::{Kernel, is_kernel_name};
use kshot_stack::exit::ExitCode;

/// What a new workspace begins with: a function that every kernel has and every guest can call.
const EXAMPLE: &str = "\
# yaml-language-server: $schema=schema.json
summary: who calls vfs_mkdir
kernels: [KERNEL]
steps:
  - run: |
      cd /sys/kernel/tracing
      echo vfs_mkdir > set_ftrace_filter
      echo 1 > options/func_stack_trace
      echo function > current_tracer
  - run: mkdir /tmp/a && rmdir /tmp/a
    repeat: 3
probes:
  - gdb: { break: vfs_mkdir }
  - ftrace: { only: [vfs_mkdir] }
  - perf: { probe: vfs_mkdir, call-graph: fp }
";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder, new or empty; default: `kshot` in a kernel's source tree, the current folder elsewhere
    #[arg(value_name = "FOLDER", value_parser = paths::folder())]
    folder: Option<PathBuf>,
    /// The kernel to test: a build folder or a vmlinux; default: the source tree around the current folder
    #[arg(long, value_name = "PATH")]
    kernel: Option<PathBuf>,
    /// The kernel's name in scenarios and snapshots
    #[arg(long, default_value = "mine")]
    name: String,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let here = std::env::current_dir().map_err(FileError::on("find", Path::new(".")))?;
        let tree = here.ancestors().find(|folder| is_kernel_tree(folder)).map(Path::to_owned);
        let folder = match (&self.folder, &tree) {
            (Some(folder), _) => here.join(folder),
            (None, Some(tree)) => tree.join("kshot"),
            (None, None) => here.clone(),
        };
        let path = self.kernel.map(|path| here.join(path)).or(tree).ok_or_else(|| {
            CommandError::usage(
                "the current folder is not in a kernel source tree",
                "say where it is built: --kernel ../linux",
            )
        })?;
        if fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()) {
            return Err(CommandError::usage(
                format!("{} is not empty", folder.display()),
                "name a new folder: kshot init FOLDER",
            ));
        }
        // All that may be wrong is found before anything is written.
        let repository = Workspace::find(None)?;
        if !is_kernel_name(&self.name) {
            return Err(CommandError::usage(
                format!("`{}` is not a valid kernel name", self.name.escape_debug()),
                "use letters, digits and .+_-",
            ));
        }
        if repository.catalogue()?.get(&self.name).is_some() {
            return Err(CommandError::usage(
                format!("the catalogue already has a kernel `{}`", self.name),
                "choose a name that `kshot list` does not show",
            ));
        }
        let kernel = Kernel::from_path(&path, &repository.images(), &repository.cache)?;
        let path = path.canonicalize().map_err(FileError::on("find", &path))?;
        let utf8 = path.to_str().ok_or_else(|| {
            CommandError::usage(
                format!("{} is not UTF-8, and {FILE} cannot name it", path.display()),
                "rename the folder, or name the kernel with --kernel PATH",
            )
        })?;
        let schema = repository.repository.join("scenarios/schema.json");
        let schema = fs::read_to_string(&schema).map_err(FileError::on("read", &schema))?;
        let files = [
            (FILE, kernels(&self.name, &kernel, utf8)),
            ("scenarios/example.yaml", EXAMPLE.replace("KERNEL", &self.name)),
            ("scenarios/schema.json", schema),
            (".gitignore", "*.snap.new\n".to_owned()),
        ];
        for (name, text) in files {
            let file = folder.join(name);
            let parent = file.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).map_err(FileError::on("create", parent))?;
            fs::write(&file, text).map_err(FileError::on("write", &file))?;
        }
        writeln!(
            streams.out,
            "created {}, which tests {} ({}, {})\n\
             Next: change to that folder, edit scenarios/example.yaml, then\n  \
             kshot run example        # what every reporter says\n  \
             kshot record example     # claims and snapshots, for review\n  \
             kshot test               # from now on",
            folder.display(),
            path.display(),
            kernel.release,
            kernel.arch
        )?;
        Ok(ExitCode::Match)
    }
}

fn kernels(name: &str, kernel: &Kernel, path: &str) -> String {
    let entry =
        serde_json::json!({ "name": name, "arch": kernel.arch, "source": { "built": { "path": path } } });
    format!(
        "# The kernels that scenarios here may name, beside those of `kshot list`. JSON is YAML.\nkernels:\n  - {entry}\n"
    )
}

fn is_kernel_tree(folder: &Path) -> bool {
    ["Kbuild", "MAINTAINERS", "arch"].iter().all(|name| folder.join(name).exists())
}
