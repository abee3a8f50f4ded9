//! Putting what came back of a unit into the night's own folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Completion, DispatchedUnit, EngineError, RoundFolder, UnitStatus};
use crate::artifacts;
use crate::nightly::{NightlyError, ResultFolder};
use kshot_guest::host::FileError;
use kshot_guest::host::cache;
use kshot_stack::blame::Blame;
use kshot_stack::night::results::{Attempt, AttemptError, Night};
use kshot_stack::text::count_noun;

/// Collects the results of units: each result once, and each file's content once.
#[derive(Debug)]
pub(super) struct ResultCollector<'a> {
    folder: &'a ResultFolder,
    /// The first file with each content, by SHA-256.
    contents: HashMap<String, PathBuf>,
    /// The number of results that arrived twice.
    duplicates: u64,
}

impl<'a> ResultCollector<'a> {
    pub(super) fn new(folder: &'a ResultFolder) -> Self {
        Self { folder, contents: HashMap::new(), duplicates: 0 }
    }

    /// Collects the results of one unit. Returns the host, if it failed the unit. After an interrupted round,
    /// missing results are not counted as failures.
    pub(super) fn collect(
        &mut self,
        round: &RoundFolder,
        sent: &DispatchedUnit,
        status: &UnitStatus,
        end: Completion,
        night: &mut Night,
    ) -> Result<Option<String>, NightlyError> {
        let host = status.host.clone().unwrap_or_else(|| "no host".into());
        let unit = unpack(round, &sent.name)?;
        for number in &sent.unit.pairs {
            let pair = &mut night.pairs[*number];
            let theirs = unit.as_ref().and_then(|(unit, _)| unit.pair(&pair.scenario, &pair.kernel));
            let tries = theirs.map_or(&[][..], |theirs| &theirs.attempts);
            for one in tries {
                let mut one = one.clone();
                one.host.clone_from(&host);
                if pair
                    .attempts
                    .iter()
                    .any(|known| (&known.started, &known.host) == (&one.started, &one.host))
                {
                    self.duplicates += 1;
                    continue;
                }
                if let (Some(run), Some((_, from))) = (&mut one.run, &unit) {
                    let Some(run_folder) = run_folder(from, &run.folder) else {
                        pair.attempts.push(lost_attempt(
                            &host,
                            "its results name a run folder that did not come back",
                        ));
                        continue;
                    };
                    run.folder = self.move_run_folder(&run_folder)?;
                }
                pair.attempts.push(one);
            }
            if tries.is_empty() && end != Completion::Interrupted {
                let absent = unit.as_ref().and_then(|(unit, _)| {
                    let kernel = unit.kernels.iter().find(|kernel| kernel.name == pair.kernel)?;
                    kernel.absent.as_deref()
                });
                // A unit that came back without an error and without a result for a pair was stopped by the
                // deadline.
                if status.error.is_none() && theirs.is_some() && absent.is_none() {
                    continue;
                }
                let what = status.error.as_deref().or(absent).unwrap_or("no results came back");
                pair.attempts.push(lost_attempt(&host, what));
            }
        }
        let failed = status.error.is_some() || unit.is_none();
        Ok(status.host.clone().filter(|_| failed))
    }

    /// Removes the units' files.
    pub(super) fn finish(&self, night: &mut Night) {
        if self.duplicates > 0 {
            night.add_note(format!(
                "{} arrived twice and are counted once",
                count_noun(self.duplicates, "result")
            ));
        }
        let units = self.folder.path().join("units");
        match fs::remove_dir_all(&units) {
            // No unit was sent: everything was done before.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                night.add_note(format!("{} stays: {error}", units.display()));
            }
            _ => {}
        }
    }

    /// Moves a run folder into the night's folder; returns its new path.
    fn move_run_folder(&mut self, from: &Path) -> Result<String, EngineError> {
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut to = self.folder.runs().join(&name);
        for number in 2_u32.. {
            if !to.exists() {
                break;
            }
            to = self.folder.runs().join(format!("{name}-{number}"));
        }
        fs::rename(from, &to).map_err(FileError::on("move", from))?;
        self.deduplicate(&to)?;
        Ok(self.folder.relative(&to))
    }

    /// Replaces files of equal content by hard links: artifacts are never edited.
    fn deduplicate(&mut self, folder: &Path) -> Result<(), EngineError> {
        for entry in fs::read_dir(folder).map_err(FileError::on("list", folder))? {
            let path = entry.map_err(FileError::on("list", folder))?.path();
            let metadata = path.symlink_metadata().map_err(FileError::on("read", &path))?;
            if metadata.is_dir() {
                self.deduplicate(&path)?;
            } else if metadata.is_file() && metadata.size() > 0 {
                let sum = cache::sha256_file(&path)
                    .map_err(|error| FileError::on("read", &path)(std::io::Error::other(error)))?;
                match self.contents.get(&sum) {
                    Some(first) => {
                        let link = path.with_extension("shared");
                        fs::hard_link(first, &link)
                            .and_then(|()| fs::rename(&link, &path))
                            .map_err(FileError::on("link", &path))?;
                    }
                    None => drop(self.contents.insert(sum, path)),
                }
            }
        }
        Ok(())
    }
}

/// The results of a unit and the folder they were unpacked to; `None` if nothing complete was returned.
fn unpack(round: &RoundFolder, name: &str) -> Result<Option<(Night, PathBuf)>, EngineError> {
    let path = round.path.join(format!("{name}.tar"));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::on("open", &path)(error).into()),
    };
    let back = round.path.join(format!("{name}.back"));
    match artifacts::unpack(file, &back) {
        // A disk that is full is ours.
        Err(error) if artifacts::is_of_this_host(error.kind()) => {
            return Err(FileError::on("unpack into", &back)(error).into());
        }
        // A broken archive is the other host's fault.
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    let folder = back.join(name);
    // Results that cannot be read are the other host's fault, too.
    Ok(artifacts::foreign(&folder.join("results.json")).ok().map(|night| (night, folder)))
}

/// The folder of a run in a unit's results, if it is below `runs`.
fn run_folder(unit: &Path, named: &str) -> Option<PathBuf> {
    let below_runs = Path::new(named).parent() == Some(Path::new("runs"));
    let folder = unit.join(named);
    (below_runs && artifacts::is_inside(unit, named) && folder.is_dir()).then_some(folder)
}

fn lost_attempt(host: &str, what: &str) -> Attempt {
    Attempt {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        wall_ms: 0,
        host: host.into(),
        run: None,
        error: Some(AttemptError { blame: Blame::Host, error_chain: format!("on {host}: {what}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lies_below_runs_or_is_lost() {
        let unit = tempfile::tempdir().unwrap();
        fs::create_dir_all(unit.path().join("runs/one")).unwrap();
        fs::create_dir_all(unit.path().join("other")).unwrap();
        let found = |named: &str| run_folder(unit.path(), named).is_some();
        assert!(found("runs/one"));
        for named in ["runs/two", "runs", "other", "", "/etc", "runs/../other", "../x", "runs/one/.."] {
            assert!(!found(named), "{named}");
        }
    }
}
