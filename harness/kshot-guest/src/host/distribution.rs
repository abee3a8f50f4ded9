//! The host's distribution, and what it calls the packages that kshot needs.

use std::fs;

/// The folder and page that help where a distribution lacks a package.
const ELSEWHERE: &str = "images/Containerfile has them all: harness/docs/hosts.md";

/// A distribution, by the way that its packages are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distribution {
    /// Debian, Ubuntu and what is made from them.
    Debian,
    /// Fedora.
    Fedora,
    /// Arch Linux and what is made from it.
    Arch,
    /// NixOS.
    Nix,
    /// openSUSE.
    Suse,
    /// Any other.
    Other,
}

/// The packages of `images/host-packages.txt` and `images/packages`, as rows of the table in
/// `harness/docs/hosts.md`: the name in Debian, Fedora, Arch, Nix and openSUSE, `-` where none is known. A
/// cross compiler has none where it comes without a C library or under another program name than Debian's.
const PACKAGES: &str = include_str!("packages.txt");

/// The command that installs packages, given by Debian's names, on this host.
pub fn install<'a>(packages: impl IntoIterator<Item = &'a str>) -> String {
    let release =
        fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    Distribution::of(&release.unwrap_or_default()).install(packages)
}

impl Distribution {
    /// The distribution of an `os-release` (os-release(5)): `ID`, else the first of `ID_LIKE` that is known.
    fn of(os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let ids = format!("{} {}", value("ID"), value("ID_LIKE"));
        let known = ids.split_whitespace().find_map(|id| match id {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" => Some(Self::Fedora),
            "arch" => Some(Self::Arch),
            "nixos" => Some(Self::Nix),
            "suse" | "opensuse" => Some(Self::Suse),
            id if id.starts_with("opensuse-") => Some(Self::Suse),
            _ => None,
        });
        known.unwrap_or(Self::Other)
    }

    fn install<'a>(self, packages: impl IntoIterator<Item = &'a str>) -> String {
        let mut wanted: Vec<&str> = packages.into_iter().flat_map(str::split_whitespace).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let command = match self {
            Self::Debian => return format!("sudo apt-get install {}", wanted.join(" ")),
            Self::Other => return format!("install what Debian calls {}; {ELSEWHERE}", wanted.join(" ")),
            Self::Fedora => "sudo dnf install",
            Self::Arch => "sudo pacman -S --needed",
            Self::Nix => "nix-shell -p",
            Self::Suse => "sudo zypper install",
        };
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        for package in wanted {
            match self.name(package) {
                Some(name) => here.extend(name.split_whitespace()),
                None => elsewhere.push(package),
            }
        }
        here.sort_unstable();
        here.dedup();
        let mut parts = Vec::new();
        if !here.is_empty() {
            parts.push(format!("{command} {}", here.join(" ")));
        }
        if !elsewhere.is_empty() {
            parts.push(format!("no package here is known for Debian's {}; {ELSEWHERE}", elsewhere.join(" ")));
        }
        parts.join("; ")
    }

    /// This distribution's name for a Debian package.
    fn name(self, package: &str) -> Option<&'static str> {
        let column = match self {
            Self::Debian | Self::Other => 0,
            Self::Fedora => 1,
            Self::Arch => 2,
            Self::Nix => 3,
            Self::Suse => 4,
        };
        let mut rows = PACKAGES.lines().map(|row| row.trim_matches(['|', ' ']));
        let row = rows.find(|row| row.split(" | ").next() == Some(package))?;
        row.split(" | ").nth(column).filter(|name| *name != "-")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_host_is_known_by_its_own_name_or_by_what_it_is_like() {
        for (text, distribution) in [
            ("PRETTY_NAME=\"Debian\"\nID=debian\n", Distribution::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian),
            ("ID=fedora\n", Distribution::Fedora),
            ("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch),
            ("ID=nixos\n", Distribution::Nix),
            ("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n", Distribution::Suse),
            ("ID=alpine\n", Distribution::Other),
            ("", Distribution::Other),
        ] {
            assert_eq!(Distribution::of(text), distribution, "{text}");
        }
    }

    #[test]
    fn the_command_is_the_distributions_and_what_it_lacks_is_said() {
        let wanted = ["xz-utils", "qemu-system-mips", "gcc-mips64-linux-gnuabi64 libc6-dev-mips64-cross"];
        assert_eq!(
            Distribution::Debian.install(wanted),
            "sudo apt-get install gcc-mips64-linux-gnuabi64 libc6-dev-mips64-cross qemu-system-mips xz-utils"
        );
        assert_eq!(
            Distribution::Arch.install(wanted),
            "sudo pacman -S --needed qemu-system-mips xz; no package here is known for Debian's \
             gcc-mips64-linux-gnuabi64 libc6-dev-mips64-cross; images/Containerfile has them all: harness/docs/hosts.md"
        );
        assert_eq!(Distribution::Nix.install(["dpkg-dev", "dpkg"]), "nix-shell -p dpkg");
        assert_eq!(Distribution::Suse.install(["gcc"]), "sudo zypper install gcc");
        assert!(Distribution::Other.install(["xz-utils"]).starts_with("install what Debian calls xz-utils;"));
    }

    #[test]
    fn the_page_has_a_line_for_each_package() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hosts.md");
        let page = fs::read_to_string(page).unwrap();
        let table: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(table, PACKAGES.lines().collect::<Vec<_>>());
        assert!(table.iter().all(|row| row.matches(" | ").count() == 4));
    }
}
