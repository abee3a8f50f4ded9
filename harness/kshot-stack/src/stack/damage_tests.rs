//! Captures of all formats, damaged by the same random numbers at each run: no parser may fault, hang, or let
//! pass what a terminal would obey.

use super::{DEEPEST_STACK, ParsedCapture, ftrace_text, gdb_json, perf_script, show};
use crate::arch::Arch;
use crate::format::{DetectedFormat, TextFormat};

/// How many damaged captures each parser reads.
pub(crate) const ROUNDS: u64 = 1500;
/// Bytes of a capture that are damaged and read.
const LONGEST: usize = 6000;

/// Numbers by Marsaglia's xorshift.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (limit.max(1) as u64)).unwrap()
    }

    fn place(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let begin = self.below(bytes.len());
        begin..(begin + self.below(60)).min(bytes.len())
    }
}

/// What the parsers look for.
const WORDS: [&[u8]; 27] = [
    b" => ",
    b"=> ",
    b"<stack trace>",
    b" <-",
    b"=STACK:",
    b"# tracer: ",
    b"[unknown/kretprobe'd]",
    b"+0x",
    b" /* ",
    b" | ",
    b"-1 [-01] 1.5: ",
    b" (",
    b"\t",
    b"\n",
    b"\xff\x1b[2J",
    b"18446744073709551616",
    b"Call Trace:\n",
    b"[<0>] ",
    b"==> ",
    b"} hitcount: ",
    b"stacktrace:",
    b"---[ end ",
    b"#0  ",
    b"] f at ffffffff80112980",
    b"@[\n",
    b"]: 7\n",
    b", \n",
];

/// A piece of one of the captures with up to eight faults in it.
pub(crate) fn damaged(captures: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = captures[random.below(captures.len())].clone();
    let begin = random.below(bytes.len().saturating_sub(LONGEST));
    bytes = bytes[begin..(begin + LONGEST).min(bytes.len())].to_vec();
    for _ in 0..=random.below(8) {
        let place = random.place(&bytes);
        match random.below(6) {
            0 => bytes[place.start] = u8::try_from(random.below(256)).unwrap(),
            1 => drop(bytes.drain(place)),
            2 => {
                let piece = bytes[place].to_vec();
                let at = random.below(bytes.len());
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &captures[random.below(captures.len())];
                let piece = other[random.place(other)].to_vec();
                bytes.splice(place, piece);
            }
            4 => {
                drop(bytes.splice(place.start..place.start, WORDS[random.below(WORDS.len())].iter().copied()))
            }
            _ => bytes.truncate(random.below(bytes.len()).max(100)),
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// What holds of a reading whatever was read.
fn check(parsed: &ParsedCapture, bytes: &[u8]) {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let clean = |text: &str| !text.chars().any(char::is_control);
    for (stack, count) in &parsed.stacks {
        assert!(*count > 0 && stack.frames.len() <= DEEPEST_STACK, "{}", shown());
        assert!(clean(&stack.task) && clean(&stack.event), "{}", shown());
        assert!(stack.function.as_deref().is_none_or(clean), "{}", shown());
        for frame in &stack.frames {
            assert!(clean(&frame.name()) && frame.module.as_deref().is_none_or(clean), "{}", shown());
        }
    }
    assert!(
        parsed.warnings.iter().all(|warning| warning.count > 0 && clean(&warning.example)),
        "{}",
        shown()
    );
}

fn read_damaged(folder: &str, seed: u64, read: impl Fn(&[u8]) -> ParsedCapture) {
    read_damaged_times(ROUNDS, folder, seed, read);
}

fn read_damaged_times(rounds: u64, folder: &str, seed: u64, read: impl Fn(&[u8]) -> ParsedCapture) {
    let captures: Vec<_> = show::captures(folder).into_iter().map(|(_, bytes)| bytes).collect();
    let mut random = Random(seed);
    for _ in 0..rounds {
        let bytes = damaged(&captures, &mut random);
        check(&read(&bytes), &bytes);
    }
}

#[test]
fn damaged_text_of_ftrace_is_read_the_same_in_both_ways() {
    read_damaged("ftrace", 0x5eed_f7ac, |bytes| {
        let parsed = ftrace_text::parse(bytes).unwrap();
        let (in_order, order) = ftrace_text::parse_in_order(bytes).unwrap();
        assert_eq!(parsed, in_order);
        assert_eq!(order.len() as u64, parsed.stacks.iter().map(|(_, count)| count).sum::<u64>());
        let only = ftrace_text::parse_only(bytes, &["register_netdevice".into()]).unwrap();
        assert!(only.events <= parsed.events);
        parsed
    });
}

#[test]
fn damaged_text_of_perf_is_read() {
    read_damaged("perf", 0x5eed_9e8f, |bytes| perf_script::parse(bytes).unwrap());
}

#[test]
fn damaged_texts_of_other_reporters_are_read() {
    let reporters = [
        ("proc_stack", TextFormat::ProcStack),
        ("stack_tracer", TextFormat::StackTracer),
        ("hist", TextFormat::Hist),
        ("console", TextFormat::CallTrace),
        ("pasted", TextFormat::CallTrace),
        ("trace_cmd", TextFormat::Ftrace),
        ("bpf", TextFormat::BpfStacks),
        ("bpftrace", TextFormat::Bpftrace),
    ];
    for (folder, format) in reporters {
        read_damaged(folder, 0x5eed_7e57, |bytes| format.parse(bytes).unwrap());
    }
}

#[test]
fn damaged_texts_are_read_as_what_they_look_like() {
    let folders =
        ["ftrace", "trace_cmd", "perf", "console", "pasted", "proc_stack", "hist", "bpf", "bpftrace"];
    for folder in folders {
        read_damaged_times(ROUNDS / 10, folder, 0x5eed_6e55, |bytes| {
            DetectedFormat::guess(bytes).parse(bytes).unwrap()
        });
    }
    // Damage puts a part of one in the middle of another, so that formats change in the middle of anything.
    let captures: Vec<_> = folders.into_iter().flat_map(show::captures).map(|(_, bytes)| bytes).collect();
    let mut random = Random(0x5eed_313e);
    for _ in 0..ROUNDS {
        let bytes = damaged(&captures, &mut random);
        for section in DetectedFormat::guess(&bytes).sections(&bytes[..]).unwrap() {
            check(&section.parsed, &bytes);
        }
    }
}

#[test]
fn damaged_lines_of_gdb_are_read() {
    let captures = [std::fs::read(show::data("gdb/register_netdevice.jsonl")).unwrap()];
    let mut random = Random(0x5eed_0db1);
    for _ in 0..ROUNDS {
        let bytes = damaged(&captures, &mut random);
        check(&gdb_json::parse(&bytes[..], Arch::Mips64.row()).unwrap(), &bytes);
    }
}
