//! The frames of a backtrace, as gdb, crash(8), drgn and xmon print them.
//!
//! ```text
//! PID: 1499   TASK: ffff88006af43cc0  CPU: 2   COMMAND: "su"
//!  #3 [ffff8800664a1dd0] general_protection at ffffffff81503435            crash
//!     [exception RIP: kmem_cache_alloc+120]
//!  [NIP  : .sysrq_handle_crash]                                           on POWER
//!  #1 [c0000000f8a3b7d0] .__handle_sysrq at c000000000a1b2c4  (unreliable)
//!  #4 [ffff8800664a1ed0] get_empty_filp+0x74 at ffffffff8114e9e4 [ext4]    with its option -s
//!  #5 [c5601fec] (nfsd module) at c806e303
//!  #6 [c74dfee0] error_code (via page_fault) at c0107256
//!       [c1aa1f78] svc_recv at cb22c4d8 [sunrpc]                           with its option -t: whatever is on the stack
//!       START: schedule at c01190e0                                        where its option -t begins
//!  #0 (inline)           crash_setup_regs                                  what was inlined into the next
//! [link register   ] c0000000006b2a34 __handle_sysrq+0xe4/0x270            xmon of POWER
//! [c0000001ec0f7c10] c0000000006b2a18 __handle_sysrq+0xc8/0x270 (unreliable)
//! [c00000000b9bb5b0] 0000000000000dc0 (unreliable)
//! [c0000001ec0f7cb0] d0000000006b30f8 tun_get+0x78/0xa0 [tun]
//! #0  context_switch (kernel/sched/core.c:4339:2)                          drgn
//! #7  entry_SYSCALL_64+0x7c/0x15b (arch/x86/entry/entry_64.S:112)
//! #8  0xffffffff81000107
//! #9 at 0xffffffffb64b1a2c (f+0x2b7/0x868) in g at kernel/sched/core.c:4683:2 (inlined)
//! #0  register_netdevice (dev=0x0) at net/core/dev.c:10083                 gdb
//! #1  0xffffffff803b9e54 in tun_set_iff (file=<optimized out>) at drivers/net/tun.c:2865
//! #2  0xffffffff803b9e54 in ?? ()
//! #3  <signal handler called>
//! #4  0xb6f12345 in raise () from /lib/libc.so.6                           of a program
//! #5  tun_set_iff (file=<optimized out>, dev=0x0,                          wrapped by the screen
//!     at drivers/net/tun.c:2865
//!   * frame #0: 0xffffffff81c9b8a0 vmlinux`kernel_init(unused=0x0) at main.c:1498    lldb
//!     frame #1: 0xffffffff81001a5f vmlinux`ret_from_fork + 31
//!     frame #2: 0xffffffff81001b5f vmlinux`do_idle [inlined] cpuidle_idle_call at idle.c:170:3
//! ```

use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::Frame;
use super::lines::{hexadecimal, number, split_at};

/// A line of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebuggerLine {
    /// The number of the frame from the innermost on, where it has one.
    pub(crate) number: Option<u64>,
    /// The frame.
    pub(crate) frame: Frame,
    /// Whether it says enough to be one wherever it stands.
    pub(crate) is_whole: bool,
}

struct Shapes {
    crash: Regex,
    start: Regex,
    inlined: Regex,
    interrupted: Regex,
    xmon: Regex,
    lldb: Regex,
    numbered: Regex,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    const PLACE: &str =
        r"(?P<symbol>\.?[A-Za-z_$][\w.$]*)(?:\+(?P<offset>0x[0-9a-f]+|\d+))?(?:/(?P<size>0x[0-9a-f]+))?";
    let regex = |text: String| Regex::new(&text).expect("a regex");
    Shapes {
        crash: regex(format!(
            r"^\s*(?:#(?P<number>\d+)\s+)?\[[0-9a-f]+\] (?:{PLACE}|\((?P<of>[\w-]+) module\))(?: \(via [\w.]+\))? at (?P<address>[0-9a-f]+)(?: \[(?P<module>[\w-]+)\])?(?P<doubt>\s+\(unreliable\))?\s*$"
        )),
        start: regex(format!(
            r"^\s*(?P<start>START:) {PLACE} at (?P<address>[0-9a-f]{{8,16}})(?: \[(?P<module>[\w-]+)\])?\s*$"
        )),
        inlined: regex(format!(
            r"^\s*#(?P<number>\d+)\s+(?P<inlined>\(inline\))\s+{PLACE}(?: \[(?P<module>[\w-]+)\])?\s*$"
        )),
        lldb: regex(
            r"^\s*(?:\* )?frame #(?P<number>\d+): (?P<address>0x[0-9a-f]+)(?: (?:(?P<of>[\w-]+)\.ko|[^\s`]+)`(?:[\w.$]+(?P<inlined> \[inlined\]) )?(?P<symbol>[A-Za-z_$][\w.$]*)(?: \+ (?P<offset>\d+))?(?P<behind>\(.*| at \S+:\d+.*|))?\s*$".to_owned(),
        ),
        interrupted: regex(format!(
            r"^\s*\[(?:exception \w+|NIP *): (?:{PLACE}|unknown or invalid address)\]\s*$"
        )),
        xmon: regex(format!(
            r"^\s*\[(?:link register +|[0-9a-f]+)\] (?P<address>[0-9a-f]+)(?: {PLACE}(?: \[(?P<module>[\w-]+)\])?)?(?P<doubt> \(unreliable\))?\s*$"
        )),
        // What stands behind the function is its arguments, or the place in its source.
        numbered: regex(format!(
            r"^\s*#(?P<number>\d+)\s+(?:at )?(?:(?P<address>0x[0-9a-f]+)(?: \([^)]*\))?(?: in )?)?(?:{PLACE}|\?\?|(?P<signal><signal handler called>))?(?P<behind> ?\(.*| at \S+:\d+.*| /\S.*|)\s*$"
        )),
    }
});

impl DebuggerLine {
    /// What a line says; `None` where it is no frame.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let Shapes { crash, start, inlined, interrupted, xmon, lldb, numbered } = &*SHAPES;
        let shapes = [crash, start, inlined, interrupted, xmon, lldb, numbered];
        let line = shapes.into_iter().find_map(|shape| shape.captures(text))?;
        let part = |name: &str| line.name(name).map(|part| part.as_str());
        let depth = part("number").and_then(|depth| number(depth.as_bytes()));
        let address = part("address").and_then(|address| hexadecimal(address.as_bytes()));
        let behind = part("behind").unwrap_or_default();
        let is_told = address.is_some() || part("behind").is_none() || part("signal").is_some();
        let is_named = part("symbol").is_some();
        let is_told = is_told || is_named && tells_source(behind);
        // `#1 SMP` is the number of a build, and `#2 (x)` of a list.
        let may_be_told = is_told || is_named && begins_arguments(behind);
        if !may_be_told {
            return None;
        }
        // Of a program rather than of a kernel of 32 or 64 bits.
        let user = part("behind").is_some()
            && (address.is_some_and(|address| (1_u64 << 32..1 << 63).contains(&address))
                || is_of_library(behind));
        let frame = Frame {
            address,
            symbol: part("symbol").or_else(|| part("signal")).map(str::to_owned),
            offset: part("offset").and_then(|offset| number(offset.as_bytes())),
            size: part("size").and_then(|size| hexadecimal(size.as_bytes())),
            module: part("module").or_else(|| part("of")).map(str::to_owned),
            user,
            inlined: behind.ends_with("(inlined)") || part("inlined").is_some(),
            // What is on the stack may be anything, and crash(8) knows no size.
            guess: depth.is_none() && part("start").is_none() && address.is_some() && part("size").is_none()
                || part("doubt").is_some(),
            ..Frame::default()
        };
        // What has no number, and no name either, follows others. gdb parts name and number by two blanks,
        // and `#12 f (a=b)` may be prose.
        let is_named = depth.is_some() || is_named;
        let is_of_gdb = || text.trim_start().get(2..4) == Some("  ");
        Some(Self { number: depth, frame, is_whole: is_named && (is_told || is_of_gdb()) })
    }
}

/// The frames of a backtrace, of which each is the program's where one is.
pub(crate) fn of_one_side(mut frames: Vec<Arc<Frame>>) -> Vec<Arc<Frame>> {
    if frames.iter().any(|frame| frame.user) {
        frames.iter_mut().filter(|frame| !frame.user).for_each(|frame| Arc::make_mut(frame).user = true);
    }
    frames
}

/// Whether what stands behind a function says that it is a library's: ` () from /lib/libc.so.6`.
fn is_of_library(behind: &str) -> bool {
    let file = behind.split_once(" from /").map_or("", |(_, file)| file.trim_end());
    file.ends_with(".so") || file.contains(".so.")
}

/// The task in `PID: 1499   TASK: ffff88006af43cc0  CPU: 2   COMMAND: "su"`.
pub(crate) fn task(text: &str) -> Option<&str> {
    let (_, task) = text.trim_start().strip_prefix("PID: ")?.split_once(" COMMAND: \"")?;
    Some(task.trim_end().trim_end_matches('"'))
}

/// Whether what stands behind a function is its arguments or a place in a source: `(net/core/dev.c:12:3)`,
/// ` (dev=0x0) at net/core/dev.c:10083`, ` ()`.
fn tells_source(behind: &str) -> bool {
    let words = behind.split([' ', '(', ')']).filter(|word| !word.is_empty());
    let is_line = |word: &str| {
        let mut parts = word.split(':');
        parts.next().is_some_and(|file| file.contains('.'))
            && parts
                .next()
                .is_some_and(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
    };
    behind.trim() == "()" || words.into_iter().any(is_line)
}

/// Whether what stands behind a function begins its arguments, of which gdb may print the rest, and the place
/// in the source, in the next lines: ` (cpu=1, state=CPUHP_TEARDOWN_CPU,`, ` (`.
fn begins_arguments(behind: &str) -> bool {
    let Some(arguments) = behind.strip_prefix(" (") else { return false };
    let name =
        arguments.split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap_or_default();
    arguments.is_empty() || !name.is_empty() && arguments[name.len()..].starts_with('=')
}

/// Whether a line tells more of the frame in the line before: where its source is, words of the stack, a
/// variable (`bt full` of gdb, `bt -f` of crash).
pub(crate) fn tells_of_frame(text: &[u8]) -> bool {
    let inner = text.trim_ascii_start();
    let is_word = || {
        let word = inner.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        word >= 8 && inner[word..].starts_with(b": ")
    };
    let begins = || [&b"at "[..], b"from ", b"[RA: "].iter().any(|words| inner.starts_with(words));
    text.len() >= inner.len() + 4 && (begins() || is_word() || split_at(inner, b" = ").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Option<u64>, Frame)> {
        DebuggerLine::read(text).map(|line| (line.number, line.frame))
    }

    #[test]
    fn each_debugger_names_the_function_and_its_place() {
        let named =
            |address: u64| Frame { address: Some(address), symbol: Some("f".into()), ..Frame::default() };
        let placed = |frame: Frame, offset: u64| Frame { offset: Some(offset), ..frame };
        let at = named(0xffff_ffff_8150_3435);
        let bare = Frame { address: None, ..at.clone() };
        for (text, number, frame) in [
            (" #3 [ffff8800664a1dd0] f at ffffffff81503435", Some(3), at.clone()),
            ("#4 [ffff8800664a1ed0] f+0x74 at ffffffff81503435", Some(4), placed(at.clone(), 0x74)),
            ("#4 [ffff8800664a1ed0] f+116 at ffffffff81503435", Some(4), placed(at.clone(), 116)),
            ("#6 [c74dfee0] f (via page_fault) at c0107256", Some(6), named(0xc010_7256)),
            ("    [exception RIP: f+120]", None, placed(bare.clone(), 120)),
            ("    [exception RIP: unknown or invalid address]", None, Frame::default()),
            (
                "#4 [c0000000f8a3b7c0] .f at ffffffff81503435",
                Some(4),
                Frame { symbol: Some(".f".into()), ..at.clone() },
            ),
            ("#0  f (kernel/sched/core.c:4339:2)", Some(0), bare.clone()),
            ("#0  f (dev=0x0) at net/core/dev.c:10083", Some(0), bare.clone()),
            (
                "#1  0xffffffff81503435 in f (file=<optimized out>) at drivers/net/tun.c:2865",
                Some(1),
                at.clone(),
            ),
            ("#1  0xffffffff81503435 in f () from /lib/x.ko", Some(1), at.clone()),
            ("#1  0xb6f12345 in f () from /lib/x.so", Some(1), Frame { user: true, ..named(0xb6f1_2345) }),
            (
                "#2  <signal handler called>",
                Some(2),
                Frame { symbol: Some("<signal handler called>".into()), ..Frame::default() },
            ),
            ("#10 0xffffffff81503435 in ?? ()", Some(10), Frame { symbol: None, ..at.clone() }),
            ("#8  0xffffffff81503435", Some(8), Frame { symbol: None, ..at.clone() }),
            (
                "#9 at 0xffffffff81503435 (g+0x2b7/0x868) in f at kernel/x.c:4683:2 (inlined)",
                Some(9),
                Frame { inlined: true, ..at.clone() },
            ),
            (
                "    #0 0x555555503435 in f /a/b.cc:12:3",
                Some(0),
                Frame { user: true, ..named(0x5555_5550_3435) },
            ),
        ] {
            assert_eq!(read(text), Some((number, frame)), "{text}");
        }
        let (number, of_module) = read("#5 [c5601fec] (nfsd module) at c806e303").unwrap();
        assert_eq!((number, of_module.symbol, of_module.module.as_deref()), (Some(5), None, Some("nfsd")));
        let (number, found) = read("      [c1aa1f78] svc_recv at cb22c4d8 [sunrpc]").unwrap();
        assert_eq!((number, found.guess, found.module.as_deref()), (None, true, Some("sunrpc")));
        let (_, interrupted) = read(" [NIP  : .f]").unwrap();
        assert_eq!((interrupted.symbol.as_deref(), interrupted.guess), (Some(".f"), false));
        let (number, doubted) = read(" #1 [c0000000f8a3b7d0] .f at c000000000a1b2c4  (unreliable)").unwrap();
        assert_eq!((number, doubted.symbol.as_deref(), doubted.guess), (Some(1), Some(".f"), true));
        for (text, guess, module) in [
            ("[link register   ] c0000000006b2a34 f+0xe4/0x270", false, None),
            ("[c0000001ec0f7c10] c0000000006b2a34 f+0xc8/0x270 (unreliable)", true, None),
            ("[c0000001ec0f7cb0] c0000000006b2a34 f+0x78/0xa0 [tun]", false, Some("tun")),
        ] {
            let (number, frame) = read(text).unwrap();
            let found = (number, frame.symbol.as_deref(), frame.guess, frame.module.as_deref());
            assert_eq!(found, (None, Some("f"), guess, module), "{text}");
            assert_eq!((frame.address, frame.size.is_some()), (Some(0xc000_0000_006b_2a34), true), "{text}");
        }
        let (_, junk) = read("[c00000000b9bb5b0] 0000000000000dc0 (unreliable)").unwrap();
        assert_eq!((junk.address, junk.symbol, junk.guess), (Some(0xdc0), None, true));
        let (_, entry) = read("#7  entry+0x7c/0x15b (arch/x86/entry/entry_64.S:112)").unwrap();
        assert_eq!((entry.offset, entry.size), (Some(0x7c), Some(0x15b)));
    }

    #[test]
    fn what_was_inlined_and_where_a_search_begins_are_frames() {
        let read = |text: &str| {
            let (number, frame) = read(text)?;
            Some((number, frame.symbol?, frame.module, frame.inlined, frame.guess))
        };
        let named = |number: Option<u64>, module: Option<&str>, inlined: bool| {
            Some((number, "f".to_owned(), module.map(str::to_owned), inlined, false))
        };
        assert_eq!(read(" #0 (inline)           f"), named(Some(0), None, true));
        assert_eq!(read("#10 (inline)           f [tun]"), named(Some(10), Some("tun"), true));
        assert_eq!(read("      START: f at c01190e0"), named(None, None, false));
        assert_eq!(read("      START: f+0x74 at ffffffff81503435 [tun]"), named(None, Some("tun"), false));
        assert_eq!(read("START: work at 1000"), None);
        for (text, frame) in [
            (
                "  * frame #0: 0xffffffff81c9b8a0 vmlinux`f(unused=0x0) at main.c:1498",
                named(Some(0), None, false),
            ),
            ("    frame #1: 0xffffffff81001a5f vmlinux`f + 31", named(Some(1), None, false)),
            (
                "    frame #2: 0xffffffff81001a5f vmlinux`g [inlined] f at idle.c:170:3",
                named(Some(2), None, true),
            ),
            ("    frame #3: 0xffffffffc0001a5f tun.ko`f + 31", named(Some(3), Some("tun"), false)),
            ("frame #4 of the film", None),
        ] {
            assert_eq!(read(text), frame, "{text}");
        }
    }

    #[test]
    fn a_frame_may_be_wrapped_at_the_width_of_the_screen() {
        let whole = |text: &str| DebuggerLine::read(text).map(|line| line.is_whole);
        assert_eq!(whole("#0  f (cpu=cpu@entry=1, state=CPUHP_TEARDOWN_CPU,"), Some(true));
        assert_eq!(whole("#0  f ("), Some(true));
        assert_eq!(whole("#12 f (a=b)"), Some(false), "or prose");
        assert_eq!(whole("#12 f (a=b) at kernel/cpu.c:192"), Some(true));
        assert_eq!(whole("#1  f (see below)"), None);
        for text in [
            "    at kernel/cpu.c:192",
            "    from /lib/libc.so.6",
            "        ret = <optimized out>",
            "    [RA: c0153088  SP: c0ceded4  FP: c0cedf04  SIZE: 52]",
            "    ffff8800664a1d40: ffff8800664a1e00 ffff880037a0b4c0",
        ] {
            assert!(tells_of_frame(text.as_bytes()), "{text}");
        }
        for text in ["at last", "    f+0x1/0x2", "          <idle>-0     [003] d..2.    58.289092: a:"] {
            assert!(!tells_of_frame(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_only_begins_with_a_number_is_no_frame() {
        for text in [
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-01-01)",
            "#1 SMP",
            "#2 (a list)",
            " #0: ffff888 (&x){+.+.}-{3:3}, at: f+0x1/0x2",
            "#",
            "        [RA: c0153088  SP: c0ceded4  FP: c0cedf04  SIZE: 52]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(task("PID: 1499   TASK: ffff88006af43cc0  CPU: 2   COMMAND: \"a b\""), Some("a b"));
        assert_eq!(task("PID: 1 COMMAND"), None);
    }
}
