//! The URLs of Debian's archives: of the environment, or else of the host's apt sources.

use std::fs;
use std::path::{Path, PathBuf};

/// The URLs of Debian's main and security archives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mirrors {
    main: Option<String>,
    security: Option<String>,
    snapshot: Option<String>,
}

/// Which archive is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archive {
    /// The archive as it is now.
    Current,
    /// A snapshot of the archive, with versions that the archive has dropped since.
    Snapshot,
}

/// Suites of Debian itself; a third party's suite may carry such a name too, but then not `main`.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// Whether a suite is in the security archive.
pub(super) fn is_security(suite: &str) -> bool {
    suite.ends_with("-security") || suite.ends_with("/updates")
}

impl Mirrors {
    /// The URLs in `KSHOT_DEBIAN_ARCHIVE` and `KSHOT_SECURITY_ARCHIVE`, else those in /etc/apt; and the one
    /// in `KSHOT_SNAPSHOT_ARCHIVE`.
    pub(super) fn from_apt_sources() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let found = Self::read(Path::new("/etc/apt"));
        Self {
            main: set("KSHOT_DEBIAN_ARCHIVE").or(found.main),
            security: set("KSHOT_SECURITY_ARCHIVE").or(found.security),
            snapshot: set("KSHOT_SNAPSHOT_ARCHIVE"),
        }
    }

    /// The URL of the archive that holds a suite.
    pub(super) fn url_of(&self, suite: &str, archive: Archive) -> Option<&str> {
        match archive {
            Archive::Snapshot => self.snapshot.as_deref(),
            Archive::Current if is_security(suite) => self.security.as_deref(),
            Archive::Current => self.main.as_deref(),
        }
    }

    fn read(etc: &Path) -> Self {
        let parts = fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = parts.map(|file| file.path()).collect();
        files.sort();
        files.insert(0, etc.join("sources.list"));
        let mut found = Self::default();
        for file in files {
            let text = fs::read(&file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => text.lines().for_each(|line| found.add_one_line_entry(line)),
                Some("sources") => text.split("\n\n").for_each(|stanza| found.add_deb822_stanza(stanza)),
                _ => {}
            }
        }
        found
    }

    /// `deb [arch=amd64 signed-by=/x.gpg] http://archive/debian bookworm main contrib`
    fn add_one_line_entry(&mut self, line: &str) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").map(|rest| rest.strip_prefix("-src").unwrap_or(rest))
        else {
            return;
        };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if let (Some(url), Some(suite)) = (words.next(), words.next()) {
            self.add(url, &[suite], &words.collect::<Vec<_>>());
        }
    }

    /// A stanza of sources.list(5)'s deb822 form: `URIs:`, `Suites:`, `Components:`, each with a list that
    /// may go on in indented lines.
    fn add_deb822_stanza(&mut self, stanza: &str) {
        let (mut urls, mut suites, mut components) = (Vec::new(), Vec::new(), Vec::new());
        let mut field = String::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            let values = match line.split_once(':') {
                Some((name, values)) if !line.starts_with(char::is_whitespace) => {
                    field = name.to_ascii_lowercase();
                    values
                }
                _ => line,
            };
            let list = match field.as_str() {
                "enabled" if values.trim().eq_ignore_ascii_case("no") => return,
                "uris" => &mut urls,
                "suites" => &mut suites,
                "components" => &mut components,
                _ => continue,
            };
            list.extend(values.split_whitespace());
        }
        if let Some(url) = urls.first() {
            self.add(url, &suites, &components);
        }
    }

    fn add(&mut self, url: &str, suites: &[&str], components: &[&str]) {
        if !components.contains(&"main") || url.starts_with("cdrom:") {
            return;
        }
        for suite in suites {
            let codename = suite.split(['-', '/']).next().unwrap_or_default();
            if SUITES.contains(&codename) {
                let mirror = if is_security(suite) { &mut self.security } else { &mut self.main };
                mirror.get_or_insert_with(|| url.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> (Option<String>, Option<String>) {
        let etc = tempfile::tempdir().unwrap();
        let path = etc.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        let mirrors = Mirrors::read(etc.path());
        (
            mirrors.url_of("bookworm", Archive::Current).map(str::to_owned),
            mirrors.url_of("bookworm-security", Archive::Current).map(str::to_owned),
        )
    }

    #[test]
    fn addresses_come_from_deb822_sources() {
        let text = "Types: deb\n# old: http://no/\nURIs: http://a/debian\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\n\nTypes: deb\nURIs: http://s/debian-security\nSuites: bookworm-security\n\
                    Components: main\nSigned-By: /x.gpg\n";
        let (main, security) = read("sources.list.d/debian.sources", text);
        assert_eq!(main.as_deref(), Some("http://a/debian"));
        assert_eq!(security.as_deref(), Some("http://s/debian-security"));
    }

    #[test]
    fn addresses_come_from_one_line_sources() {
        let text = "# deb http://no/ bookworm main\ndeb cdrom:[Debian]/ bookworm main\n\
                    deb [arch=amd64 signed-by=/x.gpg] http://a/debian bookworm main contrib # ours\n\
                    deb-src http://s/x bookworm-security main\n";
        let (main, security) = read("sources.list", text);
        assert_eq!(main.as_deref(), Some("http://a/debian"));
        assert_eq!(security.as_deref(), Some("http://s/x"));
    }

    #[test]
    fn other_peoples_archives_are_not_debians() {
        let text = "deb http://docker/linux/debian bookworm stable\ndeb http://node/ nodistro main\n";
        assert_eq!(read("sources.list", text), (None, None));
        let disabled = "Enabled: no\nTypes: deb\nURIs: http://a/\nSuites: bookworm\nComponents: main\n";
        assert_eq!(read("sources.list.d/a.sources", disabled), (None, None));
    }
}
