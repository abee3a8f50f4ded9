//! The live tests stand beside the snapshots that they judge: `cargo insta review` looks for pending
//! snapshots in the folders of a package and of its test targets, and nowhere else.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it may fail and starts what it tests"
)]

#[path = "../harness/kshot/tests/live/mod.rs"]
mod live;
#[path = "../harness/kshot-stack/src/samples.rs"]
mod samples;
#[path = "../harness/kshot/src/report/test_night.rs"]
mod test_night;

fn main() -> std::process::ExitCode {
    live::main()
}
