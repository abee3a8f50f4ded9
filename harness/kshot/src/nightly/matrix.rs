//! `images/nightly.yaml`: the scenarios and kernels of a night, and its time limit.

use std::fs;
use std::path::Path;
use std::time::Duration;

use globset::{GlobSet, GlobSetBuilder};
use serde::Deserialize;

use kshot_guest::host::FileError;
use kshot_guest::yaml::{self, YamlError, YamlSource};
use kshot_stack::blame::{Blame, Blamed, passed_on_hint};
use kshot_stack::name::glob;

/// The file's name in error messages.
const FILE: &str = "images/nightly.yaml";

/// The scenarios and kernels of a night, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The kernels' names, in the catalogue's order.
    pub kernels: Vec<String>,
    /// The scenarios' ids, sorted.
    pub scenarios: Vec<String>,
    /// The time limit of an invocation.
    pub deadline: Option<Duration>,
    /// The number of runs of each pair.
    pub repeat: u32,
}

/// Why the matrix cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(FileError),
    /// The YAML is invalid.
    #[error(transparent)]
    Yaml(#[from] Box<YamlError>),
}

impl Blamed for MatrixError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Unreadable(_) => None,
            Self::Yaml(error) => Some(&**error),
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Unreadable(error) => error.blame_of_input(),
            Self::Yaml(_) => Blame::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(_) => {
                Some("restore it from git, or name the matrix with --kernels and --scenarios".into())
            }
            Self::Yaml(_) => passed_on_hint(self),
        }
    }
}

/// The file's contents as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMatrix {
    kernels: Vec<String>,
    scenarios: Vec<String>,
    deadline: Option<String>,
    #[serde(default = "once")]
    repeat: u32,
}

fn once() -> u32 {
    1
}

impl Matrix {
    /// Reads the file; `kernels` and `scenarios` are the existing names.
    ///
    /// # Errors
    /// [`MatrixError`].
    pub fn load(path: &Path, kernels: &[&str], scenarios: &[String]) -> Result<Self, MatrixError> {
        let text = fs::read_to_string(path).map_err(FileError::on("read", path));
        let text = text.map_err(MatrixError::Unreadable)?;
        Ok(Self::parse(&text, kernels, scenarios)?)
    }

    fn parse(text: &str, kernels: &[&str], scenarios: &[String]) -> Result<Self, Box<YamlError>> {
        let raw: RawMatrix = yaml::from_str(FILE, text)?;
        let source = YamlSource { file: FILE, text };
        let ids: Vec<&str> = scenarios.iter().map(String::as_str).collect();
        let deadline = raw.deadline.as_deref().map(|typed| {
            humantime::parse_duration(typed).map_err(|error| {
                let hint = Some("write it as in `8h` or `7h 30m`".into());
                source.error("deadline", typed, format!("`{typed}`: {error}")).with_hint(hint)
            })
        });
        if raw.repeat == 0 {
            let why = "each pair has to run at least once".into();
            return Err(source.error("repeat", "0", why));
        }
        Ok(Self {
            kernels: matching_names(source, "kernels", "kernel", &raw.kernels, kernels)?,
            scenarios: matching_names(source, "scenarios", "scenario", &raw.scenarios, &ids)?,
            deadline: deadline.transpose()?,
            repeat: raw.repeat,
        })
    }
}

/// The names that the globs match, in the order of `all`; each glob must match at least one.
fn matching_names(
    source: YamlSource<'_>,
    section: &str,
    noun: &str,
    globs: &[String],
    all: &[&str],
) -> Result<Vec<String>, Box<YamlError>> {
    let refused = |word: &str, why: String, hint| source.error(section, word, why).with_hint(hint);
    if globs.is_empty() {
        return Err(refused(section, format!("`{section}` names no {noun}"), Some("'*' means all".into())));
    }
    let mut set = GlobSetBuilder::new();
    for word in globs {
        let glob = glob(word).map_err(|why| refused(word, why, None))?;
        let matcher = glob.compile_matcher();
        if !all.iter().any(|name| matcher.is_match(name)) {
            let hint = yaml::closest(word, all.iter().copied()).map(|name| format!("did you mean `{name}`?"));
            return Err(refused(word, format!("`{word}` matches no {noun}"), hint));
        }
        set.add(glob);
    }
    let set = set.build().unwrap_or(GlobSet::empty());
    Ok(all.iter().filter(|name| set.is_match(name)).map(|name| (*name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNELS: &[&str] = &["mips64-6.1", "mips64-6.1-fixed", "mips64el-6.1"];

    fn parse(text: &str) -> Result<Matrix, String> {
        let ids = ["perf/watching_ftrace", "tunsetiff/leaf"].map(String::from);
        Matrix::parse(text, KERNELS, &ids)
            .map_err(|error| format!("{error} | {}", error.hint().unwrap_or_default()))
    }

    #[test]
    fn globs_become_names_in_the_catalogues_order() {
        let matrix =
            parse("kernels: ['mips64el*', mips64-6.1]\nscenarios: ['*']\ndeadline: 7h 30m\n").unwrap();
        assert_eq!(matrix.kernels, ["mips64-6.1", "mips64el-6.1"]);
        assert_eq!(matrix.scenarios, ["perf/watching_ftrace", "tunsetiff/leaf"]);
        assert_eq!((matrix.deadline, matrix.repeat), (Some(Duration::from_secs(27_000)), 1));
    }

    #[test]
    fn a_glob_that_means_nothing_is_a_fault_at_its_place() {
        let said = parse("kernels: [mips46-6.1]\nscenarios: ['*']\n").unwrap_err();
        assert_eq!(
            said,
            "images/nightly.yaml:1:11: `mips46-6.1` matches no kernel | did you mean `mips64-6.1`?"
        );
        let said = parse("kernels: ['*']\nscenarios: ['tunsetif/*']\n").unwrap_err();
        assert!(said.starts_with("images/nightly.yaml:2:14: `tunsetif/*` matches no scenario"), "{said}");
    }

    #[test]
    fn keys_lists_deadlines_and_repeats_that_are_none_are_faults() {
        for (text, place, word) in [
            ("kernels: ['*']\nscenarios: ['*']\ndeadlin: 8h\n", "3:1", "did you mean `deadline`?"),
            ("kernels: ['*']\nscenarios: ['*']\ndeadline: 8 parsecs\n", "3:11", "8h"),
            ("kernels: []\nscenarios: ['*']\n", "1:1", "names no kernel"),
            ("kernels: ['[']\nscenarios: ['*']\n", "1:10", "is not a valid glob"),
            ("kernels: ['*']\nscenarios: ['*']\nrepeat: 0\n", "3:9", "at least once"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with(&format!("images/nightly.yaml:{place}: ")), "{said}");
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn the_matrix_of_the_repository_loads() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let catalogue = kshot_guest::kernel::Catalogue::load(&root.join("images/kernels.yaml")).unwrap();
        let ids = crate::scenario::Scenario::list_ids(&root.join("scenarios")).unwrap();
        let matrix = Matrix::load(&root.join(FILE), &catalogue.names(), &ids).unwrap();
        assert!(matrix.kernels.len() >= 6 && matrix.scenarios == ids, "{matrix:?}");
    }
}
