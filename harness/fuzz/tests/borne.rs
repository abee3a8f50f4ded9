//! A short feeding with each `cargo test`; `scripts/nightly` feeds for longer.

use std::time::Duration;

use kshot_fuzz::{feed, targets};

#[test]
fn half_a_minute_of_damaged_input_is_borne() {
    let finds = tempfile::tempdir().unwrap();
    let fed = feed(&targets::all(), Duration::from_secs(30), 1, finds.path()).unwrap();
    if !fed.finds.is_empty() {
        let kept = finds.keep();
        panic!("kept in {}: {:#?}", kept.display(), fed.finds);
    }
    assert!(fed.inputs > 100, "{} inputs", fed.inputs);
}
