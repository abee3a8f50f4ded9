//! Snapshots on file: where they lie, what they say, and whether a run still says the same.
//!
//! They are insta's, so that `cargo insta review` accepts them; nothing here ever writes one.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use insta::internals::{Content, SnapshotContents, TextSnapshotContents};
use insta::{Snapshot, TextSnapshotKind};

use kshot_stack::document::ProbeResult;
use kshot_stack::fault::{Blame, Fault};
use kshot_stack::snapshot::Comparison;

/// Where a run without the truth that its scenario asks for has its snapshots, in the folder of the kernel.
const WITHOUT_TRUTH: &str = "without-truth";

/// A snapshot: `<snapshots>/<scenario id>/<kernel>/<probe>.snap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder of the scenario and kernel.
    pub folder: PathBuf,
    /// Its name to insta: the probe's.
    pub name: String,
}

/// What a reviewer wants to know of the run behind a snapshot; no part of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// `uname -r`.
    pub release: String,
    /// SHA-256 of the booted image, in hexadecimal.
    pub image_sha256: String,
    /// QEMU's version.
    pub qemu: String,
}

/// A snapshot that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the snapshot {}", path.display())]
pub struct BaselineError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

impl Fault for BaselineError {
    fn blame(&self) -> Blame {
        if self.source.is::<io::Error>() { Blame::Host } else { Blame::Scenario }
    }

    fn hint(&self) -> Option<String> {
        Some(
            "restore the file from git, or delete it and accept the new one with `cargo insta review`".into(),
        )
    }
}

impl Place {
    /// The place of a probe's snapshot. A scenario's id is a path below `snapshots`; kernel and probe are
    /// single names.
    pub fn new(snapshots: &Path, scenario: &str, kernel: &str, probe: &str) -> Self {
        let component = |name: &str| name.replace(['/', '\\'], "__");
        let folder = snapshots.join(scenario).join(component(kernel));
        Self { folder, name: component(probe) }
    }

    /// The place of the same snapshot for a run that came to `probes`. Where one was left out because there is no
    /// DWARF, fidelity is measured against something else, so there it lies in a folder of its own: DWARF may come on
    /// request, and then no snapshot of the one can be taken for the other.
    #[must_use]
    pub fn of_run(self, probes: &[ProbeResult]) -> Self {
        if probes.iter().any(|probe| probe.absent.is_some()) { self.without_truth() } else { self }
    }

    /// The place for a run without the truth.
    #[must_use]
    pub fn without_truth(self) -> Self {
        Self { folder: self.folder.join(WITHOUT_TRUTH), ..self }
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.snap", self.name))
    }

    /// What `insta::assert_snapshot!(place.name, text)` has to be bound to, to read and propose this file.
    pub fn settings(&self, info: &Info) -> insta::Settings {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&self.folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let fields = [("kernel", &info.release), ("image_sha256", &info.image_sha256), ("qemu", &info.qemu)];
        let fields = fields.map(|(name, value)| (Content::from(name), Content::from(value.as_str())));
        settings.set_raw_info(&Content::Map(fields.into()));
        settings
    }
}

/// Hands a probe's text to insta, which writes `.snap.new` beside a snapshot that says something else, for
/// `cargo insta review`. Says whether insta took it for the same. For tests only: this panics as insta does.
pub fn propose(place: &Place, info: &Info, text: &str) {
    place.settings(info).bind(|| insta::assert_snapshot!(place.name.as_str(), text));
}

/// Compares `text` with the snapshot, by insta's own notion of equality.
///
/// # Errors
/// [`BaselineError`] when there is a file that cannot be read.
pub fn compare(place: &Place, text: &str) -> Result<Comparison, BaselineError> {
    let path = place.file();
    let fail = |source: Box<dyn Error + Send + Sync>| BaselineError { path: path.clone(), source };
    let snapshot = match Snapshot::from_file(&path) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            return match error.downcast::<io::Error>() {
                Ok(error) if error.kind() == io::ErrorKind::NotFound => Ok(Comparison::Missing),
                Ok(error) => Err(fail(error)),
                Err(error) => Err(fail(error.to_string().into())),
            };
        }
    };
    let SnapshotContents::Text(expected) = snapshot.contents() else {
        return Err(fail("it is a binary snapshot".into()));
    };
    let actual = TextSnapshotContents::new(text.to_owned(), TextSnapshotKind::File);
    if snapshot.contents() == &SnapshotContents::from(actual.clone()) {
        return Ok(Comparison::Same);
    }
    let (expected, actual) = (expected.to_string(), actual.to_string());
    let diff = similar::TextDiff::from_lines(&expected, &actual)
        .unified_diff()
        .missing_newline_hint(false)
        .header("snapshot", "this run")
        .to_string();
    Ok(Comparison::Drift { diff, expected })
}

#[cfg(test)]
#[path = "baseline_tests.rs"]
mod tests;
