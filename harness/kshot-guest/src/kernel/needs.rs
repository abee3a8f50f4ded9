//! The options that a kernel of one's own has to have, and a Kconfig fragment with those that it lacks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::kconfig::parse_setting;
use super::{ImagesFolder, KernelError};
use crate::bounded;
use crate::host::FileError;
use crate::yaml;
use kshot_stack::arch::{Arch, KernelOption};

/// The largest `.config`, in bytes: the longest of Debian's take 300 KB.
const CONFIG_BYTES_MOST: u64 = 4 << 20;
/// The reason shown for an option that a scenario requires by name.
const STEPS: &str = "the scenario requires it";

/// An entry of `images/needs.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Need {
    option: String,
    #[serde(default, rename = "for")]
    users: Vec<String>,
    #[serde(default)]
    with: Vec<String>,
    because: String,
}

impl Need {
    fn with(&self) -> Vec<&str> {
        self.with.iter().map(String::as_str).collect()
    }
}

/// Everything in a scenario that needs kernel options.
#[derive(Clone, Debug, Default)]
pub struct OptionUsers {
    /// Kinds of probes and kernel parameters ("kprobe", "ftrace=function").
    pub words: BTreeSet<String>,
    /// Options that the scenario requires by name, without `CONFIG_`.
    pub required: BTreeSet<String>,
}

/// An option that a kernel must have and lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingOption {
    /// The option's name, without `CONFIG_`.
    pub name: String,
    /// The options that this option depends on and that are off, without `CONFIG_`.
    pub with: Vec<String>,
    /// What the option is needed for.
    pub because: String,
    /// Whether the option is set to `m` and kshot does not have the module's file.
    pub is_module: bool,
}

/// The `.config` of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct KernelConfig<'a> {
    /// The architecture of the kernel.
    pub arch: Arch,
    /// The path of the `.config`.
    pub path: &'a Path,
    /// Whether an option that is set to `m` is enough.
    pub has_modules: bool,
}

/// The options that a kernel lacks.
///
/// # Errors
/// [`KernelError::File`] or [`KernelError::Yaml`].
pub fn missing_options(
    config: KernelConfig<'_>,
    images: &ImagesFolder,
    users: &OptionUsers,
) -> Result<Vec<MissingOption>, KernelError> {
    let needs: Vec<Need> = yaml::from_str("images/needs.yaml", &read(&images.needs_yaml())?)?;
    Ok(missing(&read(config.path)?, config.has_modules, config.arch.row().options, &needs, users))
}

/// The architecture that a `.config` is of, by its options: the title names what make was given as `ARCH=`,
/// which for one machine may be `x86`, `x86_64` or `i386`. `None` for one that kshot does not boot.
///
/// # Errors
/// [`KernelError::File`].
pub fn config_arch(path: &Path) -> Result<Option<Arch>, KernelError> {
    Ok(arch_of(&read(path)?))
}

/// The address that an option of a `.config` has, without `CONFIG_`; `None` if it is not set.
///
/// # Errors
/// [`KernelError::File`].
pub(super) fn address_option(path: &Path, option: &str) -> Result<Option<u64>, KernelError> {
    let config = read(path)?;
    let symbol = format!("CONFIG_{option}");
    let value = config.lines().filter_map(parse_setting).find(|(name, _)| *name == symbol);
    Ok(value.and_then(|(_, value)| u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()))
}

fn arch_of(config: &str) -> Option<Arch> {
    let on: HashSet<&str> = config.lines().filter_map(|line| line.strip_suffix("=y")).collect();
    let is_on = |option: &str| on.contains(&*format!("CONFIG_{option}"));
    Arch::all().find(|arch| arch.row().config.iter().all(|option| is_on(option)))
}

fn read(path: &Path) -> Result<String, FileError> {
    bounded::read_text(path, CONFIG_BYTES_MOST).map_err(FileError::on("read", path))
}

/// A Kconfig fragment that turns the options on, with the reasons as comments.
pub fn fragment(missing: &[MissingOption]) -> String {
    let mut text = String::new();
    for option in missing {
        text.push_str(&format!("# {}: {}\n", option.name, option.because));
        for name in option.with.iter().chain([&option.name]) {
            let line = format!("CONFIG_{name}=y\n");
            if !text.contains(&line) {
                text.push_str(&line);
            }
        }
    }
    text
}

fn missing(
    config: &str,
    has_modules: bool,
    board: &[KernelOption],
    needs: &[Need],
    users: &OptionUsers,
) -> Vec<MissingOption> {
    let settings: HashMap<&str, &str> = config
        .lines()
        .filter_map(parse_setting)
        .filter_map(|(symbol, value)| Some((symbol.strip_prefix("CONFIG_")?, value)))
        .collect();
    let is_on = |name: &str| match settings.get(name) {
        None | Some(&"n") => false,
        Some(&"m") => has_modules,
        Some(_) => true,
    };
    let option = |name: &str, with: Vec<&str>, because: &str| MissingOption {
        name: name.to_owned(),
        with: with.into_iter().filter(|name| !is_on(name)).map(str::to_owned).collect(),
        because: because.to_owned(),
        is_module: settings.get(name) == Some(&"m"),
    };
    let is_used = |need: &&Need| {
        let by = |user: &String| match user.ends_with('=') {
            true => users.words.iter().any(|word| word.starts_with(user)),
            false => users.words.contains(user),
        };
        need.users.is_empty() || need.users.iter().any(by)
    };
    let board = board.iter().map(|one| option(one.name, one.with.to_vec(), one.because));
    let used = needs.iter().filter(is_used);
    let used = used.map(|one| option(&one.option, one.with(), &one.because));
    let required = users.required.iter().map(|name| {
        let known = needs.iter().find(|need| need.option == *name);
        option(name, known.map_or_else(Vec::new, Need::with), STEPS)
    });
    board.chain(used).chain(required).filter(|option| !is_on(&option.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: &[KernelOption] = &[KernelOption {
        name: "PCNET32",
        with: &["PCI", "ETHERNET"],
        because: "the board's network card",
        is_for_nic: true,
    }];

    fn need(option: &str, users: &[&str], with: &[&str]) -> Need {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Need { option: option.into(), users: owned(users), with: owned(with), because: "why".into() }
    }

    fn names(config: &str, has_modules: bool, words: &[&str], required: &[&str]) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let needs = [
            need("DEVTMPFS", &[], &[]),
            need("KPROBE_EVENTS", &["kprobe"], &["FTRACE"]),
            need("DYNAMIC_FTRACE", &["ftrace_filter="], &[]),
        ];
        let users = OptionUsers { words: owned(words), required: owned(required) };
        missing(config, has_modules, BOARD, &needs, &users).into_iter().map(|option| option.name).collect()
    }

    #[test]
    fn what_nobody_uses_is_not_missed() {
        assert_eq!(names("", false, &[], &[]), ["PCNET32", "DEVTMPFS"]);
        assert_eq!(names("", false, &["kprobe"], &["TUN"]), ["PCNET32", "DEVTMPFS", "KPROBE_EVENTS", "TUN"]);
        assert_eq!(
            names("CONFIG_DEVTMPFS=y\n", false, &["ftrace_filter=x"], &[]),
            ["PCNET32", "DYNAMIC_FTRACE"]
        );
        assert_eq!(names("CONFIG_DEVTMPFS=y\n", false, &["ftrace"], &[]), ["PCNET32"]);
    }

    #[test]
    fn a_module_will_do_where_modules_are_at_hand() {
        let config = "CONFIG_PCNET32=m\nCONFIG_DEVTMPFS=y\n# CONFIG_TUN is not set\n";
        assert_eq!(names(config, true, &[], &["TUN"]), ["TUN"]);
        assert_eq!(names(config, false, &[], &[]), ["PCNET32"]);
    }

    #[test]
    fn a_fragment_turns_on_what_an_option_depends_on_first() {
        let config = "CONFIG_PCI=y\nCONFIG_DEVTMPFS=y\n";
        let missing = missing(config, false, BOARD, &[], &OptionUsers::default());
        assert_eq!(
            fragment(&missing),
            "# PCNET32: the board's network card\nCONFIG_ETHERNET=y\nCONFIG_PCNET32=y\n"
        );
    }

    #[test]
    fn a_config_tells_its_architecture() {
        let config = |options: &[&str]| {
            let lines = options.iter().map(|option| format!("CONFIG_{option}=y\n"));
            format!(
                "# Linux/x86 6.1.192 Kernel Configuration\n# CONFIG_ARM is not set\n{}",
                lines.collect::<String>()
            )
        };
        for arch in Arch::all() {
            assert_eq!(arch_of(&config(arch.row().config)), Some(arch));
        }
        // 32-bit kernels, byte orders and architectures that kshot does not boot.
        for other in [
            &["X86", "X86_32"][..],
            &["MIPS", "32BIT", "CPU_BIG_ENDIAN"],
            &["PPC64", "CPU_BIG_ENDIAN"],
            &["SPARC64"],
            &[],
        ] {
            assert_eq!(arch_of(&config(other)), None, "{other:?}");
        }
    }

    #[test]
    fn the_kernels_of_the_repository_have_what_is_needed() {
        let images = ImagesFolder::new(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images"));
        let text = std::fs::read_to_string(images.needs_yaml()).unwrap();
        let needs: Vec<Need> = yaml::from_str("images/needs.yaml", &text).unwrap();
        let words = needs.iter().flat_map(|need| need.users.clone());
        // They are built without BPF.
        let words = words.filter(|word| !word.starts_with("bpf")).collect();
        let users = OptionUsers { words, required: ["TUN".into()].into() };
        let read = |name: &str| std::fs::read_to_string(images.config_folder().join(name)).unwrap();
        let config = read("base.config") + &read("tracing.config") + &read("malta.config");
        let row = kshot_stack::arch::Arch::Mips64.row();
        let asked: Vec<_> = missing(&config, false, row.options, &needs, &users);
        // TRACING has no prompt: the tracers select it.
        let asked: Vec<_> =
            asked.iter().map(|option| option.name.as_str()).filter(|name| *name != "TRACING").collect();
        assert_eq!(asked, [""; 0]);
    }
}
