//! The files that are sent to a host: kshot itself, the repository's inputs, and one script a unit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{DispatchedUnit, EngineError, RemoteHosts};
use crate::nightly::plan::WorkUnit;
use crate::nightly::{NightContext, TimeLimit};
use crate::workspace;
use kshot_guest::host::FileError;
use kshot_stack::night::results::Night;
use kshot_stack::text::quote;

/// The folder of a round.
#[derive(Debug)]
pub(super) struct RoundFolder {
    /// The folder on this host, with the units and their returned results.
    pub(super) path: PathBuf,
    /// The folder on other hosts, relative to the home folder.
    pub(super) remote: String,
    repeat: u32,
    provision: bool,
    /// The time by which a unit must be done, in seconds since 1970; a unit may have to wait long before it
    /// starts.
    deadline: Option<u64>,
}

impl RoundFolder {
    /// Copies the files that hosts need to `folder`/files.
    pub(super) fn create(
        context: &NightContext<'_>,
        folder: &Path,
        hosts: &RemoteHosts,
        limits: &TimeLimit,
    ) -> Result<Self, EngineError> {
        // Files of an earlier invocation.
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::on("remove", folder)(error).into());
            }
            _ => {}
        }
        let files = folder.join("files");
        copy(&context.workspace.repository.join("images"), &files.join("images"))?;
        // A workspace of one's own has no snapshots at first, and a file that names its kernels.
        for name in ["scenarios", "snapshots"] {
            let from = context.workspace.root.join(name);
            if from.is_dir() {
                copy(&from, &files.join(name))?;
            }
        }
        let own = context.workspace.root.join(workspace::FILE);
        if own.is_file() {
            fs::copy(&own, files.join(workspace::FILE)).map_err(FileError::on("copy", &own))?;
        }
        let units = files.join("units");
        fs::create_dir_all(&units).map_err(FileError::on("create", &units))?;
        let program = std::env::current_exe().map_err(FileError::on("find", Path::new("kshot")))?;
        let target = files.join("kshot");
        fs::copy(&program, &target).map_err(FileError::on("copy", &program))?;
        let key = kshot_guest::host::cache::key([folder.as_os_str().as_encoded_bytes()]);
        Ok(Self {
            path: folder.into(),
            remote: format!(".kshot-nightly/{key}"),
            repeat: context.repeat,
            provision: hosts.provision,
            deadline: limits.remaining().map(|left| since_1970() + left.as_secs()),
        })
    }

    /// Writes a script a unit, the longest unit first.
    pub(super) fn write_units(
        &self,
        units: Vec<WorkUnit>,
        night: &Night,
    ) -> Result<Vec<DispatchedUnit>, EngineError> {
        let mut sent = Vec::new();
        for (index, unit) in units.into_iter().enumerate() {
            let name = format!("unit-{:03}", index + 1);
            let path = self.path.join("files/units").join(format!("{name}.sh"));
            fs::write(&path, self.script(&name, &unit, night)).map_err(FileError::on("write", &path))?;
            sent.push(DispatchedUnit { name, unit });
        }
        Ok(sent)
    }

    fn script(&self, name: &str, unit: &WorkUnit, night: &Night) -> String {
        let scenarios: Vec<String> =
            unit.pairs.iter().map(|pair| quote(&night.pairs[*pair].scenario)).collect();
        let mut options = format!("--jobs 1 --repeat {}", self.repeat);
        if let Some(end) = self.deadline {
            options.push_str(&format!(" --deadline $(({end} - $(date +%s) > 0 ? {end} - $(date +%s) : 0))s"));
        }
        if self.provision {
            options.push_str(" --provision");
        }
        // The archive appears under its name only when it is whole.
        format!(
            "# Runs one unit of a night and packs what it left. Ends with 0 unless the host is at fault.\n\
             export KSHOT_ROOT=\"$PWD/files\"\n\
             rm -rf {name} {name}.tar\n\
             files/kshot nightly --out {name} --history {name}/history.sqlite {options} \\\n  \
               --kernels {} --scenarios {} >{name}.log 2>&1\n\
             status=$?\n\
             mkdir -p {name} && mv {name}.log {name}/kshot.log && rm -f {name}/history.sqlite\n\
             tar -cf {name}.part {name} && mv {name}.part {name}.tar || exit 131\n\
             rm -rf {name}\n\
             [ $status -lt 128 ] || exit $status\n",
            quote(&unit.kernel),
            scenarios.join(" "),
        )
    }
}

fn since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn copy(from: &Path, to: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(to).map_err(FileError::on("create", to))?;
    for entry in fs::read_dir(from).map_err(FileError::on("list", from))? {
        let entry = entry.map_err(FileError::on("list", from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(FileError::on("copy", &path))?;
        }
    }
    Ok(())
}
