//! The command `kshot`: hands the arguments to the library and ends with its exit code.

use std::process::ExitCode;
use std::{env, io};

fn main() -> ExitCode {
    // Standard error stays unlocked: progress writes to it from other threads.
    let exit = kshot::commands::main(env::args_os(), &mut io::stdout().lock(), &mut io::stderr());
    ExitCode::from(exit.as_u8())
}
