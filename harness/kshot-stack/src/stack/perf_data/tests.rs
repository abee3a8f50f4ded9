use super::super::{Warning, perf_script, show};
use super::*;

/// `PERF_SAMPLE_IP | TID | TIME | CALLCHAIN | CPU | IDENTIFIER`.
const FORMAT: u64 = 1 | 2 | 4 | 0x20 | 0x80 | 0x1_0000;
const SYMBOLS: &str = "ffffffff80100000 T f\nffffffff80100100 T g\nffffffff80100200 T end\n";
const F: u64 = 0xffff_ffff_8010_0004;
const G: u64 = 0xffff_ffff_8010_0108;

/// Writes a `perf.data` as perf would on a machine of this order of bytes.
struct Writer {
    big: bool,
    records: Vec<u8>,
}

impl Writer {
    fn long(&self, word: u64) -> [u8; 8] {
        if self.big { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn int(&self, word: u32) -> [u8; 4] {
        if self.big { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn record(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let size = body.len() as u16 + 8;
        let size = if self.big { size.to_be_bytes() } else { size.to_le_bytes() };
        self.records.extend([&self.int(kind)[..], &[0, 0], &size, body].concat());
        self
    }

    fn sample(&mut self, event: u64, thread: u32, time: u64, chain: &[u64]) -> &mut Self {
        let mut body = [self.long(10 + event), self.long(0)].concat();
        body.extend([self.int(thread), self.int(thread)].concat());
        body.extend([self.long(time), self.long(0), self.long(chain.len() as u64)].concat());
        body.extend(chain.iter().flat_map(|&word| self.long(word)));
        self.record(9, &body)
    }

    /// A record of the kernel's own, with the words that it ends in: thread, time, CPU, id.
    fn told(&mut self, kind: u32, mut body: Vec<u8>, time: u64) -> &mut Self {
        body.extend([self.long(0), self.long(time), self.long(0), self.long(10)].concat());
        self.record(kind, &body)
    }

    fn name(&mut self, thread: u32, name: &[u8; 8], time: u64) -> &mut Self {
        let body = [&self.int(thread)[..], &self.int(thread), name].concat();
        self.told(3, body, time)
    }

    fn fork(&mut self, parent: u32, child: u32, time: u64) -> &mut Self {
        let mut body = [child, parent, child, parent].map(|id| self.int(id)).concat();
        body.extend(self.long(time));
        self.told(7, body, time)
    }

    fn lost(&mut self, count: u64) -> &mut Self {
        let body = [self.long(10), self.long(count)].concat();
        self.told(2, body, 0)
    }

    /// The file of these events.
    fn file(&self, events: &[&str]) -> Vec<u8> {
        let ids = events.len() * 8;
        let attr = |out: &mut Vec<u8>| {
            let start = out.len();
            out.extend([self.int(1), self.int(128)].concat());
            // sample_id_all: the flags are declared from the first on.
            let flags: u64 = if self.big { (1_u64 << 18).reverse_bits() } else { 1 << 18 };
            out.extend([0, 1, FORMAT, 0, flags].map(|word: u64| self.long(word)).concat());
            out.resize(start + 128, 0);
        };
        let start = 104 + ids + events.len() * 144;
        let mut file = if self.big { b"2ELIFREP".to_vec() } else { b"PERFILE2".to_vec() };
        let header =
            [104, 144, 104 + ids, events.len() * 144, start, self.records.len(), 0, 0, 1 << 12, 0, 0, 0];
        file.extend(header.iter().flat_map(|&word| self.long(word as u64)));
        file.extend((0..events.len()).flat_map(|event| self.long(10 + event as u64)));
        for event in 0..events.len() {
            attr(&mut file);
            file.extend([self.long(104 + 8 * event as u64), self.long(8)].concat());
        }
        file.extend(&self.records);
        let mut list = [self.int(events.len() as u32), self.int(128)].concat();
        for (event, name) in events.iter().enumerate() {
            attr(&mut list);
            list.extend([self.int(1), self.int(64)].concat());
            let begin = list.len();
            list.extend(name.as_bytes());
            list.resize(begin + 64, 0);
            list.extend(self.long(10 + event as u64));
        }
        file.extend([self.long(file.len() as u64 + 16), self.long(list.len() as u64)].concat());
        file.extend(list);
        file
    }
}

/// What becomes of the same records in either order of bytes.
fn read_of(events: &[&str], write: impl Fn(&mut Writer)) -> String {
    let symbols = Kallsyms::read(SYMBOLS.as_bytes()).unwrap();
    let read = |big| {
        let mut writer = Writer { big, records: Vec::new() };
        write(&mut writer);
        show::parsed(&parse(&writer.file(events)[..], &symbols).unwrap())
    };
    assert_eq!(read(true), read(false));
    read(true)
}

fn captures() -> Vec<(String, Vec<u8>, Kallsyms)> {
    let folder = show::data("perf_data");
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(format!("{name}.data"))).unwrap();
        let symbols = std::fs::read(folder.join(format!("{name}.kallsyms"))).unwrap();
        (name.to_owned(), bytes, Kallsyms::read(&symbols[..]).unwrap())
    };
    ["big-endian", "module-and-user-stacks"].map(read).into()
}

#[test]
fn a_kernel_in_the_lower_half_is_none_of_user_space() {
    let symbols =
        Kallsyms::read(&b"0000000000424d20 T vfs_mkdir\n000000000042a600 T do_mkdirat\n"[..]).unwrap();
    let named = frame(0x42_4d28, false, None, &symbols);
    assert_eq!((named.name().as_str(), named.user), ("vfs_mkdir", false));
    assert!(frame(0x2aa_0000_1234, false, None, &symbols).user);
    assert!(frame(0x42_4d28, true, None, &symbols).user);
    // What stands before the kernel's own code, as where s390x starts.
    let code = 0x42_4d20..0x50_0000;
    assert!(!frame(0x41_0010, false, Some(&code), &symbols).user);
    assert!(frame(0x41_0010, true, Some(&code), &symbols).user);
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    for (name, bytes, symbols) in captures() {
        show::assert_snapshot("perf_data", &name, &show::parsed(&parse(&bytes[..], &symbols).unwrap()));
    }
}

#[test]
fn what_is_printed_reads_as_the_capture_itself() {
    for (name, bytes, symbols) in captures() {
        let mut text = Vec::new();
        print_script(|| Ok(&bytes[..]), &symbols, &mut text).unwrap();
        let parsed = parse(&bytes[..], &symbols).unwrap();
        assert!(parsed.events > 0, "{name}");
        assert_eq!(perf_script::parse(&text[..]).unwrap(), parsed, "{name}");
    }
}

#[test]
fn samples_come_in_the_order_of_time_with_the_names_that_tasks_had_then() {
    let text = read_of(&["probe:f", "dummy:HG"], |writer| {
        let chain = [CONTEXT_KERNEL, F, G, CONTEXT_USER, 0x1234];
        writer.name(7, b"sh\0\0\0\0\0\0", 0).sample(0, 8, 30, &chain).fork(7, 8, 20).record(68, &[]);
        writer
            .sample(0, 7, 10, &chain)
            .name(8, b"true\0\0\0\0", 40)
            .sample(0, 8, 50, &chain)
            .sample(0, 9, 60, &chain);
    });
    insta::assert_snapshot!(text, @r"
    events 4, lost 0

    2 x sh probe:f
    ffffffff80100004 f+0x4
    ffffffff80100108 g+0x8
    [user] 1234

    true probe:f
    ffffffff80100004 f+0x4
    ffffffff80100108 g+0x8
    [user] 1234

    :9 probe:f
    ffffffff80100004 f+0x4
    ffffffff80100108 g+0x8
    [user] 1234
    ");
}

#[test]
fn losses_strangers_and_broken_chains_are_said() {
    let text = read_of(&["probe:f", "cycles"], |writer| {
        writer.lost(12).sample(5, 0, 10, &[CONTEXT_KERNEL, F]).sample(
            1,
            0,
            20,
            &[CONTEXT_KERNEL, F, CONTEXTS, G],
        );
        writer.sample(1, 0, 30, &[CONTEXT_KERNEL, 0x10, 0]).record(9, &[0; 56]).record(81, &[0; 8]);
    });
    insta::assert_snapshot!(text, @r"
    events 2, lost 12
    warning 1 x lost-events: PERF_RECORD_LOST lost 12
    warning 3 x unreadable-record: sample of an event that is not listed

    swapper cycles

    swapper cycles
    [user] 10
    [user] 0
    ");
}

#[test]
fn a_call_chain_that_is_longer_than_its_record_is_no_sample() {
    let text = read_of(&["cycles"], |writer| {
        let mut body: Vec<u8> = [10, 0, 0, 1, 0].iter().flat_map(|&word| writer.long(word)).collect();
        body.extend(writer.long(1 << 61));
        writer.record(9, &body);
    });
    insta::assert_snapshot!(text, @r"
    events 0, lost 0
    warning 1 x unreadable-record: record of type 9, 48 bytes
    ");
}

#[test]
fn a_capture_that_is_cut_gives_what_it_has() {
    let symbols = Kallsyms::default();
    let mut writer = Writer { big: true, records: Vec::new() };
    writer.sample(0, 0, 10, &[CONTEXT_KERNEL, F]).sample(0, 0, 20, &[CONTEXT_KERNEL, F]);
    let whole = writer.file(&["cycles"]);
    let kinds = |bytes: &[u8]| {
        let parsed = parse(bytes, &symbols).unwrap();
        let kinds: Vec<_> = parsed.warnings.into_iter().map(|Warning { kind, .. }| kind).collect();
        (parsed.events, kinds.join(" "))
    };
    let start = 104 + 8 + 144;
    assert_eq!(kinds(&whole), (2, String::new()));
    assert_eq!(kinds(&whole[..start + 80]), (1, "cut-capture".into()));
    assert_eq!(kinds(&whole[..start + 64 + 8]), (1, "cut-capture".into()));
    assert_eq!(kinds(&whole[..start - 1]), (0, "unreadable-record".into()));
    assert_eq!(kinds(&whole[..50]), (0, "unreadable-record".into()));
    assert_eq!(kinds(b""), (0, "unreadable-record".into()));
    // perf writes the size last.
    let mut killed = whole[..start + writer.records.len()].to_vec();
    killed[48..56].fill(0);
    assert_eq!(kinds(&killed), (2, "cut-capture".into()));
}

/// What a stranger may have made of captures: bytes and words replaced, parts cut out, put twice or cut off.
#[test]
fn damaged_captures_read_without_a_fault() {
    let mut state = 1_u64;
    let mut below = move |limit: usize| {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    let mut small = Writer { big: true, records: Vec::new() };
    small.name(7, b"sh\0\0\0\0\0\0", 0).fork(7, 8, 5).lost(3).record(68, &[]);
    for time in 0..8 {
        small.sample(time % 2, 8, time, &[CONTEXT_KERNEL, F, G, CONTEXT_USER, 4]);
    }
    let symbols = Kallsyms::read(SYMBOLS.as_bytes()).unwrap();
    let mut captures = captures();
    captures.push(("small".into(), small.file(&["probe:f", "cycles"]), symbols));
    for (name, whole, symbols) in &captures {
        for _ in 0..if name == "small" { 20_000 } else { 300 } {
            let mut bytes = whole.clone();
            for _ in 0..=below(4) {
                // Most of the lengths stand in the first part.
                let within = if below(2) == 0 { 1024 } else { bytes.len() };
                let at = below(within.min(bytes.len().saturating_sub(8)));
                match below(6) {
                    0 => bytes[at] = below(256) as u8,
                    1 => bytes[at..at + 8].fill([0, 0x7f, 0xff][below(3)]),
                    2 => bytes[at & !7..][..8].copy_from_slice(&(below(1 << 20) as u64).to_be_bytes()),
                    3 => drop(bytes.drain(at..at + below(64).min(bytes.len() - at - 8))),
                    4 => bytes = [&bytes[..at], &bytes[at..at + 8], &bytes[at..]].concat(),
                    _ if below(8) == 0 => bytes.truncate(at + 8),
                    _ => bytes[at..at + 4].reverse(),
                }
            }
            let parsed = parse(&bytes[..], symbols).unwrap();
            let frames: usize = parsed.stacks.iter().map(|(stack, _)| stack.frames.len()).sum();
            assert!(parsed.events as usize <= bytes.len() / 8 && frames <= bytes.len() / 8, "{name}");
        }
    }
}
