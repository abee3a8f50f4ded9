//! What one message of a console says: a frame that others than the kernel print, the beginning of a report,
//! its task, its function, the heading of a stack.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::TABLE;
use super::literals::Words;
use crate::arch::{Arch, ArchRow};
use crate::stack::lines::{decimal, printable, split_at};
use crate::stack::{DebuggerLine, Frame, Needs, is_own_heading};
use crate::stack::{ftrace_frame, systemtap};

/// The longest frame without an offset, in bytes: with the lines of all functions that were inlined there.
const LONGEST_FRAME: usize = 1000;
/// The longest heading of a stack that becomes part of its event's name, in characters.
const LONGEST_HEADING: usize = 40;

/// What other messages than the headings of stacks end in.
const HEADINGS_OF_NO_STACK: [&str; 9] = [
    "Modules linked in:",
    "Dumping ftrace buffer:",
    "Memory state around the buggy address:",
    "Showing all locks held in the system:",
    " is trying to acquire lock:",
    " is trying to lock:",
    "task is already holding lock:",
    "other info that might help us debug this:",
    "ossible unsafe locking scenario:",
];

/// Who prints a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printer {
    /// The kernel's `dump_stack()` and its like.
    Kernel,
    /// The kernel's ftrace.
    Ftrace,
    /// SystemTap.
    SystemTap,
    /// A debugger, and the number of the frame where the line has one.
    Debugger(Option<u64>),
}

/// A frame of ftrace (` => f`), of SystemTap or of a debugger, and what must stand before it.
pub(super) fn pasted(text: &[u8]) -> Option<(Frame, Printer, Needs)> {
    let text = text.trim_ascii();
    let needs = |is_whole: bool| if is_whole { Needs::Nothing } else { Needs::Stack };
    if let Some(frame) = text.strip_prefix(b"=> ") {
        // `=> v6.2-rc1` is what somebody wrote.
        let frame =
            ftrace_frame::frame(frame).filter(|frame| !frame.is_name_alone() || is_c_name(&text[3..]));
        return frame.map(|frame| (frame, Printer::Ftrace, Needs::Nothing));
    }
    if text.starts_with(b"0x") {
        let frame = systemtap::frame(text)?;
        // An address without a name follows others.
        let needs = needs(frame.symbol.is_some());
        return Some((frame, Printer::SystemTap, needs));
    }
    let may_be = match text {
        [b'#', digit, ..] => digit.is_ascii_digit(),
        [b'[', digit, ..] => {
            text.starts_with(b"[exception ")
                || text.starts_with(b"[NIP ")
                || text.starts_with(b"[link register ")
                || digit.is_ascii_hexdigit() && (split_at(text, b" at ").is_some() || is_of_xmon(text))
        }
        [b'S', ..] => text.starts_with(b"START: "),
        [b'f' | b'*', ..] => text.strip_prefix(b"* ").unwrap_or(text).starts_with(b"frame #"),
        _ => false,
    };
    if !may_be {
        return None;
    }
    let DebuggerLine { number, frame, is_whole } = DebuggerLine::read(&printable(text))?;
    Some((frame, Printer::Debugger(number), needs(is_whole)))
}

/// Whether it may be a frame of xmon's: `[c0000001ec0f7cb0] c0000000006b30f8 f+0x78/0xa0`.
fn is_of_xmon(text: &[u8]) -> bool {
    let behind = split_at(text, b"] ").map_or(&b""[..], |(_, behind)| behind);
    let is_frame = || split_at(behind, b"+0x").is_some() || behind.ends_with(b" (unreliable)");
    behind.first().is_some_and(u8::is_ascii_hexdigit) && is_frame()
}

/// Whether a message parts the backtraces of a debugger: xmon's prompt, what it prints of an exception, and the
/// end of a kernel's stack.
pub(super) fn parts_backtraces(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let is_prompt = || {
        let cpu = split_at(text, b"mon>").map(|(cpu, _)| cpu.strip_suffix(b":").unwrap_or(cpu));
        cpu.is_some_and(|cpu| cpu.iter().all(u8::is_ascii_hexdigit))
    };
    let is_end = || text.starts_with(b"SP (") && text.ends_with(b") is in userspace");
    text.starts_with(b"cpu 0x") || text.starts_with(b"Vector: ") || is_end() || is_prompt()
}

/// Whether a word may be the name of a function in C, as compilers rename it.
fn is_c_name(word: &[u8]) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || b"_.$".contains(&byte);
    word.first().is_some_and(|&first| is_letter(first))
        && word.iter().all(|&byte| is_letter(byte) || byte.is_ascii_digit())
}

/// A function's name alone in a line, as traces are shortened to in messages of commits: `mba_wrmsr`,
/// `tun_get [tun]`.
pub(super) fn bare(text: &[u8]) -> Option<Frame> {
    let text = text.trim_ascii();
    let (name, module) = split_at(text, b" [").unwrap_or((text, b"]"));
    let module = module.strip_suffix(b"]")?;
    let is_word = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte));
    let begins = name.first().is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_');
    let module = is_word(module).then(|| printable(module))?;
    let module = Some(module).filter(|module| !module.is_empty());
    (begins && is_word(name)).then(|| Frame { symbol: Some(printable(name)), module, ..Frame::default() })
}

/// A message as text that is safe to show, but for tabs.
pub(super) fn shown(text: &[u8]) -> Cow<'_, str> {
    let plain = text.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t'));
    match std::str::from_utf8(text) {
        Ok(text) if plain => Cow::Borrowed(text),
        _ => Cow::Owned(printable(text)),
    }
}

/// Whether a line without an offset may be a frame: an address alone, but for sparc64's at the end of a stack,
/// or one with a source line.
pub(super) fn may_be_frame(text: &[u8]) -> bool {
    let begins = text.trim_ascii_start();
    let is_source =
        |colon: usize| matches!(text[..colon], [.., b'.', b'c' | b'h' | b'S'] | [.., b'.', b'r', b's']);
    text.len() < LONGEST_FRAME
        && (begins.strip_prefix(b"? ").unwrap_or(begins).starts_with(b"0x")
            || begins.strip_prefix(b"(").unwrap_or(begins).starts_with(b"[<")
            || is_of_klogd(begins)
            || begins.starts_with(b"[") && split_at(begins, b"] 0x").is_some_and(|(_, end)| end != b"0")
            || memchr::memchr_iter(b':', text).any(is_source))
}

/// Whether it may be a frame that klogd named: `[cpu_idle+154/188]`.
fn is_of_klogd(text: &[u8]) -> bool {
    text.starts_with(b"[") && text.trim_ascii_end().ends_with(b"]") && memchr::memchr(b'+', text).is_some()
}

/// Whether a stack ends in a function, and does not go on where an exception came: of any architecture.
pub(super) fn is_entry(symbol: &str) -> bool {
    static ENTRIES: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let of = |row: &'static ArchRow| row.entries.iter().filter(|entry| !row.is_exception(entry));
        let mut entries: Vec<&str> = Arch::all().flat_map(|arch| of(arch.row())).copied().collect();
        entries.sort_unstable();
        entries
    });
    ENTRIES.binary_search(&symbol).is_ok()
}

/// The word of the report that a message begins.
pub(super) fn report(text: &str) -> Option<String> {
    let text = text.trim_start_matches(' ');
    let sysrq = text.strip_prefix("sysrq: ").or_else(|| text.strip_prefix("SysRq : "));
    if let Some(action) = sysrq {
        return Some(format!("sysrq: {}", action.strip_prefix("SysRq : ").unwrap_or(action)));
    }
    TABLE.trouble(text).map(str::to_owned)
}

/// Whether a report names its task only behind its stacks: of mm/kmsan/report.c and mm/kfence/report.c.
pub(super) fn names_task_last(text: &str) -> bool {
    text.starts_with("BUG: KMSAN: ") || text.starts_with("BUG: KFENCE: ")
}

/// Whether this is the line behind the one that names the task, in parisc's list of registers, which stands
/// behind the stack (`show_regs()`, `arch/parisc/kernel/traps.c`): the names of the bits of PSW.
pub(super) fn is_behind_task_of_parisc(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    text.ends_with(b"I") && text.trim_ascii_start() == b"YZrvWESTHLNXBCVMcbcbcbcbOGFRQPDI"
}

/// The rest of a message that a mail program wrapped before a module's name: `[sunrpc]`.
pub(super) fn wrapped_module(text: &[u8]) -> Option<&[u8]> {
    let name = text.strip_prefix(b"[")?.trim_ascii_end().strip_suffix(b"]")?;
    let is_word = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    (is_word && name.first().is_some_and(u8::is_ascii_alphabetic)).then_some(name)
}

/// Whether a message may be the first part of a frame: which a mail program wrapped before its function,
/// `[<ffffffffa0351a00>] ?`, or which a terminal cut at its last column, as arm's are long: `[<c0052a34>] (f)
/// from [<c0052f10>] (worker_thr`.
pub(super) fn is_cut_frame(text: &[u8]) -> bool {
    let text = text.trim_ascii_start().strip_prefix(b"[<").map(<[u8]>::trim_ascii_end);
    let Some((address, behind)) = text.and_then(|text| split_at(text, b">]")) else { return false };
    let may_be_cut = match behind {
        [] | b" ?" => true,
        [b' ', b'(', behind @ ..] => !behind.ends_with(b")"),
        _ => false,
    };
    may_be_cut && address.iter().all(u8::is_ascii_hexdigit)
}

/// The last function with a place in a message: `register_netdevice+0x4f1/0x690`, `RIP: 0010:f+0x1/0x2`,
/// `RIP: 0010:[<ffffffff8010bd9b>] <ffffffff8010bd9b>{f+12}` of x86-64 before 2.6.18.
pub(super) fn last_function(text: &str) -> Option<&str> {
    if [&b"+0x"[..], b">{"].iter().all(|mark| split_at(text.as_bytes(), mark).is_none()) {
        return None;
    }
    // What is handed to a function makes it one that is to be called, `f+0x0/0x50(0xffff8e0b3e2afbe8)`.
    let is_place = |word: &&str| {
        word.contains("+0x") && !word.contains("(0x") || word.contains(">{") && word.ends_with('}')
    };
    let word = text.split_whitespace().rfind(is_place)?;
    let name = word.split('+').next().unwrap_or_default();
    let name = name.rsplit([':', '(', '<', '>', '{']).next().unwrap_or_default();
    (!name.is_empty()).then_some(name)
}

/// The function in the line of the program counter among registers.
pub(super) fn program_counter(text: &str) -> Option<&str> {
    const COUNTERS: [&str; 12] = [
        "TPC: <",
        "RIP: ",
        "EIP: ",
        "EIP is at ",
        "IP: ",
        "epc ",
        "ERA: ",
        "pc : ",
        "PC is at ",
        "NIP [",
        "NIP ",
        "Krnl PSW",
    ];
    let text = text.trim_start();
    COUNTERS.iter().any(|counter| text.starts_with(counter)).then(|| last_function(text))?
}

/// Whether a message is of the registers that stand in the middle of a trace which goes on behind an
/// exception.
pub(super) fn is_register(text: &str) -> bool {
    const NAMES: [&str; 41] = [
        "RIP",
        "TPC: ",
        "IP: ",
        "ERA: ",
        "Code",
        "RSP",
        "RAX",
        "RDX",
        "RBP",
        "R10",
        "R13",
        "FS",
        "CS",
        "CR2",
        "DR0",
        "DR3",
        "EIP",
        "EAX",
        "ESI",
        "EFLAGS",
        "ORIG_RAX",
        "PKRU",
        "Exception stack(",
        "--- interrupt",
        "NIP",
        "LR",
        "REGS",
        "MSR",
        "CFAR",
        "GPR",
        "Krnl PSW",
        "Krnl GPRS",
        "R:",
        "Krnl Code",
        "epc",
        "pc ",
        "lr ",
        "sp ",
        "ra ",
        "PC is at",
        "LR is at",
    ];
    let text = text.trim_start();
    let numbered_register = text.len() > 1 && text.starts_with('x') && text.as_bytes()[1].is_ascii_digit();
    // `1f20: 00000000 c1a01f70 ..`, arm's exception stack.
    let words_of_stack = [3, 4].into_iter().any(|offset| {
        let are_words = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b' ');
        let parts = text.as_bytes().split_at_checked(offset);
        parts.is_some_and(|(offset, words)| {
            are_words(offset) && words.strip_prefix(b": ").is_some_and(are_words)
        })
    });
    let register_and_colon =
        text.strip_prefix('r').and_then(|text| text.split_once(':')).is_some_and(|(number, _)| {
            (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
        });
    numbered_register
        || register_and_colon
        || words_of_stack
        || NAMES
            .iter()
            .any(|name| name.as_bytes().first() == text.as_bytes().first() && text.starts_with(name))
}

/// Whether a line is the first frame of a program's stack: `    #00 pc 000000000001e1f0  /system/lib64/libc.so`
/// of Android's tombstones.
pub(super) fn is_of_program(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"#00 pc ")
}

/// Whether a message tells how much memory there is (`show_mem` of mm/show_mem.c), which another CPU may
/// print in the midst of a trace.
pub(super) fn is_of_memory(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "Mem-Info:",
        "active_anon:",
        "active_file:",
        "unevictable:",
        "slab_reclaimable:",
        "pagetables:",
        "free_pcp:",
        "lowmem_reserve[]:",
        " total pagecache pages",
        " pages RAM",
        " pages reserved",
        " swap cache",
    ];
    static OF_MEMORY: LazyLock<Words> = LazyLock::new(|| Words::new(WORDS));
    OF_MEMORY.is_in(text.as_bytes())
}

/// The heading of a stack that a report keeps, without numbers: `Allocated by task`, `page last free pid`.
pub(super) fn section(text: &str) -> Option<String> {
    let is_heading = text.ends_with(':')
        || text.starts_with("page last allocated via ")
        || text.starts_with("page last free ");
    if !is_heading || is_own_heading(text) || HEADINGS_OF_NO_STACK.iter().any(|words| text.ends_with(words)) {
        return None;
    }
    // "kfence-#7 [0xffff-0xffff, size=32, cache=kmalloc-32] allocated by task 507:", before 5.15.
    let of_object = text.strip_prefix("kfence-#").and_then(|text| text.split_once("] "));
    let text = of_object.map_or(text, |(_, heading)| heading).trim_start_matches('{');
    let text = text.strip_prefix("ref_tracker: ").unwrap_or(text);
    let end = text.find(|char: char| char.is_ascii_digit() || "(:,#".contains(char)).unwrap_or(text.len());
    let words = text[..end].trim_matches(|char: char| !char.is_ascii_alphanumeric());
    Some(words.chars().filter(|&char| char != '}').take(LONGEST_HEADING).collect())
}

/// Whether a message is the heading of a single place, which no other called: where preemption was disabled
/// (`print_preempt_disable_ip` and the like of kernel/sched/core.c), where s390 branched from
/// (`show_last_breaking_event` of arch/s390/kernel/dumpstack.c), where a lock is released that is not held
/// (`print_unlock_imbalance_bug` of kernel/locking/lockdep.c), what KASAN says of memory that is on a stack,
/// a variable or mapped (mm/kasan/report.c).
pub(super) fn announces_place(text: &str) -> bool {
    const BEGINNINGS: [&str; 3] = [
        "Preemption disabled at:",
        "Last Breaking-Event-Address:",
        "The buggy address belongs to the variable:",
    ];
    const ENDS: [&str; 2] = [" in frame:", ") created by:"];
    let is_lock =
        || text.contains(" is trying to release lock (") || text.contains(" is trying to contend lock (");
    BEGINNINGS.iter().any(|heading| text.starts_with(heading))
        || ENDS.iter().any(|end| text.ends_with(end))
        || text.ends_with(" at:") && is_lock()
}

/// Whether the place of the program counter is in the line behind the first one of a report: of x86-64 before
/// 2.6.28 (`do_page_fault` of arch/x86/mm/fault.c).
pub(super) fn announces_counter(text: &str) -> bool {
    text.trim_end().ends_with(" RIP:")
}

/// Whether a message is the heading of a list of places, which are no stack: the handlers of an interrupt
/// that nobody cared for (`__report_bad_irq` of kernel/irq/spurious.c).
pub(super) fn announces_places(text: &str) -> bool {
    text == "handlers:"
}

/// Whether a mail program wrapped the line of a lock that is held before its place: ` #0:  (&x){......}, at:
/// [<ffffffff81327f1a>]`.
pub(super) fn is_cut_before_place(text: &str) -> bool {
    let place = text.trim_start().strip_prefix('#').and_then(|text| text.rsplit_once(", at:"));
    let is_address =
        |text: &str| text.is_empty() || text.starts_with("[<") && text.find(">]") == Some(text.len() - 2);
    place.is_some_and(|(_, place)| is_address(place.trim()))
}

/// Whether a mail program may have wrapped the first line of a report before its function: `WARNING: CPU: 1
/// PID: 93 at net/core/dev.c:123`, `BUG: KASAN: use-after-free in`.
pub(super) fn is_cut_before_function(text: &str) -> bool {
    let last = text.trim_end().rsplit(' ').next().unwrap_or_default();
    let is_line = || may_be_frame(last.as_bytes()) && last.ends_with(|last: char| last.is_ascii_digit());
    matches!(last, "in" | "at") || is_line()
}

/// Whether a line begins with a place, as what a mail program wrapped does: a frame has a blank or an address
/// before it.
pub(super) fn begins_with_place(text: &[u8]) -> bool {
    let place = text.split(|&byte| byte == b' ').next().unwrap_or_default();
    text.first().is_some_and(|&first| first.is_ascii_alphabetic() || first == b'_')
        && split_at(place, b"+0x").is_some()
}

/// Whether a message is the line of `=` that a report begins and ends with: of mm/kmsan/report.c, of
/// mm/kasan/report.c, kernel/kcsan/report.c and mm/kfence/report.c, of lib/ubsan.c. Others part what a report
/// says, as below the locks of a hung task.
pub(super) fn is_end_of_report(text: &str) -> bool {
    [53, 66, 80].contains(&text.len()) && text.bytes().all(|byte| byte == b'=')
}

/// The number in `** 214 printk messages dropped **`.
pub(super) fn dropped(text: &str) -> Option<u64> {
    let (number, rest) = decimal(text.strip_prefix("** ")?.as_bytes())?;
    rest.starts_with(b" printk messages dropped").then_some(number)
}

/// Whether a message with a place in it begins as a frame does.
pub(super) fn is_damaged(text: &[u8]) -> bool {
    let begins = text.trim_ascii_start();
    let indented = begins.len() < text.len() || begins.starts_with(b"[<") || begins.starts_with(b"? ");
    let first = begins.first().is_some_and(|&byte| byte.is_ascii_alphanumeric() || b"_.[?".contains(&byte));
    let names_value = [&b": "[..], b" = "].iter().any(|mark| split_at(begins, mark).is_some());
    indented && first && !names_value
}
