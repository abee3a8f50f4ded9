//! Which run folders go: the oldest, and none that holds anything of a person.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::{
    ArtifactsError, KEEP_MARKER, RUN_JSON, RunTime, SWEEP_JSON, TIME_LENGTH, UNFINISHED, UNFINISHED_MARKER,
    behind_time, is_run_name, is_time, read_document,
};
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::machine::{CONSOLE_LOG, QEMU_LOG};
use kshot_stack::document::{RunDocument, Verdict};

/// The number of folders of matching runs that are kept; older ones are pruned.
const KEPT_MATCHES: usize = 30;
/// The number of folders of matching runs of `kshot survey` and `kshot stack` that are kept: a survey of a
/// kernel is some hundred, which its table names.
const KEPT_ANSWERS: usize = 1000;
/// What the names of their scenarios begin with.
const ANSWERS: [&str; 2] = ["survey/", "stack/"];
/// The number of folders of runs that did not finish that are kept: somebody may want to know why.
const KEPT_UNFINISHED: usize = 20;
/// The files of an unfinished run that are no captures.
const OWN_FILES: [&str; 6] =
    [CONSOLE_LOG, "module-sections.txt", "places.txt", QEMU_LOG, "stacks.txt", UNFINISHED_MARKER];

/// Removes the oldest folders of matching runs, except those with `--keep`, and those of the oldest runs that
/// did not finish. All other runs are kept, and so are those from `began` or later, whose paths the user has
/// just been shown, and folders with a file that kshot did not write. Does nothing where there is no `base`.
/// Returns how many it removed.
///
/// # Errors
/// [`ArtifactsError::File`].
pub fn prune(base: &Path, began: &RunTime) -> Result<usize, ArtifactsError> {
    let (mut matches, mut answers, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
    let entries = match fs::read_dir(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(FileError::on("list", base))?,
    };
    for entry in entries {
        let path = entry.map_err(FileError::on("list", base))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.get(..TIME_LENGTH).is_none_or(|time| time >= began.0.as_str()) {
            continue;
        }
        let has = |file: &str| path.join(file).exists();
        if has(KEEP_MARKER) {
            continue;
        }
        let matched = read_document(&path).ok().filter(|document| {
            document.verdict == Verdict::Match && is_of_run(&name, document) && holds_only(&path, document)
        });
        if let Some(document) = matched {
            let is_answer = ANSWERS.iter().any(|begin| document.scenario.starts_with(begin));
            let of_its_kind = if is_answer { &mut answers } else { &mut matches };
            of_its_kind.push(path);
        } else if is_run_name(&name) && !has(RUN_JSON) && !has(SWEEP_JSON) && is_unfinished(&path) {
            unfinished.push(path);
        }
    }
    let mut removed = 0;
    for (mut paths, kept) in [(matches, KEPT_MATCHES), (answers, KEPT_ANSWERS), (unfinished, KEPT_UNFINISHED)]
    {
        // The names begin with the time.
        paths.sort();
        let surplus = paths.len().saturating_sub(kept);
        for path in &paths[..surplus] {
            // A run that still goes on holds its folder.
            if !fs::File::open(path).is_ok_and(|folder| folder.try_lock().is_ok()) {
                continue;
            }
            // Another kshot may be pruning too.
            match fs::remove_dir_all(path) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::on("remove", path)(error).into()),
            }
        }
    }
    Ok(removed)
}

/// Whether a folder's name is one that [`RunFolder::create`] gives to such a run: no other is ever removed.
fn is_of_run(name: &str, document: &RunDocument) -> bool {
    let Some((time, rest)) = name.split_at_checked(TIME_LENGTH) else { return false };
    let behind = behind_time(&document.scenario, &document.kernel.name);
    is_time(time)
        && rest.strip_prefix(&behind).is_some_and(|number| {
            number.is_empty() || number.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok())
        })
}

/// Whether a folder holds the files of its document, and no other.
fn holds_only(folder: &Path, document: &RunDocument) -> bool {
    let known: BTreeSet<&Path> = document.artifacts.values().map(Path::new).collect();
    all_files(folder, &mut |path| {
        known.contains(path) || [RUN_JSON, UNFINISHED_MARKER].map(Path::new).contains(&path)
    })
}

/// Whether a folder is of a run that did not finish: it has the mark, and files whose names are as kshot gives
/// them.
fn is_unfinished(folder: &Path) -> bool {
    let mark = bounded::read(&folder.join(UNFINISHED_MARKER), UNFINISHED.len() as u64);
    mark.is_ok_and(|mark| mark == UNFINISHED.as_bytes())
        && all_files(folder, &mut |path| {
            let name = path.to_string_lossy();
            // Captures are named for their probe and its kind: `perf.perf-script.txt`.
            OWN_FILES.contains(&&*name)
                || name.starts_with("steps/")
                || !name.contains('/') && (name.matches('.').count() > 1 || name.ends_with(".jsonl"))
        })
}

/// Whether each file below a folder, by its path from there, is as asked. One that cannot be listed is not.
fn all_files(folder: &Path, is_asked: &mut dyn FnMut(&Path) -> bool) -> bool {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { return false };
        for entry in entries {
            let Ok((kind, path)) = entry.and_then(|entry| Ok((entry.file_type()?, entry.path()))) else {
                return false;
            };
            if kind.is_dir() {
                folders.push(path);
            } else if !path.strip_prefix(folder).is_ok_and(&mut *is_asked) {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::artifacts::RunFolder;
    use crate::samples::Sample;

    /// The document of a matching run of `id` on `k`.
    fn document(id: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RUN_JSON);
        let mut value = serde_json::to_value(RunDocument::sample()).unwrap();
        (value["scenario"], value["artifacts"]) = (id.into(), serde_json::json!({}));
        fs::write(&path, value.to_string()).unwrap();
        (folder, path)
    }

    #[test]
    fn only_folders_of_runs_are_ever_removed() {
        let base = tempfile::tempdir().unwrap();
        let (_source, document) = document("s");
        let put = |name: &str| {
            fs::create_dir(base.path().join(name)).unwrap();
            fs::copy(&document, base.path().join(name).join(RUN_JSON)).unwrap();
        };
        let times = (0..KEPT_MATCHES + 2).map(|n| format!("20260101T0000{n:02}Z-s-k"));
        times.for_each(|name| put(&name));
        for own in ["0-my-thesis", "20260101T000000Z", "20260101T000000Z-s-k-old", "20260101T000000Z-other-k"]
        {
            put(own);
        }
        put("20260101T000000Z-s-k-2");
        let began = RunTime("20270101T000000Z".into());
        prune(base.path(), &began).unwrap();
        let left = |name: &str| base.path().join(name).is_dir();
        assert!(
            !left("20260101T000000Z-s-k") && !left("20260101T000000Z-s-k-2") && !left("20260101T000001Z-s-k")
        );
        assert!(left("20260101T000002Z-s-k"));
        assert!(left("0-my-thesis") && left("20260101T000000Z") && left("20260101T000000Z-s-k-old"));
        assert!(left("20260101T000000Z-other-k"));
    }

    #[test]
    fn the_folders_of_a_survey_do_not_go_with_those_of_scenarios() {
        let base = tempfile::tempdir().unwrap();
        let put = |id: &str, number: usize| {
            let (_source, document) = document(id);
            let name = format!("20260101T0000{number:02}Z-{}-k", id.replace('/', "."));
            fs::create_dir(base.path().join(&name)).unwrap();
            fs::copy(document, base.path().join(&name).join(RUN_JSON)).unwrap();
        };
        for number in 0..KEPT_MATCHES + 5 {
            ["a/b", "survey/perf", "stack/perf"].into_iter().for_each(|id| put(id, number));
        }
        assert_eq!(prune(base.path(), &RunTime("20270101T000000Z".into())).unwrap(), 5);
        let left = fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left = left.filter(|name| !name.to_string_lossy().contains("-a.b-")).count();
        assert_eq!(left, 2 * (KEPT_MATCHES + 5));
    }

    #[test]
    fn the_folders_of_an_invocation_outlive_it_and_those_of_the_dead_do_not() {
        let base = tempfile::tempdir().unwrap();
        let (_source, document) = document("s");
        let began = RunTime("20260101T000000Z".into());
        for number in 0..KEPT_MATCHES + 5 {
            let folder = base.path().join(format!("20260101T0000{number:02}Z-s-k"));
            fs::create_dir(&folder).unwrap();
            fs::copy(&document, folder.join(RUN_JSON)).unwrap();
        }
        let dead = |number: usize| base.path().join(format!("20250101T0000{number:02}Z-s-k"));
        for number in 0..KEPT_UNFINISHED + 2 {
            fs::create_dir(dead(number)).unwrap();
            fs::write(dead(number).join(UNFINISHED_MARKER), UNFINISHED).unwrap();
            fs::write(dead(number).join("console.log"), "").unwrap();
        }
        let running = fs::File::open(dead(0)).unwrap();
        running.lock().unwrap();
        assert_eq!(prune(base.path(), &began).unwrap(), 1);
        let left = fs::read_dir(base.path()).unwrap().count();
        assert_eq!(left, KEPT_MATCHES + 5 + KEPT_UNFINISHED + 1);
        assert!(dead(0).is_dir() && !dead(1).exists() && dead(2).is_dir());
        prune(&base.path().join("none"), &began).unwrap();
    }

    #[test]
    fn a_folder_with_a_file_of_a_person_is_no_old_run() {
        let base = tempfile::tempdir().unwrap();
        let (_source, document) = document("s");
        let put = |name: String, files: &[(&str, &str)]| {
            let folder = base.path().join(name);
            fs::create_dir_all(folder.join("steps")).unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
        };
        let finished = fs::read_to_string(document).unwrap();
        let mark = (UNFINISHED_MARKER, UNFINISHED);
        for second in 10..10 + KEPT_MATCHES + 10 {
            let put = |year: usize, name: &str, files: &[(&str, &str)]| {
                put(format!("{year}0101T0000{second}Z-{name}"), files);
            };
            put(2020, "my-notes", &[("console.log", ""), ("thesis.txt", "")]);
            put(2021, "my-log", &[("console.log", "")]);
            put(2022, "my-mark", &[("console.log", ""), (UNFINISHED_MARKER, "")]);
            put(2023, "s-k", &[mark, ("console.log", ""), ("thesis.txt", "")]);
            put(2024, "s-k", &[mark, ("console.log", ""), ("keep", "")]);
            put(2025, "s-k", &[(RUN_JSON, &finished), ("thesis.txt", "")]);
            put(2026, "s-k", &[(RUN_JSON, &finished), mark]);
            put(2027, "s-k", &[mark, ("qemu.log", ""), ("a.trace.txt", ""), ("steps/01-01.txt", "")]);
        }
        let all = KEPT_MATCHES + 10;
        assert_eq!(
            prune(base.path(), &RunTime("20300101T000000Z".into())).unwrap(),
            10 + all - KEPT_UNFINISHED
        );
        let left = |year: &str| {
            let names = fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().starts_with(year)).count()
        };
        assert_eq!(["2020", "2021", "2022", "2023", "2024", "2025"].map(left), [all; 6]);
        assert_eq!((left("2026"), left("2027")), (KEPT_MATCHES, KEPT_UNFINISHED));
    }

    #[test]
    fn a_run_folder_says_that_it_is_unfinished_until_it_has_its_document() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), "a/b", "k").unwrap();
        folder.write("steps/01-01.txt", b"").unwrap();
        assert!(is_unfinished(folder.path()));
        assert_eq!(folder.list_files().unwrap().len(), 1, "the mark is none of its artifacts");
        folder.write_document(&RunDocument::sample(), false).unwrap();
        assert!(!folder.path().join(UNFINISHED_MARKER).exists());
        let path = RunFolder::create(base.path(), "a/b", "k").map(|folder| {
            let path = folder.path().to_owned();
            folder.discard();
            path
        });
        assert!(!path.unwrap().exists());
    }
}
