//! Says which commit kshot is built from (`KSHOT_COMMIT`), empty where nothing tells.
#![expect(clippy::disallowed_methods, reason = "a build script: it asks git")]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=KSHOT_COMMIT={}", commit().unwrap_or_default());
}

fn commit() -> Option<String> {
    // `cargo package` leaves the commit beside the manifest of an archive.
    if let Ok(text) =
        fs::read_to_string(Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join(".cargo_vcs_info.json"))
    {
        let (_, rest) = text.split_once("\"sha1\"")?;
        return rest.split('"').nth(1).map(str::to_owned);
    }
    // An archive may lie unpacked in a repository of another project.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // HEAD names a branch or a commit; its log grows with each commit. Where one is not there cargo would run
    // this anew each time.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

/// What git says, `None` where there is no git or it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
