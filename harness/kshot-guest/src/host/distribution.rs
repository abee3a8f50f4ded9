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

/// What distributions call a package, `None` where none is known.
#[derive(Debug)]
struct PackageNames {
    debian: &'static str,
    fedora: Option<&'static str>,
    arch: Option<&'static str>,
    nix: Option<&'static str>,
    suse: Option<&'static str>,
}

/// A package with the same name everywhere.
const fn same(name: &'static str) -> PackageNames {
    let other = Some(name);
    PackageNames { debian: name, fedora: other, arch: other, nix: other, suse: other }
}

/// A package of Debian, and its name in Fedora, Arch, Nix and openSUSE; empty where none is known.
const fn named(debian: &'static str, others: [&'static str; 4]) -> PackageNames {
    const fn known(name: &'static str) -> Option<&'static str> {
        if name.is_empty() { None } else { Some(name) }
    }
    let [fedora, arch, nix, suse] = others;
    PackageNames { debian, fedora: known(fedora), arch: known(arch), nix: known(nix), suse: known(suse) }
}

/// The packages of `images/host-packages.txt` and `images/packages` by their names elsewhere. A cross compiler is left
/// out where it comes without a C library or under another program name than Debian's.
const PACKAGES: &[PackageNames] = &[
    named("qemu-system-mips", ["qemu-system-mips", "qemu-system-mips", "qemu", "qemu-extra"]),
    named(
        "qemu-system-arm",
        ["qemu-system-aarch64 qemu-system-arm", "qemu-system-aarch64 qemu-system-arm", "qemu", "qemu-arm"],
    ),
    named("qemu-system-x86", ["qemu-system-x86", "qemu-system-x86", "qemu", "qemu-x86"]),
    named("qemu-system-ppc", ["qemu-system-ppc", "qemu-system-ppc", "qemu", "qemu-ppc"]),
    named(
        "qemu-system-misc",
        [
            "qemu-system-riscv qemu-system-s390x",
            "qemu-system-riscv qemu-system-s390x",
            "qemu",
            "qemu-extra qemu-s390x",
        ],
    ),
    named("opensbi", ["", "", "qemu", ""]),
    named("gcc-aarch64-linux-gnu", ["", "aarch64-linux-gnu-gcc", "", ""]),
    named("libc6-dev-arm64-cross", ["", "aarch64-linux-gnu-glibc", "", ""]),
    named("gcc-riscv64-linux-gnu", ["", "riscv64-linux-gnu-gcc", "", ""]),
    named("libc6-dev-riscv64-cross", ["", "riscv64-linux-gnu-glibc", "", ""]),
    same("util-linux"),
    named("apt", ["apt", "apt", "apt", ""]),
    named("ca-certificates", ["ca-certificates", "ca-certificates", "cacert", "ca-certificates"]),
    named("debian-archive-keyring", ["debian-keyring", "debian-archive-keyring", "", ""]),
    same("dpkg"),
    named("dpkg-dev", ["dpkg-dev", "dpkg", "dpkg", "dpkg"]),
    named("tar", ["tar", "tar", "gnutar", "tar"]),
    same("bzip2"),
    named("xz-utils", ["xz", "xz", "xz", "xz"]),
    same("zstd"),
    named("patch", ["patch", "patch", "gnupatch", "patch"]),
    same("kmod"),
    same("gcc"),
    named("libc6-dev", ["glibc-devel", "glibc", "glibc", "glibc-devel"]),
    named("make", ["make", "make", "gnumake", "make"]),
    same("flex"),
    same("bison"),
    same("bc"),
    named("perl", ["perl-interpreter", "perl", "perl", "perl"]),
    named("python3", ["python3", "python", "python3", "python3"]),
    named("m4", ["m4", "m4", "gnum4", "m4"]),
    named("libelf-dev", ["elfutils-libelf-devel", "libelf", "elfutils", "libelf-devel"]),
    named("libssl-dev", ["openssl-devel", "openssl", "openssl", "libopenssl-devel"]),
    named("pkg-config", ["pkgconf-pkg-config", "pkgconf", "pkg-config", "pkgconf-pkg-config"]),
    named("libsqlite3-dev", ["sqlite-devel", "sqlite", "sqlite", "sqlite3-devel"]),
    same("rsync"),
    same("ccache"),
    same("git"),
];

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
            let names = PACKAGES.iter().find(|names| names.debian == package);
            match names.and_then(|names| self.name(names)) {
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
            parts.push(format!(
                "no package is known of what Debian calls {}; {ELSEWHERE}",
                elsewhere.join(" ")
            ));
        }
        parts.join("; ")
    }

    fn name(self, names: &PackageNames) -> Option<&'static str> {
        match self {
            Self::Debian | Self::Other => Some(names.debian),
            Self::Fedora => names.fedora,
            Self::Arch => names.arch,
            Self::Nix => names.nix,
            Self::Suse => names.suse,
        }
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
            "sudo pacman -S --needed qemu-system-mips xz; no package is known of what Debian calls \
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
        let lines: Vec<String> = PACKAGES
            .iter()
            .map(|names| {
                let others =
                    [names.fedora, names.arch, names.nix, names.suse].map(|name| name.unwrap_or("-"));
                format!("| {} | {} |", names.debian, others.join(" | "))
            })
            .collect();
        assert_eq!(table, lines);
    }
}
