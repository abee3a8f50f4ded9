//! The locations of everything: the repository's folders, the cache, the run folders.

use std::path::{Path, PathBuf};
use std::{env, fs};

use kshot_guest::host::cache::{Cache, CacheError};
use kshot_guest::host::user_folder;
use kshot_guest::kernel::{Catalogue, ImagesFolder, KernelError, ProvisionContext};
use kshot_guest::progress::Progress;
use kshot_stack::blame::{Blame, Blamed, passed_on_hint};

/// The file that makes a folder a workspace of one's own, and names its kernels.
pub const FILE: &str = "kshot.yaml";

/// The folders that a command works with.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder with `scenarios/` and `snapshots/`: kshot's repository, or a workspace of one's own.
    pub root: PathBuf,
    /// kshot's repository, the folder with `images/`.
    pub repository: PathBuf,
    /// The cache of downloads and builds.
    pub cache: Cache,
    /// The folder of the run folders.
    pub runs_folder: PathBuf,
}

/// Why the workspace cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// No workspace was found.
    #[error("neither kshot.yaml nor images/kernels.yaml in {} or above it", from.display())]
    NoRoot {
        /// The folder where the search began.
        from: PathBuf,
    },
    /// `KSHOT_ROOT` names a folder that is not a workspace.
    #[error("KSHOT_ROOT is {}, which has neither kshot.yaml nor images/kernels.yaml", root.display())]
    BadRoot {
        /// The variable's value.
        root: PathBuf,
    },
    /// kshot's repository is gone from where kshot was built.
    #[error("no images/kernels.yaml in {}, where kshot was built", from.display())]
    NoRepository {
        /// The folder where it was.
        from: PathBuf,
    },
    /// The cache has no location.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Blamed for WorkspaceError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Cache(error) => Some(error),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        Blame::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRoot { .. } | Self::BadRoot { .. } => Some(
                "run kshot in its repository or in a folder that `kshot init` made, or set KSHOT_ROOT".into(),
            ),
            Self::NoRepository { .. } => {
                Some("clone it there again, or build kshot anew: cargo install --path harness/kshot".into())
            }
            Self::Cache(_) => passed_on_hint(self),
        }
    }
}

impl Workspace {
    /// The workspace around the current folder: `KSHOT_ROOT`, else the nearest folder upwards that holds a
    /// `kshot.yaml` or `images/kernels.yaml`, else the repository that kshot was built in. Run folders go to
    /// `out`, else below `${XDG_STATE_HOME:-~/.local/state}/kshot/runs`.
    ///
    /// # Errors
    /// [`WorkspaceError`].
    pub fn find(out: Option<&Path>) -> Result<Self, WorkspaceError> {
        let root = find_root()?;
        let repository = if is_repository(&root) { root.clone() } else { built_in()? };
        let cache = Cache::default_path()?;
        let runs = match out {
            Some(out) => out.to_owned(),
            None => state_home().ok_or(CacheError::NoHome)?.join("kshot/runs"),
        };
        Ok(Self { root, repository, cache, runs_folder: std::path::absolute(&runs).unwrap_or(runs) })
    }

    /// The kernels: those of the workspace's `kshot.yaml`, then those of `images/kernels.yaml`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn catalogue(&self) -> Result<Catalogue, KernelError> {
        let mut catalogue = Catalogue::load(&self.images().kernels_yaml())?;
        let own = self.root.join(FILE);
        if own.is_file() {
            catalogue.add_workspace(&own)?;
        }
        Ok(catalogue)
    }

    /// The path of the history of nights: `${XDG_STATE_HOME:-~/.local/state}/kshot/history.sqlite`.
    ///
    /// # Errors
    /// [`WorkspaceError::Cache`] where neither variable is set.
    pub fn history_path() -> Result<PathBuf, WorkspaceError> {
        Ok(state_home().ok_or(CacheError::NoHome)?.join("kshot/history.sqlite"))
    }

    /// The path of `scenarios/`.
    pub fn scenarios(&self) -> PathBuf {
        self.root.join("scenarios")
    }

    /// The path of `snapshots/`.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The context in which kernels and userlands are provisioned.
    pub fn provisioning<'a>(&'a self, progress: &'a Progress) -> ProvisionContext<'a> {
        ProvisionContext { images: self.images(), cache: &self.cache, progress }
    }

    /// The `images/` folder.
    pub fn images(&self) -> ImagesFolder {
        ImagesFolder::new(self.repository.join("images"))
    }
}

fn find_root() -> Result<PathBuf, WorkspaceError> {
    let is_root = |folder: &Path| folder.join(FILE).is_file() || is_repository(folder);
    if let Some(root) = env::var_os("KSHOT_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from) {
        let root = fs::canonicalize(&root).unwrap_or(root);
        return if is_root(&root) { Ok(root) } else { Err(WorkspaceError::BadRoot { root }) };
    }
    let here = env::current_dir().unwrap_or_default();
    let found = here.ancestors().find(|folder| is_root(folder)).map(Path::to_owned);
    found.or_else(|| built_in().ok()).ok_or(WorkspaceError::NoRoot { from: here })
}

/// The repository that kshot was built in.
fn built_in() -> Result<PathBuf, WorkspaceError> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"));
    let from = from.ancestors().nth(2).unwrap_or(from).to_owned();
    if is_repository(&from) { Ok(from) } else { Err(WorkspaceError::NoRepository { from }) }
}

fn is_repository(folder: &Path) -> bool {
    folder.join("images/kernels.yaml").is_file()
}

fn state_home() -> Option<PathBuf> {
    user_folder("XDG_STATE_HOME", ".local/state")
}
