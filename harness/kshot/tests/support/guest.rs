//! A real guest for live tests: the big-endian kernel that this repository provisions.

#[path = "boot.rs"]
pub(crate) mod boot;

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libtest_mimic::{Arguments, Trial};

pub(crate) use boot::{Fixture, LIMIT};
use boot::{kernel, login_to};

const KERNEL: &str = "mips64-6.1";

/// Runs tests that need the guest; without its kernel they are ignored, or fail where it is required.
pub(crate) fn run(tests: &[(&'static str, fn())]) -> ExitCode {
    let is_there = is_there();
    let why =
        if is_there { String::new() } else { format!("not provisioned: cargo kshot provision {KERNEL}") };
    let trial = |&(name, test): &(&'static str, fn())| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!is_there).with_kind(why.clone())
    };
    let conclusion = libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect());
    shared().end();
    conclusion.exit_code()
}

/// Whether the tests are to run: the kernel is there, or has to be.
fn is_there() -> bool {
    let required = std::env::var("KSHOT_REQUIRE");
    kernel(KERNEL).is_some()
        || required.is_ok_and(|list| list == "1" || list.split(',').any(|name| name == KERNEL))
}

/// Boots a guest of the caller's own with the kernel that the tests share.
pub(crate) fn login(cmdline: &[&str]) -> Fixture {
    login_to(KERNEL, cmdline)
}

/// The one guest of the tests that leave it as they found it.
pub(crate) struct Shared(MutexGuard<'static, Option<Fixture>>);

/// Waits for the shared guest.
pub(crate) fn shared() -> Shared {
    static SHARED: Mutex<Option<Fixture>> = Mutex::new(None);
    Shared(SHARED.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Shared {
    pub(crate) fn get(&mut self) -> &mut Fixture {
        // One that a test before has lost is of no use to this one.
        self.0.take_if(|fixture| fixture.machine.liveness().check().is_err());
        self.0.get_or_insert_with(|| login(&[]))
    }

    /// Statics are not dropped: the guest's files would stay.
    pub(crate) fn end(mut self) {
        drop(self.0.take());
    }
}
