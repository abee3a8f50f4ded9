//! Names of architectures: only the rows know them.

use std::collections::BTreeSet;

use super::imports::{CRATES, production_code};

/// What a word begins with that names an architecture or a machine of one.
const NAMES: [&str; 12] = [
    "mips", "malta", "arm64", "aarch64", "armhf", "riscv", "s390", "ppc64", "powerpc", "x86", "amd64",
    "pseries",
];

/// Where the names are at home.
const ROWS: (&str, &str) = ("kshot-stack", "arch");

/// A name outside of the rows, and why it may stand there.
struct Exception {
    module: &'static str,
    word: &'static str,
    #[expect(dead_code, reason = "for those who read it")]
    because: &'static str,
}

const EXCEPTIONS: [Exception; 2] = [
    Exception {
        module: "kshot-guest::symbols::unwind",
        word: "AArch64",
        because: "gimli's word for one vendor's rules, which are read wherever they are",
    },
    Exception {
        module: "kshot::commands::question",
        word: "mips64",
        because: "a kernel of the catalogue, as an example in a hint",
    },
];

/// The names of architectures in a text, as they are written.
fn names(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| NAMES.iter().any(|name| word.to_ascii_lowercase().starts_with(name)))
}

#[test]
fn only_the_rows_name_an_architecture() {
    let mut found = BTreeSet::new();
    for name in CRATES {
        for (module, code) in production_code(&super::root().join(format!("harness/{name}/src"))) {
            if (name, module.first().map_or("", String::as_str)) == ROWS {
                continue;
            }
            let module = [&[name.to_owned()], module.as_slice()].concat().join("::");
            found.extend(names(&code).map(|word| (module.clone(), word.to_owned())));
        }
    }
    let expected = EXCEPTIONS.iter().map(|one| (one.module.to_owned(), one.word.to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_name_is_found_in_a_word_and_in_a_text() {
    let code = "Arch::Mips64.row(), \"qemu-system-riscv64\", charm, x86_64";
    assert_eq!(names(code).collect::<Vec<_>>(), ["Mips64", "riscv64", "x86"]);
}
