//! The git operations of a bisection. The user's repository is only read; all writes go to kshot's own clone.

mod clone; // kshot's own clone of a repository

use std::path::{Path, PathBuf};
use std::time::Duration;

use duct::Expression;

use crate::deadline::TimedOut;
use crate::host::{FileError, OnInterrupt, ProgramError, environment, install, output_of, tied};
use kshot_stack::blame::{Blame, Blamed};

/// How long a command may take: the clone of a kernel's history takes minutes on a slow disk.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// git's message for a repository that belongs to another user (setup.c).
const DUBIOUS: &str = "detected dubious ownership";
/// git's message if neither the folder nor a parent is a repository (setup.c).
const NO_REPOSITORY: &str = "not a git repository";

/// A git repository.
#[derive(Clone, Debug)]
pub struct Repository {
    path: PathBuf,
    /// The repositories of other users that the user trusts: `safe.directory` of git-config(1). Empty where
    /// git asks for none.
    trusted: Vec<String>,
}

/// A commit, and its parents as far as they are in the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCommit {
    /// The commit's full hash.
    pub commit: String,
    /// The full hashes of its parents, the first parent first.
    pub parents: Vec<String>,
}

/// Why a git operation failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The folder is not in a git repository.
    #[error("{} is not in a git repository", path.display())]
    NoRepository {
        /// The folder.
        path: PathBuf,
    },
    /// The repository belongs to another user, and git reads it for those alone who say that they trust it.
    #[error("{} belongs to another user, and git does not trust it", path.display())]
    NotTrusted {
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
        /// Whether the repository has only the newest part of its history.
        shallow: bool,
    },
    /// Two commits have no ancestor in common.
    #[error("{} has no common ancestor of {} and {}", path.display(), commits[0], commits[1])]
    NoCommonAncestor {
        /// The repository.
        path: PathBuf,
        /// The revisions.
        commits: [String; 2],
        /// Whether the repository has only the newest part of its history.
        shallow: bool,
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
        /// The exit status; `None` after a signal.
        status: Option<i32>,
        /// The standard error of git.
        stderr: String,
    },
    /// A file of kshot's clone cannot be written, or one of the repository cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
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

impl Blamed for GitError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoRepository { .. }
            | Self::NotTrusted { .. }
            | Self::NoCommit { .. }
            | Self::NoCommonAncestor { .. } => Blame::Usage,
            Self::Conflict { .. } => Blame::Guest,
            Self::Failed { .. } | Self::File(_) | Self::Spawn(_) | Self::TimedOut(_) => Blame::Host,
            Self::Interrupted => Blame::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRepository { .. } => Some("name the git tree of a kernel".into()),
            Self::NotTrusted { path } => {
                // git takes absolute paths alone.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                Some(format!("trust it with `git config --global --add safe.directory {}`", path.display()))
            }
            Self::NoCommit { shallow: true, .. } | Self::NoCommonAncestor { shallow: true, .. } => Some(
                "its history is shallow: `git fetch --unshallow`, or `git fetch --deepen=N` until both are there"
                    .into(),
            ),
            Self::Spawn(_) => Some(install(["git"])),
            _ => None,
        }
    }
}

impl Repository {
    /// The repository around `path`.
    ///
    /// # Errors
    /// [`GitError::NoRepository`], [`GitError::NotTrusted`]; others where git cannot tell.
    pub fn at(path: &Path) -> Result<Self, GitError> {
        let mut here = Self { path: path.into(), trusted: Vec::new() };
        let nothing = || GitError::NoRepository { path: path.into() };
        if !path.is_dir() {
            return Err(nothing());
        }
        let mut folder = here.output_of(&["rev-parse", "--absolute-git-dir"]);
        if folder.as_ref().is_err_and(|error| error.says(DUBIOUS)) {
            here.trusted = trusted()?;
            folder = here.output_of(&["rev-parse", "--absolute-git-dir"]);
        }
        let folder = folder.map_err(|error| match error {
            error if error.says(DUBIOUS) => GitError::NotTrusted { path: path.into() },
            error if error.says(NO_REPOSITORY) => nothing(),
            error => error,
        })?;
        // A bare repository has no top.
        let top = here.output_of(&["rev-parse", "--show-toplevel"]).ok().filter(|top| !top.is_empty());
        Ok(Self { path: top.unwrap_or(folder).into(), ..here })
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
        id.map_err(|error| match error {
            // With `--quiet`, git exits with 1 and prints nothing.
            GitError::Failed { status: Some(1), .. } => {
                let (path, revision, shallow) = (self.path.clone(), revision.into(), self.is_shallow());
                GitError::NoCommit { path, revision, shallow }
            }
            error => error,
        })
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
    /// [`GitError::NoCommonAncestor`] where there are none; others of [`GitError`].
    pub fn merge_bases(&self, one: &str, other: &str) -> Result<Vec<String>, GitError> {
        match self.output_of(&["merge-base", "--all", one, other]) {
            Ok(bases) => Ok(bases.lines().map(str::to_owned).collect()),
            // git-merge-base(1) ends so where it has found none.
            Err(GitError::Failed { status: Some(1), .. }) => {
                let commits = [one, other].map(str::to_owned);
                let (path, shallow) = (self.path.clone(), self.is_shallow());
                Err(GitError::NoCommonAncestor { path, commits, shallow })
            }
            Err(error) => Err(error),
        }
    }

    /// The commits reachable from `new` and not from `old`, parents first, with the history simplified to
    /// `paths` as git rev-list does.
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
        let subjects = run(&show, "git log")?;
        Ok(subjects.lines().map(str::to_owned).collect())
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

    /// Whether the history was cut off when it was fetched (`--depth`).
    fn is_shallow(&self) -> bool {
        self.output_of(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|answer| answer == "true")
    }

    fn output_of(&self, argv: &[&str]) -> Result<String, GitError> {
        run(&self.git(argv), &format!("git {}", argv[0]))
    }

    fn git(&self, argv: &[&str]) -> Expression {
        let path = self.path.to_string_lossy();
        // The user's repository is only read: not even the times in its index are brought up to date.
        let before = ["--no-optional-locks", "-C", &*path];
        let command = tied("git", before.iter().copied().chain(argv.iter().copied()));
        // The user's hooks, signatures and editor must not affect kshot's clone; a commit id must not depend
        // on the time.
        let mut command = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for (name, value) in
            [("NAME", "kshot"), ("EMAIL", "kshot@localhost"), ("DATE", "1970-01-01T00:00:00+0000")]
        {
            command =
                command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        // The rest of the user's configuration is left out above.
        command = command.env("GIT_CONFIG_COUNT", self.trusted.len().to_string());
        for (number, folder) in self.trusted.iter().enumerate() {
            command = command
                .env(format!("GIT_CONFIG_KEY_{number}"), "safe.directory")
                .env(format!("GIT_CONFIG_VALUE_{number}"), folder);
        }
        command
    }
}

impl GitError {
    /// Whether git failed with these words.
    fn says(&self, words: &str) -> bool {
        matches!(self, Self::Failed { stderr, .. } if stderr.contains(words))
    }
}

/// The `safe.directory` of the system, the user and the environment, in git's order: an empty value clears those
/// before it. That of a repository itself does not count (git-config(1)).
fn trusted() -> Result<Vec<String>, GitError> {
    let mut list = tied("git", ["-C", "/", "config", "--list", "--null", "--show-scope", "--includes"]);
    // What chooses and adds to the configuration: CI has nothing else.
    for (name, value) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("GIT_CONFIG_")) {
            list = list.env(name, value);
        }
    }
    let listed = match run(&list, "git config") {
        Ok(listed) => listed,
        // git cannot read the configuration.
        Err(GitError::Failed { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut words = listed.split_terminator('\0');
    let mut folders = Vec::new();
    while let (Some(scope), Some(setting)) = (words.next(), words.next()) {
        let value = setting.strip_prefix("safe.directory\n");
        folders.extend(value.filter(|_| ["system", "global", "command"].contains(&scope)).map(str::to_owned));
    }
    Ok(folders)
}

fn run(expression: &Expression, command: &str) -> Result<String, GitError> {
    let expression = expression.full_env(environment(std::env::vars_os()));
    let output = output_of(&expression, command, LIMIT, OnInterrupt::Kill)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(GitError::Failed {
        command: command.into(),
        status: output.status.code(),
        stderr: if stderr.is_empty() { output.status.to_string() } else { stderr },
    })
}

impl From<ProgramError> for GitError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::CannotRun(source) => Self::Spawn(source),
            ProgramError::TimedOut(late) => Self::TimedOut(late),
            ProgramError::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "git does the work")]
mod tests {
    use std::fs;

    use duct::cmd;

    use super::*;

    #[test]
    fn a_clone_that_was_cut_off_and_a_lock_that_was_left_heal() {
        let (folder, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (repository, ids) = repository(folder.path());
        let clone_folder = base.path().join("source");
        fs::create_dir_all(clone_folder.with_extension("underway").join(".git/objects")).unwrap();
        fs::create_dir_all(&clone_folder).unwrap();
        fs::write(clone_folder.join("half"), "").unwrap();
        let clone = repository.shared_clone(&clone_folder).unwrap();
        fs::write(clone_folder.join(".git/index.lock"), "").unwrap();
        clone.checkout(&ids[0]).unwrap();
        assert_eq!(fs::read_to_string(clone_folder.join("file")).unwrap(), "one\n");
        let git = |name: &str| clone_folder.join(".git").join(name);
        let damages: [&dyn Fn() -> std::io::Result<()>; 6] = [
            &|| fs::write(git("HEAD.lock"), ""),
            &|| fs::write(git("config.lock"), ""),
            &|| fs::write(git("HEAD"), ""),
            &|| fs::remove_file(git("HEAD")),
            &|| fs::write(git("index"), ""),
            &|| fs::write(git("index"), vec![0; 200]),
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            damage().unwrap();
            let clone = repository.shared_clone(&clone_folder).unwrap();
            clone.checkout(&ids[1]).unwrap_or_else(|error| panic!("damage {number}: {error}"));
            assert_eq!(fs::read_to_string(clone_folder.join("file")).unwrap(), "one\ntwo\n");
        }
        assert!(
            !clone_folder.join(".git/hooks").exists() && !clone_folder.with_extension("underway").exists()
        );
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
        let error = clone.revert(&commits[2], &"0".repeat(40)).unwrap_err();
        assert_eq!(error.blame(), Blame::Host, "git failed for another reason: {error}");
        // And the clone can be worked with.
        clone.checkout(&commits[1]).unwrap();
        clone.cherry_pick(&commits[1], &commits[2]).unwrap();
        assert_eq!(fs::read_to_string(clone.path().join("file")).unwrap(), "one\ntwo\nthree\n");
    }

    /// A clone of the repository in `folder` as a server gives it, made with git's own `words`.
    fn fetched(folder: &Path, words: &[&str]) -> tempfile::TempDir {
        let into = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.display());
        let argv = ["clone", "--quiet"].iter().chain(words).copied();
        run(&duct::cmd("git", argv.chain([&*url, into.path().to_str().unwrap()])), "git clone").unwrap();
        into
    }

    fn text_at(clone: &Repository, commit: &str) -> String {
        clone.checkout(commit).unwrap();
        fs::read_to_string(clone.path().join("file")).unwrap()
    }

    #[test]
    fn a_kept_clone_follows_a_shallow_history_that_grows_at_both_ends() {
        let (folder, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (origin, commits) = repository(folder.path());
        let shallow = fetched(folder.path(), &["--depth=1"]);
        let users = Repository::at(shallow.path()).unwrap();
        let clone_folder = work.path().join("clone");
        assert_eq!(text_at(&users.shared_clone(&clone_folder).unwrap(), &commits[2]), "one\ntwo\nthree\n");
        let error = users.commit(&commits[0]).unwrap_err();
        assert!(matches!(error, GitError::NoCommit { shallow: true, .. }), "{error}");
        assert!(error.hint().unwrap().contains("--deepen"));
        users.output_of(&["fetch", "--quiet", "--deepen=1"]).unwrap();
        assert_eq!(text_at(&users.shared_clone(&clone_folder).unwrap(), &commits[1]), "one\ntwo\n");
        fs::write(folder.path().join("file"), "four\n").unwrap();
        origin.output_of(&["commit", "--quiet", "--all", "-m", "four"]).unwrap();
        users.output_of(&["fetch", "--quiet", "--unshallow"]).unwrap();
        let clone = users.shared_clone(&clone_folder).unwrap();
        assert_eq!(text_at(&clone, &commits[0]), "one\n");
        assert_eq!(text_at(&clone, &origin.commit("HEAD").unwrap()), "four\n");
        assert!(!clone_folder.join(".git/shallow").exists());
    }

    #[test]
    fn ends_that_a_shallow_history_does_not_connect_are_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let (_, commits) = repository(folder.path());
        let shallow = fetched(folder.path(), &["--depth=1"]);
        let users = Repository::at(shallow.path()).unwrap();
        users.output_of(&["fetch", "--quiet", "--depth=1", "origin", &commits[0]]).unwrap();
        let error = users.merge_bases(&commits[0], &commits[2]).unwrap_err();
        assert!(matches!(error, GitError::NoCommonAncestor { shallow: true, .. }), "{error}");
        assert_eq!(error.blame(), Blame::Usage);
    }

    #[test]
    fn a_partial_clone_and_a_linked_worktree_are_followed_to_their_objects() {
        let (folder, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (origin, commits) = repository(folder.path());
        for setting in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
            origin.output_of(&["config", setting, "true"]).unwrap();
        }
        let partial = fetched(folder.path(), &["--filter=blob:none"]);
        let users = Repository::at(partial.path()).unwrap();
        let clone = users.shared_clone(&work.path().join("partial")).unwrap();
        assert_eq!(text_at(&clone, &commits[0]), "one\n", "no blob of it was fetched before");
        let linked = work.path().join("linked");
        users.output_of(&["worktree", "add", "--quiet", &linked.to_string_lossy(), &commits[1]]).unwrap();
        let linked = Repository::at(&linked.join(".")).unwrap();
        let clone = linked.shared_clone(&work.path().join("of-linked")).unwrap();
        assert_eq!(text_at(&clone, &commits[0]), "one\n");
        assert_eq!(clone.revert(&commits[2], &commits[2]).unwrap().len(), commits[2].len());
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
