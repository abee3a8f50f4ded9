//! kshot's own clone of a repository: it has no objects but those of commits that kshot makes, and sees the
//! repository's.

use std::path::Path;
use std::{fs, io};

use super::{GitError, Repository, run};
use crate::bounded;
use crate::host::{FileError, list, tied};
use crate::records;

/// The largest file `shallow` of a repository, in bytes: a line for each commit at which the history is cut
/// off.
const SHALLOW_BYTES_MOST: u64 = 16 << 20;

impl Repository {
    /// A clone in `folder` that shares this repository's objects; an existing clone is reused, and sees what
    /// came since.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn shared_clone(&self, folder: &Path) -> Result<Self, GitError> {
        let clone = Self { path: folder.into(), trusted: Vec::new() };
        if !clone.is_usable()? {
            // An interrupted clone keeps this temporary name, which nothing looks for.
            let underway = folder.with_extension("underway");
            remove_all(&underway)?;
            let format = self.output_of(&["rev-parse", "--show-object-format"])?;
            let (to, format) = (underway.to_string_lossy(), format!("--object-format={format}"));
            // Not `git clone`, which copies the shallow boundary once and does not follow it. No template:
            // its hooks would run on an untrusted tree.
            run(&tied("git", ["init", "--quiet", "--template=", &format, &*to]), "git init")?;
            remove_all(folder)?;
            fs::rename(&underway, folder).map_err(FileError::on("create", folder))?;
        }
        self.share_with(&clone)?;
        Ok(clone)
    }

    /// Whether this clone of kshot's is there and whole, as far as git can tell: a power loss may have left its
    /// HEAD or its index empty.
    fn is_usable(&self) -> Result<bool, GitError> {
        let git = self.path.join(".git");
        if !git.is_dir() {
            return Ok(false);
        }
        self.remove_locks()?;
        // Not `-C`: where .git is broken, git would look for a repository above.
        let (git, top) = (git.to_string_lossy(), self.path.to_string_lossy());
        let read_index = ["--git-dir", &*git, "--work-tree", &*top, "ls-files", "--", "Makefile"];
        match run(&tied("git", read_index), "git ls-files") {
            Ok(_) => Ok(true),
            Err(GitError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the lock files that git left: the clone is kshot's own, and kshot holds its lock, so the process
    /// that made them is dead.
    fn remove_locks(&self) -> Result<(), GitError> {
        for path in list(&self.path.join(".git"))? {
            if path.extension().is_some_and(|extension| extension == "lock") {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Checks out `commit` in kshot's clone and discards every other change. Unchanged files keep their
    /// times, so kbuild rebuilds only what changed.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn checkout(&self, commit: &str) -> Result<(), GitError> {
        self.remove_locks()?;
        self.output_of(&["checkout", "--quiet", "--force", "--detach", commit])?;
        self.output_of(&["clean", "--quiet", "-ffdx"]).map(|_| ())
    }

    /// Reverts `culprit` on top of `onto` in kshot's clone. The new commit has the same id every time.
    ///
    /// # Errors
    /// [`GitError::Conflict`] if the revert does not apply.
    pub fn revert(&self, onto: &str, culprit: &str) -> Result<String, GitError> {
        self.commit_onto("revert", onto, culprit)
    }

    /// Cherry-picks `culprit` onto `onto` in kshot's clone. The new commit has the same id every time.
    ///
    /// # Errors
    /// [`GitError::Conflict`] if the cherry-pick does not apply.
    pub fn cherry_pick(&self, onto: &str, culprit: &str) -> Result<String, GitError> {
        self.commit_onto("cherry-pick", onto, culprit)
    }

    fn commit_onto(&self, verb: &str, onto: &str, culprit: &str) -> Result<String, GitError> {
        self.checkout(onto)?;
        if let Err(error) = self.output_of(&[verb, "--no-commit", culprit]) {
            self.checkout(onto)?;
            return Err(match error {
                // 1 is a conflict (git-revert(1)), and a merge has no parent to go by; else git failed.
                GitError::Failed { status, stderr, .. }
                    if status == Some(1) || stderr.contains("no -m option was given") =>
                {
                    GitError::Conflict { command: format!("git {verb} {culprit}"), stderr }
                }
                error => error,
            });
        }
        let tree = self.output_of(&["write-tree"])?;
        let message = format!("{verb} {culprit}");
        let made = self.output_of(&["commit-tree", "-p", onto, "-m", &message, &tree])?;
        self.output_of(&["reset", "--quiet", "--hard", &made])?;
        Ok(made)
    }

    /// Gives a clone access to everything that this repository has now: its objects, its shallow boundary,
    /// and the remotes of a partial clone. Linked worktrees work, too: git says where each file of
    /// gitrepository-layout(5) lies.
    fn share_with(&self, clone: &Self) -> Result<(), GitError> {
        let git = clone.path.join(".git");
        let path_of = |name: &str| {
            Ok::<_, GitError>(self.path.join(self.output_of(&["rev-parse", "--git-path", name])?))
        };
        let write = |name: &str, bytes: &[u8]| {
            let path = git.join(name);
            records::replace(&path, bytes).map_err(FileError::on("write", &path))
        };
        let (objects, shallow) = (path_of("objects")?, path_of("shallow")?);
        write("objects/info/alternates", format!("{}\n", objects.display()).as_bytes())?;
        match bounded::read(&shallow, SHALLOW_BYTES_MOST) {
            Ok(bytes) => write("shallow", &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&git.join("shallow"))?,
            Err(error) => return Err(FileError::on("read", &shallow)(error).into()),
        }
        for (name, value) in self.promisors()? {
            clone.output_of(&["config", &name, &value])?;
        }
        Ok(())
    }

    /// The settings of the remotes that have the objects which a partial clone lacks (gitformat-pack(5),
    /// "promisor").
    fn promisors(&self) -> Result<Vec<(String, String)>, GitError> {
        let list = self.output_of(&["config", "--null", "--list"])?;
        let settings: Vec<_> = list.split_terminator('\0').filter_map(|one| one.split_once('\n')).collect();
        let promises = |remote: &&str| settings.contains(&(&*format!("{remote}.promisor"), "true"));
        let remotes = settings.iter().filter_map(|(name, _)| name.strip_suffix(".promisor")).filter(promises);
        let remotes: Vec<&str> = remotes.collect();
        let of_remote = |name: &str| {
            remotes.iter().any(|remote| name.rsplit_once('.').is_some_and(|(of, _)| of == *remote))
        };
        let kept = settings.into_iter().filter(|(name, _)| of_remote(name));
        Ok(kept.map(|(name, value)| (name.to_owned(), self.resolved(name, value))).collect())
    }

    /// The value of a setting for the clone: a URL that is a path relative to this repository becomes
    /// absolute.
    fn resolved(&self, name: &str, value: &str) -> String {
        let path = self.path.join(value);
        if name.ends_with(".url") && path.exists() { path.display().to_string() } else { value.to_owned() }
    }
}

fn remove_all(folder: &Path) -> Result<(), FileError> {
    absent(fs::remove_dir_all(folder)).map_err(FileError::on("remove", folder))
}

fn remove(file: &Path) -> Result<(), FileError> {
    absent(fs::remove_file(file)).map_err(FileError::on("remove", file))
}

/// Removing something that does not exist is not an error.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
