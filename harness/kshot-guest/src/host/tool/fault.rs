//! What the output of a failed tool says of whose fault it is: the source's or the host's.

/// What a compiler, an assembler, a linker or kbuild says of a source that cannot be built. A build that
/// fails without one of these may have failed because of the host.
const DIAGNOSES: &[&str] = &[
    " error: ",
    " Error: ",
    "undefined reference to",
    "multiple definition of",
    "undefined!",
    "No rule to make target",
    "can't find file to patch",
    "FAILED -- saving rejects",
];

/// What GCC says of its own crashes, which it calls errors, too.
const CRASHES: &[&str] = &["internal compiler error", "signal terminated program", "terminated with signal"];

/// Whether a line of a failed tool's output says what is wrong with the source.
pub(super) fn is_diagnosis(line: &str) -> bool {
    let holds = |all: &[&str]| all.iter().any(|words| line.contains(words));
    !holds(CRASHES) && holds(DIAGNOSES)
}

/// What a tool prints if the host is at fault: strerror(3) in English, and the words of tools that have run
/// out of memory or could not write (GCC, GNU ld, flex, make).
const HOST_ERRORS: &[&str] = &[
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Read-only file system",
    "Input/output error",
    "Stale file handle",
    "Structure needs cleaning",
    "Transport endpoint is not connected",
    "Cannot allocate memory",
    "Out of memory",
    "out of memory",
    "memory exhausted",
    "Resource temporarily unavailable",
    "Too many open files",
    "Too many levels of symbolic links",
    "Device or resource busy",
    "No such device",
    "Bad message",
    // GCC, of its own programs.
    "cannot execute",
    "Text file busy",
    "Bad file descriptor",
    "Permission denied",
    "Operation not permitted",
    "Connection refused",
    "Connection reset by peer",
    "Connection timed out",
    "No route to host",
    "Remote I/O error",
    "write error",
    // ccache(1), of its own folders.
    "ccache: error: ",
    "posix_spawn",
    "] Error 126",
    "] Error 127",
];

/// The signals that end a process for lack of memory, lack of time, or because somebody stopped it
/// (signal(7)): strsignal(3) in English, and the number. What a program does to itself (SIGSEGV, SIGABRT) may
/// be the source's doing.
const HOST_SIGNALS: &[(&str, u8)] = &[
    ("Hangup", 1),
    ("Interrupt", 2),
    ("Bus error", 7),
    ("Killed", 9),
    ("Terminated", 15),
    ("CPU time limit exceeded", 24),
    ("File size limit exceeded", 25),
];

/// Messages that the source itself has written: any words may stand in them.
const QUOTED: &[&str] =
    &["error: #error", "error: static assertion failed", "error: call to '__compiletime_assert"];

/// What a program prints before the name of the signal that ended its child.
const ENDED_BY: &[&str] = &[
    // make (src/job.c): "make[3]: *** [scripts/Makefile.build:250: kernel/fork.o] Killed"
    "] ",
    // GCC before 10: "gcc: internal compiler error: Killed (program cc1)"
    "internal compiler error: ",
    // clang: "clang: error: unable to execute command: Killed"
    "unable to execute command: ",
];

/// Whether a line of a failed tool's output says that the host is at fault.
pub(super) fn is_host_error(line: &str) -> bool {
    // The text of a warning, and the source that GCC quotes below it, may hold any words: "  12 | panic(\"Out
    // of memory\");"
    let quoted = line.trim_start().trim_start_matches(|first: char| first.is_ascii_digit());
    if line.contains(" warning: ")
        || line.contains(" note: ")
        || QUOTED.iter().any(|words| line.contains(words))
        || quoted.starts_with(" | ")
        || quoted.starts_with("| ")
    {
        return false;
    }
    HOST_ERRORS.iter().any(|error| line.contains(error))
        || HOST_SIGNALS.iter().any(|(words, number)| is_end_by(line, words, *number))
}

/// Whether a line says that a signal ended a program.
fn is_end_by(line: &str, words: &str, number: u8) -> bool {
    ENDED_BY.iter().any(|before| {
        let rest = line.split_once(before).and_then(|(_, rest)| rest.strip_prefix(words));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '(', '\r']))
    })
        // dash: "Killed", on a line of its own
        || line.trim() == words
        // bash: "scripts/link-vmlinux.sh: line 115:  1234 Killed                  ${PAHOLE} -J"
        || line.split_once(": line ").is_some_and(|(_, rest)| {
            let mut rest = rest.split([':', ' ']).filter(|word| !word.is_empty());
            let is_number = |word: Option<&str>| word.is_some_and(|word| word.parse::<u32>().is_ok());
            is_number(rest.next()) && is_number(rest.next()) && rest.next() == words.split(' ').next()
        })
        // GCC since 10: "gcc: fatal error: Killed signal terminated program cc1"
        || line.contains(&format!("{words} signal terminated program"))
        // collect2, which GCC links with: "collect2: fatal error: ld terminated with signal 9 [Killed]"
        || line.split_once("terminated with signal ").is_some_and(|(_, rest)| {
            rest.split(|end: char| !end.is_ascii_digit()).next() == Some(&*number.to_string())
        })
        // A shell: "make[3]: *** [scripts/Makefile.build:250: kernel/fork.o] Error 137"
        || line.ends_with(&format!("] Error {}", 128 + u32::from(number)))
}
