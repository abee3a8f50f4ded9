//! Faults of the host, of files and of strangers, one test each; `harness/docs/faults.md` is their table.

mod archive; // Debian's archive, and what it dropped
mod builds; // builds that are cut short
mod documents; // what others wrote
mod host; // pipes, disks, limits
mod inputs; // files without end

use std::fs;
use std::path::Path;

/// Says why a test shows nothing on this host.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
pub(crate) fn not_shown(why: &str) {
    eprintln!("not shown: {why}");
}

/// The table names each test that there is, and no other.
#[test]
fn the_table_names_every_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let table = fs::read_to_string(root.join("harness/docs/faults.md")).unwrap();
    for name in ["mod", "archive", "builds", "documents", "host", "inputs"] {
        let source =
            fs::read_to_string(root.join(format!("harness/kshot/tests/cli/faults/{name}.rs"))).unwrap();
        for test in source.split("#[test]\n").skip(1) {
            let test = test.split_once("fn ").unwrap().1.split_once('(').unwrap().0;
            assert!(
                name == "mod" || table.contains(&format!("`{test}`")),
                "harness/docs/faults.md lacks {test}"
            );
        }
    }
    let sources = [
        "harness/kshot/tests",
        "harness/kshot/src",
        "harness/kshot-guest/src",
        "harness/kshot-stack/src",
        "harness/fuzz",
    ];
    let sources = sources.map(|folder| text(&root.join(folder))).concat();
    for row in table.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")) {
        // The last cell has one test or several.
        let tests = row.trim_end_matches(" |").rsplit_once("| ").unwrap().1;
        for test in tests.split(", ").map(|test| test.trim_matches('`')) {
            assert!(
                sources.contains(&format!("fn {test}()")),
                "harness/docs/faults.md names {test}, which is no test"
            );
        }
    }
}

fn text(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &text(&path);
        } else if path.extension().is_some_and(|ends| ends == "rs") {
            all += &fs::read_to_string(&path).unwrap();
        }
    }
    all
}
