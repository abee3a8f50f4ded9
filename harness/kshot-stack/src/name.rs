//! Names that become paths or words of a command line: what they may hold.

use globset::{Glob, GlobBuilder};

use crate::text::is_hidden;

/// The longest name of a file, in bytes (`NAME_MAX` of Linux's include/uapi/linux/limits.h).
pub const NAME_MOST: usize = 255;
/// The most folders that a scenario's id may lead through.
pub const ID_DEPTH: usize = 8;
/// The longest release, in bytes: what uname(2) holds of one without its closing zero (`__NEW_UTS_LEN`).
pub const RELEASE_MOST: usize = 64;

/// The longest glob, in bytes; it becomes a program of some hundred times its size.
pub const GLOB_MOST: usize = 1024;

/// The glob that `text` is, as a list of kernels or scenarios has it; `{,-fixed}` may stand for nothing.
///
/// # Errors
/// That it is none, and why.
#[expect(clippy::disallowed_methods, reason = "here its length is limited")]
pub fn glob(text: &str) -> Result<Glob, String> {
    if text.len() > GLOB_MOST {
        let begin: String = text.chars().take(40).collect();
        return Err(format!("`{begin}..` is not a valid glob: it has more than {GLOB_MOST} bytes"));
    }
    let glob = GlobBuilder::new(text).empty_alternates(true).build();
    glob.map_err(|error| format!("`{text}` is not a valid glob: {}", error.kind()))
}

/// Whether `name` is one file or folder right where it is looked for: no `/`, no `..`, nothing that hides.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MOST
        && !name.starts_with('.')
        && !name.starts_with('-')
        && !name.contains(|c: char| c == '/' || is_hidden(c))
}

/// Whether `id` is a scenario's id or another path that leads downwards: file names with `/` between.
pub fn is_id(id: &str) -> bool {
    id.split('/').count() <= ID_DEPTH && id.split('/').all(is_file_name)
}

/// Whether `release` is one that a kernel may have: it stands in paths and in scripts, so it is letters,
/// digits and `.+~_-`, and begins with a letter or digit.
pub fn is_release(release: &str) -> bool {
    release.len() <= RELEASE_MOST
        && release.starts_with(|first: char| first.is_ascii_alphanumeric())
        && release.chars().all(|c| c.is_ascii_alphanumeric() || ".+~_-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_real_kernels_pass_and_what_a_shell_would_read_does_not() {
        for release in
            ["6.1.0-50-5kc-malta", "6.1.192-kshot", "7.3.4", "6.12.95+deb13-amd64", "6.1.0-rc1~exp_1"]
        {
            assert!(is_release(release), "{release}");
        }
        for release in ["", "$(id)", "6.1 2", "../x", "-6", ".", "6.1\n", "6.1`id`", &"6".repeat(65)] {
            assert!(!is_release(release), "{release:?}");
        }
    }

    #[test]
    fn a_glob_is_as_long_as_names_may_need() {
        let longest = format!("{}b", "*a".repeat(500));
        assert!(
            glob("*-{6.1,6.12}-debian")
                .is_ok_and(|glob| glob.compile_matcher().is_match("arm64-6.12-debian"))
        );
        assert!(!glob(&longest).unwrap().compile_matcher().is_match("mips64-6.1"));
        let why = glob(&"*a".repeat(100_000)).unwrap_err();
        assert!(why.contains("more than 1024 bytes") && why.len() < 200, "{why}");
        assert!(glob("[").is_err());
        let matcher = glob("mips64-6.1{,-fixed}").unwrap().compile_matcher();
        assert!(matcher.is_match("mips64-6.1") && matcher.is_match("mips64-6.1-fixed"));
        assert!(!matcher.is_match("mips64-6.1-static"));
    }

    #[test]
    fn an_id_leads_downwards_alone() {
        for id in ["tunsetiff/perf_probe", "s", "a/b c/d"] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            "..",
            "../..",
            "a/../b",
            "/etc",
            "a//b",
            "a/",
            ".git/x",
            "a\n",
            "a\u{202e}b",
            "a/a/a/a/a/a/a/a/a",
        ] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
