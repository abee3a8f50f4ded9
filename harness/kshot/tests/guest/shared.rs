//! A real guest for live tests: the big-endian kernel that this repository provisions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::boot::{Fixture, kernel, login_to};

const KERNEL: &str = "mips64-6.1";

/// What is missing for the tests of this guest; `None` also where its kernel is required, so that they fail.
pub(crate) fn missing() -> Option<String> {
    let required = std::env::var("KSHOT_REQUIRE");
    let is_there = kernel(KERNEL).is_some()
        || required.is_ok_and(|list| list == "1" || list.split(',').any(|name| name == KERNEL));
    (!is_there).then(|| format!("not provisioned: cargo kshot provision {KERNEL}"))
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
