//! Versions as candidates: what the archive's indexes hold now, and what is known of single versions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use kshot_guest::debian::{AptError, PackageFiles, PackageRequest};
use kshot_guest::host::FileError;
use kshot_guest::host::cache::Cache;
use kshot_guest::kernel::{
    ImagesFolder, KernelError, KernelSource, KernelSpec, LinuxSourcePackage, OrigTarball,
};
use kshot_guest::progress::Progress;
use kshot_guest::yaml::{self, YamlError, YamlSource};
use kshot_stack::arch::INDEX_OF_ALL;

/// The table's name in error messages.
const FILE: &str = "images/versions.yaml";

/// An upstream version: `6.1.192`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UpstreamVersion(Vec<u32>);

/// A range of versions, both ends included; an end may be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionRange {
    from: Option<UpstreamVersion>,
    to: Option<UpstreamVersion>,
}

/// `images/versions.yaml`.
#[derive(Clone, Debug)]
pub(crate) struct VersionTable {
    archive: Vec<ArchiveSuite>,
    limits: Vec<VersionLimit>,
}

/// A suite of the archive and the versions that are taken from it.
#[derive(Clone, Debug)]
struct ArchiveSuite {
    suite: String,
    source: String,
    package: Option<String>,
    versions: VersionRange,
}

/// Settings that apply to some versions only.
#[derive(Clone, Debug)]
pub(crate) struct VersionLimit {
    versions: VersionRange,
    /// Configuration fragments, applied after all others.
    pub(crate) config: Vec<String>,
    /// Patches, applied before all others.
    pub(crate) patches: Vec<String>,
    /// The compiler's major version from which on it does not build.
    pub(crate) compiler_below: Option<u32>,
    /// Whether these versions are skipped.
    pub(crate) skip: bool,
    /// The reason for this limit.
    pub(crate) because: String,
}

/// A version that can be tested.
#[derive(Clone, Debug)]
pub(crate) struct VersionCandidate {
    /// The version's name: the upstream version, or the catalogue's name for it.
    pub(crate) name: String,
    /// The catalogue's entry, if the version comes from the catalogue.
    pub(crate) entry: Option<KernelSpec>,
    /// The sources that may still be downloadable, the best first. An index may list a version that the
    /// archive no longer holds.
    pub(crate) sources: Vec<KernelSource>,
    /// The limits that apply to this version.
    pub(crate) limits: Vec<VersionLimit>,
}

/// The versions that the indexes of one suite list.
#[derive(Clone, Debug, Default)]
struct IndexListing {
    origs: Vec<String>,
    packages: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    archive: Vec<RawRow>,
    #[serde(default)]
    limits: Vec<RawLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRow {
    suite: String,
    source: String,
    package: Option<String>,
    versions: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLimit {
    versions: String,
    #[serde(default)]
    config: Vec<String>,
    #[serde(default)]
    patches: Vec<String>,
    compiler_below: Option<u32>,
    #[serde(default)]
    skip: bool,
    because: String,
}

impl UpstreamVersion {
    /// Reads `6.1.192`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() >= 2).map(Self)
    }

    /// The upstream part of a Debian version (`1:6.12.100-1~deb12u1`); `None` for a release candidate
    /// (`6.19~rc4-1~exp1`).
    fn of_debian(text: &str) -> Option<Self> {
        let text = text.split_once(':').map_or(text, |(_, rest)| rest);
        Self::parse(text.rsplit_once('-').map_or(text, |(upstream, _)| upstream))
    }
}

impl std::fmt::Display for UpstreamVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        write!(f, "{}", numbers.join("."))
    }
}

impl VersionRange {
    /// Parses `6.1.164..6.1.192`, `..6.9`, `7.0..` or `6.1.176`. An end without a third number means the
    /// whole series.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = |text: &str| match text {
            "" => Some(None),
            text => UpstreamVersion::parse(text).map(Some),
        };
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let span = Self { from: end(from)?, to: end(to)? };
        (span.from.is_some() || span.to.is_some()).then_some(span)
    }

    pub(crate) fn contains(&self, version: &UpstreamVersion) -> bool {
        // `..6.9` holds 6.9.12.
        let within = |to: &UpstreamVersion| version.0.iter().take(to.0.len()).cmp(&to.0) != Ordering::Greater;
        self.from.as_ref().is_none_or(|from| from <= version) && self.to.as_ref().is_none_or(within)
    }

    /// Whether the two ranges overlap.
    fn overlaps(&self, other: &Self) -> bool {
        let before = |one: &Self, other: &Self| match (&one.to, &other.from) {
            (Some(to), Some(from)) => !Self { from: None, to: Some(to.clone()) }.contains(from),
            _ => false,
        };
        !before(self, other) && !before(other, self)
    }
}

impl VersionCandidate {
    /// A version that no index lists.
    pub(crate) fn unlisted(name: &str) -> Self {
        Self { name: name.into(), entry: None, sources: Vec::new(), limits: Vec::new() }
    }
}

impl VersionTable {
    /// The table of the repository.
    ///
    /// # Errors
    /// [`KernelError::File`], or [`KernelError::Yaml`] with the place.
    pub(crate) fn load(images: &ImagesFolder) -> Result<Self, KernelError> {
        let path = images.versions_yaml();
        let text =
            fs::read_to_string(&path).map_err(FileError::on("read", &path)).map_err(KernelError::from)?;
        Ok(Self::parse(&text)?)
    }

    fn parse(text: &str) -> Result<Self, Box<YamlError>> {
        let raw: RawTable = yaml::from_str(FILE, text)?;
        let span = |text_of: &str| {
            let why = || format!("`{text_of}` is not a range of versions, such as 6.1.164..6.1.192");
            VersionRange::parse(text_of)
                .ok_or_else(|| YamlSource { file: FILE, text }.error("", text_of, why()))
        };
        let mut table = Self { archive: Vec::new(), limits: Vec::new() };
        for row in raw.archive {
            let versions = span(&row.versions)?;
            table.archive.push(ArchiveSuite {
                suite: row.suite,
                source: row.source,
                package: row.package,
                versions,
            });
        }
        for limit in raw.limits {
            let RawLimit { versions, config, patches, compiler_below, skip, because } = limit;
            table.limits.push(VersionLimit {
                versions: span(&versions)?,
                config,
                patches,
                compiler_below,
                skip,
                because,
            });
        }
        Ok(table)
    }

    /// The candidates within `span`, oldest first, as the archive's indexes list them now.
    ///
    /// # Errors
    /// [`AptError`] where an index cannot be had.
    pub(crate) fn candidates(
        &self,
        span: &VersionRange,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Vec<VersionCandidate>, AptError> {
        let mut listings = Vec::new();
        for row in self.archive.iter().filter(|row| row.versions.overlaps(span)) {
            let listed = |package: &str, files| {
                PackageRequest { package, suite: &row.suite, version: None, files }.versions(cache, progress)
            };
            let origs = listed(&row.source, PackageFiles::Orig)?;
            let packages = row
                .package
                .as_deref()
                .map_or(Ok(Vec::new()), |package| listed(package, PackageFiles::Binary(INDEX_OF_ALL)))?;
            listings.push((row, IndexListing { origs, packages }));
        }
        Ok(self.merge_listings(span, &listings))
    }

    fn merge_listings(
        &self,
        span: &VersionRange,
        listings: &[(&ArchiveSuite, IndexListing)],
    ) -> Vec<VersionCandidate> {
        let mut found: BTreeMap<UpstreamVersion, (Vec<KernelSource>, Vec<KernelSource>)> = BTreeMap::new();
        for (row, listing) in listings {
            let within = |text: &String| {
                let version = UpstreamVersion::of_debian(text)?;
                (row.versions.contains(&version) && span.contains(&version)).then(|| (version, text.clone()))
            };
            // All revisions of a version share upstream's tarball; the newest is the most likely to be still
            // available.
            let newest = |list: &[String]| {
                let mut found: Vec<(UpstreamVersion, String)> = list.iter().filter_map(within).collect();
                found.sort_by_cached_key(|(_, text)| natural_sort_key(text));
                found.into_iter().collect::<BTreeMap<_, _>>()
            };
            for (version, text) in newest(&listing.origs) {
                let orig =
                    OrigTarball { source: row.source.clone(), suite: row.suite.clone(), version: Some(text) };
                found.entry(version).or_default().0.push(KernelSource::DebianOrig(orig));
            }
            for (package, (version, text)) in row
                .package
                .iter()
                .flat_map(|package| newest(&listing.packages).into_iter().map(move |one| (package, one)))
            {
                let source = LinuxSourcePackage {
                    package: package.clone(),
                    suite: row.suite.clone(),
                    version: Some(text),
                };
                found.entry(version).or_default().1.push(KernelSource::DebianSource(source));
            }
        }
        found
            .into_iter()
            .map(|(version, (origs, packages))| VersionCandidate {
                name: version.to_string(),
                entry: None,
                sources: origs.into_iter().chain(packages).collect(),
                limits: self
                    .limits
                    .iter()
                    .filter(|limit| limit.versions.contains(&version))
                    .cloned()
                    .collect(),
            })
            .collect()
    }
}

/// A sort key that compares runs of digits by value: `6.1.170-10` comes after `6.1.170-9`.
fn natural_sort_key(text: &str) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = vec![(String::new(), 0)];
    let mut in_digits = false;
    for c in text.chars() {
        if in_digits && !c.is_ascii_digit() {
            parts.push((String::new(), 0));
        }
        in_digits = c.is_ascii_digit();
        let last = parts.len() - 1;
        match c.to_digit(10) {
            Some(digit) => parts[last].1 = parts[last].1.saturating_mul(10).saturating_add(digit.into()),
            None => parts[last].0.push(c),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TABLE: &str = "
archive:
  - { suite: bookworm-security, source: linux, package: linux-source-6.1, versions: 6.1..6.1 }
  - { suite: trixie-backports, source: linux, versions: 6.16.. }
limits:
  - { versions: ..6.1.170, config: [old.config], because: it lacks a symbol }
  - { versions: 6.1.177, skip: true, because: it does not build }
";

    fn table() -> VersionTable {
        VersionTable::parse(TABLE).unwrap()
    }

    fn gather(span: &str, origs: &[&str], packages: &[&str]) -> Vec<VersionCandidate> {
        let table = table();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let listing = IndexListing { origs: list(origs), packages: list(packages) };
        table.merge_listings(&VersionRange::parse(span).unwrap(), &[(&table.archive[0], listing)])
    }

    #[test]
    fn candidates_are_the_upstream_versions_in_their_order() {
        let origs = [
            "6.1.9-1",
            "6.1.164-1",
            "6.1.176-1",
            "6.1.170-10",
            "6.1.170-3",
            "6.1~rc4-1~exp1",
            "6.12.107-1~deb12u1",
        ];
        let found = gather("6.1.100..6.1.176", &origs, &[]);
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["6.1.164", "6.1.170", "6.1.176"]);
        assert!(format!("{:?}", found[1].sources).contains("6.1.170-10"), "the newest revision");
    }

    #[test]
    fn a_tarball_of_upstreams_comes_before_debians_tree() {
        let found = gather("6.1.192", &["6.1.192-2"], &["6.1.192-2"]);
        assert!(matches!(found[0].sources[..], [KernelSource::DebianOrig(_), KernelSource::DebianSource(_)]));
        assert_eq!(gather("6.1.192", &[], &["6.1.192-2"]).len(), 1);
    }

    #[test]
    fn what_is_known_of_a_version_goes_with_it() {
        let found = gather("6.1.160..6.1.180", &["6.1.164-1", "6.1.177-1", "6.1.180-1"], &[]);
        let because: Vec<Vec<&str>> =
            found.iter().map(|one| one.limits.iter().map(|limit| limit.because.as_str()).collect()).collect();
        assert_eq!(because, [vec!["it lacks a symbol"], vec!["it does not build"], vec![]]);
    }

    #[test]
    fn a_span_without_a_third_number_holds_the_series() {
        let holds = |span: &str, version: &str| {
            VersionRange::parse(span).unwrap().contains(&UpstreamVersion::parse(version).unwrap())
        };
        assert!(holds("..6.9", "6.9.12") && !holds("..6.9", "6.10.1"));
        assert!(
            holds("5.10..7.3", "7.3.4")
                && holds("5.10..7.3", "5.10.251")
                && !holds("6.1.164..6.1.192", "6.1.9")
        );
        assert!(
            VersionRange::parse("..").is_none()
                && VersionRange::parse("6").is_none()
                && VersionRange::parse("a..b").is_none()
        );
    }

    #[test]
    fn only_indexes_that_may_hold_the_span_are_read() {
        let meets = |span: &str| -> Vec<bool> {
            table()
                .archive
                .iter()
                .map(|row| row.versions.overlaps(&VersionRange::parse(span).unwrap()))
                .collect()
        };
        assert_eq!(meets("6.1.164..6.1.192"), [true, false]);
        assert_eq!(meets("5.10..7.3"), [true, true]);
        assert_eq!(meets("6.12.1..6.12.9"), [false, false]);
    }

    #[test]
    fn a_range_that_is_none_is_a_fault_with_its_place() {
        let said = VersionTable::parse(&TABLE.replace("..6.1.170", "old")).unwrap_err().to_string();
        assert!(
            said.contains("`old` is not a range of versions") && said.contains("versions.yaml:6"),
            "{said}"
        );
    }

    #[test]
    fn the_table_of_the_repository_loads_and_its_files_are_there() {
        let images = ImagesFolder::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images"));
        let table = VersionTable::load(&images).unwrap();
        assert!(!table.archive.is_empty());
        for limit in &table.limits {
            assert!(limit.config.iter().all(|file| images.config_folder().join(file).is_file()));
            assert!(limit.patches.iter().all(|file| images.patches_folder().join(file).exists()));
        }
    }
}
