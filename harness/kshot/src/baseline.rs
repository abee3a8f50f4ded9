//! Snapshot files: their paths, their contents, and their comparison with a run.
//!
//! Snapshots are in insta's format, so that `cargo insta review` can review them. kshot writes one only on a
//! person's word (`kshot record --accept`).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use insta::internals::{Content, SnapshotContents, TextSnapshotContents};
use insta::{Snapshot, TextSnapshotKind};

use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::document::{ProbeResult, RunDocument};
use kshot_stack::snapshot::Comparison;

/// The subfolder for snapshots of runs without the truth that the scenario asks for.
const WITHOUT_TRUTH: &str = "without-truth";

/// The path of a snapshot: `<snapshots>/<scenario id>/<kernel>/<probe>.snap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPath {
    /// The folder of the scenario and kernel.
    pub folder: PathBuf,
    /// The snapshot's name in insta, which is the probe's name.
    pub name: String,
}

/// The run that a snapshot was taken from: shown to reviewers, not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The kernel release, as `uname -r` prints it.
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
    /// The path of the file.
    pub path: PathBuf,
    /// The underlying error.
    pub source: Box<dyn Error + Send + Sync>,
}

impl Blamed for BaselineError {
    fn blame(&self) -> Blame {
        if self.source.is::<io::Error>() { Blame::Host } else { Blame::Input }
    }

    fn hint(&self) -> Option<String> {
        Some(
            "restore the file from git, or delete it and accept the new one with `cargo insta review`".into(),
        )
    }
}

impl SnapshotInfo {
    /// What a reviewer wants to know of a run.
    pub fn of(document: &RunDocument) -> Self {
        Self {
            release: document.kernel.release.clone(),
            image_sha256: document.kernel.image_sha256.clone(),
            qemu: document.qemu.clone(),
        }
    }
}

impl SnapshotPath {
    /// The path of a probe's snapshot. A scenario's id is a path below `snapshots`; kernel and probe are
    /// single names.
    pub fn new(snapshots: &Path, scenario: &str, kernel: &str, probe: &str) -> Self {
        let component = |name: &str| name.replace(['/', '\\'], "__");
        let folder = snapshots.join(scenario).join(component(kernel));
        Self { folder, name: component(probe) }
    }

    /// The path of the snapshot for a run with the results `probes`. If a probe was left out because there is
    /// no DWARF, fidelity is measured against another reference, so such snapshots have a folder of their
    /// own: DWARF may be provisioned later, and a snapshot of one case must not be taken for the other.
    #[must_use]
    pub fn for_run(self, probes: &[ProbeResult]) -> Self {
        if probes.iter().any(|probe| probe.left_out_because.is_some()) { self.without_truth() } else { self }
    }

    /// The path of the snapshot for runs without the truth.
    #[must_use]
    pub fn without_truth(self) -> Self {
        Self { folder: self.folder.join(WITHOUT_TRUTH), ..self }
    }

    /// The path of the file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.snap", self.name))
    }

    /// The insta settings under which `insta::assert_snapshot!(path.name, text)` reads and proposes this
    /// file.
    pub fn settings(&self, info: &SnapshotInfo) -> insta::Settings {
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

/// Passes a probe's text to insta, which writes a differing snapshot as `.snap.new` for `cargo insta review`.
/// For tests only: this panics as insta does.
pub fn assert_with_insta(snapshot: &SnapshotPath, info: &SnapshotInfo, text: &str) {
    snapshot.settings(info).bind(|| insta::assert_snapshot!(snapshot.name.as_str(), text));
}

/// Each probe of a run that was not left out, with the path of its snapshot.
pub fn of_run<'a>(
    snapshots: &Path,
    scenario: &str,
    kernel: &str,
    probes: &'a [ProbeResult],
) -> impl Iterator<Item = (SnapshotPath, &'a ProbeResult)> {
    probes.iter().filter(|probe| probe.was_recorded()).map(move |probe| {
        (SnapshotPath::new(snapshots, scenario, kernel, &probe.name).for_run(probes), probe)
    })
}

/// Whether a snapshot that is written has been reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// A person has to look at it: it lies beside the snapshot, as `.snap.new`.
    Pending,
    /// A person saw it and said yes: it is the snapshot.
    Accepted,
}

/// Writes a snapshot, in insta's form. Returns the file.
///
/// # Errors
/// [`BaselineError`].
pub fn write(
    snapshot: &SnapshotPath,
    info: &SnapshotInfo,
    text: &str,
    review: Review,
) -> Result<PathBuf, BaselineError> {
    let accepted = snapshot.file();
    let pending = accepted.with_extension("snap.new");
    let path = if review == Review::Accepted { &accepted } else { &pending };
    let fail = |source: io::Error| BaselineError { path: path.clone(), source: source.into() };
    let info =
        serde_json::json!({ "kernel": info.release, "image_sha256": info.image_sha256, "qemu": info.qemu });
    fs::create_dir_all(&snapshot.folder).map_err(fail)?;
    // JSON is YAML.
    fs::write(path, format!("---\ninfo: {info}\n---\n{text}")).map_err(fail)?;
    if review == Review::Accepted {
        match fs::remove_file(&pending) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
    }
    Ok(path.clone())
}

/// Compares `text` with the snapshot, with insta's rules of equality.
///
/// # Errors
/// [`BaselineError`] when there is a file that cannot be read.
pub fn compare(snapshot: &SnapshotPath, text: &str) -> Result<Comparison, BaselineError> {
    let path = snapshot.file();
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
    Ok(Comparison::Drift { diff })
}

#[cfg(test)]
mod tests;
