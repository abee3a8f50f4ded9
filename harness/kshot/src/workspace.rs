//! The locations of everything: the repository's folders, the cache, the run folders.

use std::path::{Path, PathBuf};
use std::{env, fs};

use kshot_guest::host::cache::{Cache, CacheError};
use kshot_guest::kernel::ImagesFolder;
use kshot_stack::fault::{Blame, Fault};

/// The folders that a command works with.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder with `images/`, `scenarios/` and `snapshots/`.
    pub root: PathBuf,
    /// The cache of downloads and builds.
    pub cache: Cache,
    /// The folder of the run folders.
    pub runs_folder: PathBuf,
}

/// Why the workspace cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// No folder with `images/kernels.yaml` was found.
    #[error("no images/kernels.yaml in {} or above it", from.display())]
    NoRoot {
        /// The folder where the search began.
        from: PathBuf,
    },
    /// `KSHOT_ROOT` names a folder without it.
    #[error("KSHOT_ROOT is {}, which has no images/kernels.yaml", root.display())]
    BadRoot {
        /// The variable's value.
        root: PathBuf,
    },
    /// The cache has no location.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Fault for WorkspaceError {
    fn blame(&self) -> Blame {
        Blame::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRoot { .. } | Self::BadRoot { .. } => {
                Some("run kshot inside its repository, or set KSHOT_ROOT to the repository".into())
            }
            Self::Cache(error) => error.hint(),
        }
    }
}

impl Workspace {
    /// The workspace around the current folder: `KSHOT_ROOT`, else the nearest folder upwards that holds
    /// `images/kernels.yaml`, else the repository that kshot was built in. Run folders go to `out`, else
    /// below `${XDG_STATE_HOME:-~/.local/state}/kshot/runs`.
    ///
    /// # Errors
    /// [`WorkspaceError`].
    pub fn find(out: Option<&Path>) -> Result<Self, WorkspaceError> {
        let root = find_root()?;
        let cache = Cache::default_path()?;
        let runs = match out {
            Some(out) => out.to_owned(),
            None => state_home().ok_or(CacheError::NoHome)?.join("kshot/runs"),
        };
        Ok(Self { root, cache, runs_folder: std::path::absolute(&runs).unwrap_or(runs) })
    }

    /// The nights before: `${XDG_STATE_HOME:-~/.local/state}/kshot/history.sqlite`.
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

    /// The `images/` folder.
    pub fn images(&self) -> ImagesFolder {
        ImagesFolder::new(self.root.join("images"))
    }
}

fn find_root() -> Result<PathBuf, WorkspaceError> {
    let is_root = |folder: &Path| folder.join("images/kernels.yaml").is_file();
    if let Some(root) = env::var_os("KSHOT_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from) {
        let root = fs::canonicalize(&root).unwrap_or(root);
        return if is_root(&root) { Ok(root) } else { Err(WorkspaceError::BadRoot { root }) };
    }
    let here = env::current_dir().unwrap_or_default();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let found = here.ancestors().chain(built_in).find(|folder| is_root(folder)).map(Path::to_owned);
    found.ok_or(WorkspaceError::NoRoot { from: here })
}

fn state_home() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))
}
