//! The boundary that no panic crosses: Rust would end with 101, which `git bisect run` reads as a bad commit.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kshot_stack::exit::ExitCode;

/// The text that is printed after a panic's own message.
const REQUEST: &str = "\
error: kshot crashed: this is a bug in kshot and says nothing about the kernel
hint: report it, with the lines above and the command line
";

/// Runs `work`. A panic in it ends as [`ExitCode::Defect`]; its text has been printed by then.
pub(super) fn catch(
    out: &mut dyn Write,
    err: &mut dyn Write,
    work: impl FnOnce(&mut dyn Write, &mut dyn Write) -> ExitCode,
) -> ExitCode {
    // Only the two streams are used after a panic.
    let ended = catch_unwind(AssertUnwindSafe(|| work(&mut *out, &mut *err)));
    ended.unwrap_or_else(|_| {
        drop(out.flush());
        drop(err.write_all(REQUEST.as_bytes()));
        ExitCode::Defect
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_as_no_mark_and_asks_for_a_report() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = catch(&mut out, &mut err, |out, _| {
            writeln!(out, "begun").unwrap();
            panic!("on purpose")
        });
        assert!(exit.as_u8() > 131);
        assert_eq!(out, b"begun\n");
        assert!(String::from_utf8(err).unwrap().contains("report it"));
    }
}
