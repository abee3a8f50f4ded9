//! SIGINT and SIGTERM: the first signal asks every wait to end so that machines are shut down in order; the second ends
//! the process at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static ARRIVED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the signal handlers; further calls do nothing.
///
/// # Errors
/// The errors of sigaction(2).
pub fn install_handlers() -> io::Result<()> {
    let mut result = Ok(());
    ARRIVED.get_or_init(|| {
        let arrived = Arc::new(AtomicBool::new(false));
        for (signal, status) in [(SIGINT, 130), (SIGTERM, 143)] {
            // In this order: the flag is looked at before it is set, so only a second signal ends us.
            result = flag::register_conditional_shutdown(signal, status, Arc::clone(&arrived))
                .and_then(|_| flag::register(signal, Arc::clone(&arrived)))
                .map(drop)
                .and(std::mem::replace(&mut result, Ok(())));
        }
        arrived
    });
    result
}

/// Whether SIGINT or SIGTERM has arrived.
pub fn arrived() -> bool {
    ARRIVED.get().is_some_and(|arrived| arrived.load(Ordering::Relaxed))
}
