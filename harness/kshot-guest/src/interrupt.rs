//! SIGINT and SIGTERM: the first signal asks every wait to end so that machines are shut down in order; the second ends
//! the process at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the signal handlers; further calls do nothing.
///
/// # Errors
/// The errors of sigaction(2).
pub fn listen() -> io::Result<()> {
    let mut result = Ok(());
    CAME.get_or_init(|| {
        let came = Arc::new(AtomicBool::new(false));
        for (signal, status) in [(SIGINT, 130), (SIGTERM, 143)] {
            // In this order: the flag is looked at before it is set, so only a second signal ends us.
            result = flag::register_conditional_shutdown(signal, status, Arc::clone(&came))
                .and_then(|_| flag::register(signal, Arc::clone(&came)))
                .map(drop)
                .and(std::mem::replace(&mut result, Ok(())));
        }
        came
    });
    result
}

/// Whether SIGINT or SIGTERM has arrived.
pub fn came() -> bool {
    CAME.get().is_some_and(|came| came.load(Ordering::Relaxed))
}
