//! Every way in which a kernel can be told to print its trace buffer, made in a guest and read: every tracer,
//! every option of tracefs on and off and in random sets, every clock; and the fields of `perf script`.
//! Nothing of it may be unreadable, and the same buffer has as many events and stacks however it is printed.
//!
//! It takes minutes, so it runs for the kernels that `KSHOT_MATRIX` names, separated by commas, and with the
//! tracers that `KSHOT_MATRIX_TRACERS` names, or all. What failed lies in `target/matrix/KERNEL` then.

mod perf;
mod tracefs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kshot_guest::session::{Guest, GuestFile};
use kshot_stack::stack::ParsedCapture;
use libtest_mimic::{Failed, Trial};

use super::boot::{Fixture, login_to};

/// The kernels, separated by commas.
const KERNELS: &str = "KSHOT_MATRIX";
/// The tracers, separated by commas; all where there are none.
const TRACERS: &str = "KSHOT_MATRIX_TRACERS";
/// What stands in front of the name of each text of a script that reads many.
const MARK: &str = "kshot-matrix: ";
/// How long one command may take: some tracers slow a guest down a hundredfold.
const LIMIT: Duration = Duration::from_secs(600);
/// The kernel whose trial is listed, and ignored, where none is asked for.
const EXAMPLE: &str = "mips64-6.1";

/// A part of the matrix.
type Part = (&'static str, fn(&mut Matrix));

const PARTS: &[Part] = &[
    ("every_option_on_and_off_gives_the_same", tracefs::one_option_at_a_time),
    ("random_sets_of_options_give_the_same", tracefs::random_sets),
    ("every_clock_is_read", tracefs::clocks),
    ("the_probe_puts_back_what_cannot_be_read", tracefs::probe_puts_back),
    ("every_field_of_perf_script_gives_the_same", perf::fields),
];

pub(crate) fn trials() -> Vec<Trial> {
    let asked = std::env::var(KERNELS).unwrap_or_default();
    let kernels: Vec<&str> = asked.split(',').filter(|name| !name.is_empty()).collect();
    let is_asked = !kernels.is_empty();
    let kernels = if is_asked { kernels } else { vec![EXAMPLE] };
    let trial = |kernel: &str, (name, part): &Part| {
        let (part, owned) = (*part, kernel.to_owned());
        let run = move || Matrix::run(&owned, part);
        let trial = Trial::test(format!("matrix::{kernel}::{name}"), run).with_ignored_flag(!is_asked);
        trial.with_kind(if is_asked { String::new() } else { format!("ask for it: {KERNELS}={EXAMPLE}") })
    };
    kernels.iter().flat_map(|kernel| PARTS.iter().map(|part| trial(kernel, part))).collect()
}

/// A guest, and what did not come out right in it.
struct Matrix {
    guest: Fixture,
    kernel: String,
    cases: usize,
    faults: Vec<String>,
}

/// What a capture comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts {
    events: u64,
    stacks: u64,
    frames: u64,
    /// How often the parser stumbled, by kind; the kernel's own losses are none of it.
    unreadable: BTreeMap<String, u64>,
}

impl Counts {
    fn of(parsed: &ParsedCapture) -> Self {
        let unreadable = parsed.warnings.iter().filter(|warning| warning.kind != "lost-events");
        Self {
            events: parsed.events,
            stacks: parsed.stacks.iter().map(|(_, count)| count).sum(),
            frames: parsed.stacks.iter().map(|(stack, count)| stack.frames.len() as u64 * count).sum(),
            unreadable: unreadable.map(|warning| (warning.kind.clone(), warning.count)).collect(),
        }
    }
}

impl Matrix {
    fn run(kernel: &str, part: fn(&mut Self)) -> Result<(), Failed> {
        let guest = login_to(kernel, &[]);
        let mut matrix = Self { guest, kernel: kernel.into(), cases: 0, faults: Vec::new() };
        part(&mut matrix);
        let Self { cases, faults, guest, .. } = matrix;
        for report in guest.machine.shutdown() {
            eprintln!("{kernel}: on its console: {}", report.line);
        }
        eprintln!("{kernel}: {cases} cases, {} of them not as they should be", faults.len());
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
    }

    /// The output of a script in the guest; `None` where it fails.
    fn try_to(&mut self, script: &str) -> Option<Vec<u8>> {
        let output = self.guest.session.run(script, LIMIT).unwrap();
        (output.status == 0).then_some(output.text)
    }

    /// The output of a script in the guest, which has to succeed.
    fn get(&mut self, script: &str) -> Vec<u8> {
        let output = self.guest.session.run(script, LIMIT).unwrap();
        assert_eq!(output.status, 0, "{script}: {}", String::from_utf8_lossy(&output.text));
        output.text
    }

    /// The words of a script's output.
    fn words(&mut self, script: &str) -> Vec<String> {
        String::from_utf8(self.get(script)).unwrap().split_whitespace().map(str::to_owned).collect()
    }

    /// The texts that a script reads, each behind a line with [`MARK`] and its name.
    fn texts(&mut self, script: &str) -> Vec<(String, Vec<u8>)> {
        let (from, to) = ("/tmp/kshot-matrix", self.guest.folder.path().join("texts"));
        let output = self.guest.session.run(&format!("{{ {script}\n}} > {from}"), LIMIT).unwrap();
        assert_eq!(output.text, b"", "{}", String::from_utf8_lossy(&output.text));
        self.guest.session.fetch(&[GuestFile { from, to: &to }], LIMIT).unwrap();
        let bytes = std::fs::read(&to).unwrap();
        std::fs::remove_file(&to).unwrap();
        let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match (line.strip_prefix(MARK.as_bytes()), texts.last_mut()) {
                (Some(name), _) => {
                    texts.push((String::from_utf8_lossy(name).trim().to_owned(), Vec::new()));
                }
                (None, Some((_, text))) => text.extend_from_slice(line),
                (None, None) => panic!("{}", String::from_utf8_lossy(line)),
            }
        }
        texts
    }

    /// Holds a capture to what it should come to: all of it is read, and there is as much as `wanted` says.
    fn check(&mut self, case: &str, text: &[u8], parsed: &ParsedCapture, wanted: Option<&Counts>) {
        self.cases += 1;
        let found = Counts::of(parsed);
        let same = wanted.is_none_or(|wanted| {
            (wanted.events, wanted.stacks, wanted.frames) == (found.events, found.stacks, found.frames)
        });
        let examples: Vec<_> = parsed.warnings.iter().map(|warning| &*warning.example).collect();
        let wanted = wanted.map(|wanted| format!("; wanted {wanted:?}")).unwrap_or_default();
        let holds = same && found.unreadable.is_empty();
        self.check_that(holds, case, text, &format!("{found:?}{wanted} {examples:?}"));
    }

    /// Keeps a text of which something does not hold, with what was found.
    fn check_that(&mut self, holds: bool, case: &str, text: &[u8], found: &str) {
        if holds {
            return;
        }
        let fault = format!("{case}: {found} ({})", self.keep(case, text).display());
        // It may be long to the end.
        eprintln!("{fault}");
        self.faults.push(fault);
    }

    fn keep(&self, case: &str, text: &[u8]) -> PathBuf {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("target/matrix");
        let path = target.join(&self.kernel).join(format!("{}.txt", case.replace(['/', ' '], "_")));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Numbers that are the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
