//! The git operations of a bisection. The user's repository is only read; all writes go to kshot's own clone.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use duct::Expression;

use crate::deadline::{Deadline, PollResult, TimedOut};
use crate::host::{environment, install, interrupt, tied};
use kshot_stack::fault::{Blame, Fault};

/// How long a command may take: the clone of a kernel's history takes minutes on a slow disk.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// A git repository.
#[derive(Clone, Debug)]
pub struct Repository {
    path: PathBuf,
}

/// A commit, and its parents as far as they are in the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCommit {
    /// Its full hash.
    pub commit: String,
    /// The full hashes of its parents, the first parent first.
    pub parents: Vec<String>,
}

/// Why a git operation failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The folder is not in a git repository.
    #[error("{} is in no git repository", path.display())]
    NoRepository {
        /// The folder.
        path: PathBuf,
    },
    /// The repository has no such commit.
    #[error("{} has no commit `{revision}`", path.display())]
    NoCommit {
        /// The repository.
        path: PathBuf,
        /// The revision that was looked up.
        revision: String,
    },
    /// A revert or cherry-pick does not apply.
    #[error("{command}: {stderr}")]
    Conflict {
        /// The git command ("git revert 0123...").
        command: String,
        /// The standard error of git.
        stderr: String,
    },
    /// A command failed.
    #[error("{command} failed: {stderr}")]
    Failed {
        /// The command.
        command: String,
        /// The standard error of git.
        stderr: String,
    },
    /// git could not be run.
    #[error("cannot run git")]
    Spawn(#[from] std::io::Error),
    /// A command did not end in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// Ctrl-C, SIGTERM or SIGHUP arrived.
    #[error("interrupted")]
    Interrupted,
}

impl Fault for GitError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoRepository { .. } | Self::NoCommit { .. } => Blame::Usage,
            Self::Conflict { .. } => Blame::Guest,
            Self::Failed { .. } | Self::Spawn(_) | Self::TimedOut(_) => Blame::Host,
            Self::Interrupted => Blame::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRepository { .. } => Some("name the git tree of a kernel".into()),
            Self::Spawn(_) => Some(install(["git"])),
            _ => None,
        }
    }
}

impl Repository {
    /// The repository around `path`.
    ///
    /// # Errors
    /// [`GitError::NoRepository`].
    pub fn at(path: &Path) -> Result<Self, GitError> {
        let here = Self { path: path.into() };
        let nothing = || GitError::NoRepository { path: path.into() };
        if !path.is_dir() {
            return Err(nothing());
        }
        let top = match here.output_of(&["rev-parse", "--show-toplevel"]) {
            Ok(top) if !top.is_empty() => top,
            // A bare repository has no top.
            _ => here.output_of(&["rev-parse", "--absolute-git-dir"]).map_err(|_| nothing())?,
        };
        Ok(Self { path: top.into() })
    }

    /// The repository's top folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The full id of a commit.
    ///
    /// # Errors
    /// [`GitError::NoCommit`].
    pub fn commit(&self, revision: &str) -> Result<String, GitError> {
        let id = self.output_of(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &format!("{revision}^{{commit}}"),
        ]);
        id.map_err(|_| GitError::NoCommit { path: self.path.clone(), revision: revision.into() })
    }

    /// The commit that is checked out; `None` where files of it are changed, or none is.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn clean_head(&self) -> Result<Option<String>, GitError> {
        let changed = self.output_of(&["status", "--porcelain", "--untracked-files=no"])?;
        Ok(if changed.is_empty() { self.commit("HEAD").ok() } else { None })
    }

    /// The merge bases of two commits.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn merge_bases(&self, one: &str, other: &str) -> Result<Vec<String>, GitError> {
        let bases = self.output_of(&["merge-base", "--all", one, other])?;
        Ok(bases.lines().map(str::to_owned).collect())
    }

    /// The commits reachable from `new` and not from `old`, parents first, with the history simplified to `paths` as
    /// git rev-list does.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn list(&self, old: &[String], new: &str, paths: &[String]) -> Result<Vec<ListedCommit>, GitError> {
        let without: Vec<String> = old.iter().map(|commit| format!("^{commit}")).collect();
        let mut argv = vec!["rev-list", "--topo-order", "--reverse", "--parents", new];
        argv.extend(without.iter().map(String::as_str));
        argv.push("--");
        argv.extend(paths.iter().map(String::as_str));
        let listed = self.output_of(&argv)?;
        let mut commits = Vec::new();
        for line in listed.lines() {
            let mut ids = line.split_whitespace().map(str::to_owned);
            commits.extend(ids.next().map(|commit| ListedCommit { commit, parents: ids.collect() }));
        }
        Ok(commits)
    }

    /// The subject of each commit, in the order of `commits`.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn subjects(&self, commits: &[String]) -> Result<Vec<String>, GitError> {
        let show = self
            .git(&["log", "--no-walk=unsorted", "--stdin", "--format=%s"])
            .stdin_bytes(commits.join("\n"));
        let stderr = run(&show, "git log")?;
        Ok(stderr.lines().map(str::to_owned).collect())
    }

    /// A commit as `git show --stat` prints it: author, date, message and changed files.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn show(&self, commit: &str) -> Result<String, GitError> {
        self.output_of(&[
            "show",
            "--no-color",
            "--stat",
            "--format=commit %H%nAuthor: %an <%ae>%nDate:   %ad%n%n%w(0,4,4)%B",
            commit,
        ])
    }

    /// A clone in `folder` that shares this repository's objects; an existing clone is reused.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn shared_clone(&self, folder: &Path) -> Result<Self, GitError> {
        let clone = Self { path: folder.into() };
        if !folder.join(".git").is_dir() {
            let from = self.path.to_string_lossy();
            // What was cut off has no name that is ever looked for.
            let underway = folder.with_extension("underway");
            remove_all(&underway)?;
            let to = underway.to_string_lossy();
            // Without a template: its hooks would run on a stranger's tree.
            let git =
                tied("git", ["clone", "--quiet", "--template=", "--shared", "--no-checkout", &*from, &*to]);
            run(&git, "git clone")?;
            remove_all(folder)?;
            fs::rename(&underway, folder)?;
        }
        Ok(clone)
    }

    /// Checks out `commit` in kshot's clone and discards every other change. Unchanged files keep their times, so
    /// kbuild rebuilds only what changed.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn checkout(&self, commit: &str) -> Result<(), GitError> {
        // The clone is kshot's own and locked: whoever left a lock of git's in it is dead.
        match fs::remove_file(self.path.join(".git/index.lock")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
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
            let GitError::Failed { stderr, .. } = error else { return Err(error) };
            return Err(GitError::Conflict { command: format!("git {verb} {culprit}"), stderr });
        }
        let tree = self.output_of(&["write-tree"])?;
        let message = format!("{verb} {culprit}");
        let made = self.output_of(&["commit-tree", "-p", onto, "-m", &message, &tree])?;
        self.output_of(&["reset", "--quiet", "--hard", &made])?;
        Ok(made)
    }

    fn output_of(&self, argv: &[&str]) -> Result<String, GitError> {
        run(&self.git(argv), &format!("git {}", argv[0]))
    }

    fn git(&self, argv: &[&str]) -> Expression {
        let command =
            tied("git", ["-C", &*self.path.to_string_lossy()].iter().copied().chain(argv.iter().copied()));
        // The user's hooks, signatures and editor must not affect kshot's clone; a commit id must not depend on the
        // time.
        let mut command =
            command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
        for (name, value) in
            [("NAME", "kshot"), ("EMAIL", "kshot@localhost"), ("DATE", "1970-01-01T00:00:00+0000")]
        {
            command =
                command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        // These variables are set inside a hook or by `git bisect run`, and would override `-C`.
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"]
            .into_iter()
            .fold(command, |command, name| command.env_remove(name))
    }
}

fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn run(expression: &Expression, command: &str) -> Result<String, GitError> {
    interrupt::install_handlers()?;
    let expression = expression.full_env(environment(std::env::vars_os()));
    let handle = expression.stdout_capture().stderr_capture().unchecked().start()?;
    let ended = Deadline::new(format!("the end of {command}"), LIMIT).poll(|slice| {
        if interrupt::arrived() {
            return Err(GitError::Interrupted);
        }
        Ok(handle.wait_timeout(slice)?.map_or(PollResult::Pending(None), |_| PollResult::Done(())))
    });
    if ended.is_err() {
        // It fails only for one that has ended.
        drop(handle.kill());
    }
    ended?;
    let output = handle.into_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(GitError::Failed {
        command: command.into(),
        stderr: if stderr.is_empty() { output.status.to_string() } else { stderr },
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "git does the work")]
mod tests {
    use duct::cmd;

    use super::*;

    #[test]
    fn a_clone_that_was_cut_off_and_a_lock_that_was_left_heal() {
        let (folder, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (repository, ids) = repository(folder.path());
        let place = base.path().join("source");
        fs::create_dir_all(place.with_extension("underway").join(".git/objects")).unwrap();
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("half"), "").unwrap();
        let clone = repository.shared_clone(&place).unwrap();
        fs::write(place.join(".git/index.lock"), "").unwrap();
        clone.checkout(&ids[0]).unwrap();
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "one\n");
        assert!(!place.join(".git/hooks").exists() && !place.with_extension("underway").exists());
    }

    /// A repository with the commits `one`, `two`, `three` in a row, each adding a line to `file`.
    fn repository(folder: &Path) -> (Repository, Vec<String>) {
        run(&cmd!("git", "init", "--quiet", folder), "git init").unwrap();
        let repository = Repository::at(folder).unwrap();
        let mut text = String::new();
        let commits = ["one", "two", "three"].map(|name| {
            text.push_str(&format!("{name}\n"));
            fs::write(folder.join("file"), &text).unwrap();
            fs::write(folder.join(name), name).unwrap();
            repository.output_of(&["add", "."]).unwrap();
            repository.output_of(&["commit", "--quiet", "-m", name]).unwrap();
            repository.commit("HEAD").unwrap()
        });
        (repository, commits.to_vec())
    }

    #[test]
    fn commits_come_with_their_parents_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let (repository, commits) = repository(folder.path());
        let listed = repository.list(&commits[..1], &commits[2], &[]).unwrap();
        let row =
            |at: usize| ListedCommit { commit: commits[at].clone(), parents: vec![commits[at - 1].clone()] };
        assert_eq!(listed, [row(1), row(2)]);
        assert_eq!(repository.subjects(&commits).unwrap(), ["one", "two", "three"]);
        let touching = repository.list(&commits[..1], &commits[2], &["three".into()]).unwrap();
        assert_eq!(touching.len(), 1);
        assert_eq!(repository.merge_bases(&commits[0], &commits[2]).unwrap(), commits[..1]);
    }

    #[test]
    fn a_clone_goes_from_commit_to_commit_and_leaves_the_users_tree_alone() {
        let (folder, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (repository, commits) = repository(folder.path());
        let clone = repository.shared_clone(&work.path().join("clone")).unwrap();
        clone.checkout(&commits[0]).unwrap();
        assert_eq!(fs::read_to_string(clone.path().join("file")).unwrap(), "one\n");
        fs::write(clone.path().join("left-over"), "").unwrap();
        clone.checkout(&commits[2]).unwrap();
        assert!(clone.path().join("three").exists() && !clone.path().join("left-over").exists());
        assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_commit_taken_back_has_the_same_id_each_time_and_a_conflict_says_so() {
        let (folder, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (repository, commits) = repository(folder.path());
        let clone = repository.shared_clone(&work.path().join("clone")).unwrap();
        let reverted = clone.revert(&commits[2], &commits[2]).unwrap();
        assert_eq!(fs::read_to_string(clone.path().join("file")).unwrap(), "one\ntwo\n");
        assert_eq!(clone.revert(&commits[2], &commits[2]).unwrap(), reverted);
        let error = clone.revert(&commits[2], &commits[1]).unwrap_err();
        assert_eq!(error.blame(), Blame::Guest, "{error}");
        // And the clone can be worked with.
        clone.checkout(&commits[1]).unwrap();
        assert!(clone.cherry_pick(&commits[1], &commits[2]).is_ok());
    }

    #[test]
    fn a_folder_without_git_and_a_name_without_commit_are_the_users_faults() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Repository::at(&folder.path().join("no")), Err(GitError::NoRepository { .. })));
        let (repository, _) = repository(folder.path());
        assert!(matches!(repository.commit("v9.9"), Err(GitError::NoCommit { .. })));
        assert!(matches!(repository.commit("--all"), Err(GitError::NoCommit { .. })));
    }
}
