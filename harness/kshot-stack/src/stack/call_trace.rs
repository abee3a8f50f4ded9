//! The call trace of a kernel's report on its console (`dump_stack`, `show_stack` of each architecture).
//!
//! ```text
//! Call Trace:
//!  <TASK>
//!  ? __warn+0x81/0x130
//!  register_netdevice+0x4f1/0x690
//!  tun_chr_ioctl+0x11/0x20 [tun 6f1c0b5e9a]
//!  show_stack+0x18/0x24 (C)                                               arm64
//! [<ffffffff8191c190>] show_stack+0x70/0x168                              MIPS, x86 before 4.9
//! [<c010e5a4>] (unwind_backtrace) from [<c010a0a8>] (show_stack+0x10/0x14) arm
//! [<c000f954>] (cpu_idle+0x64/0xfc) from [<80208160>] (0x80208160)       arm
//!  show_stack from dump_stack_lvl+0x40/0x4c                               arm
//!  hello_init [hello] from do_one_initcall+0x4c/0x220                     arm, of a module
//!  show_stack from dump_stack_lvl (lib/dump_stack.c:107)                  arm, of scripts/decode_stacktrace.sh
//! [c0000000f8a3b7c0] [c000000000a1b2c4] dump_stack+0x9c/0xd0 (unreliable) powerpc
//! [c0000000f8a3b7d0] [c000000000a1b2d4] .handle_irq+0x9c/0xd0             powerpc, big endian
//! ([<000000000011a7f0>] show_stack+0x90/0xc0)                             s390
//! Caller[000000000042a7f0]: show_stack+0x90/0xc0                          sparc64
//! [<(____ptrval____)>] show_stack+0x90/0xc0                               4.15 to 4.19
//! [<          (null)>]           (null)                                   before 5.0
//! [<c010b4b0>] (show_stack) from [<c08ecd18>] (dump_stack+0xb4/0xd)       cut at column 80
//! 7064b748:  [<600eff46>] show_stack+0x90/0xc0                            user mode Linux
//! Function entered at [<c010c134>] from [<c010993c>]                      arm without CONFIG_KALLSYMS
//! [<ffffffff880b2a1c>] :jbd:kjournald+0xc1/0x213                          x86-64, 2.6.18 to 2.6.25
//! [cpu_idle+154/188] cpu_idle+0x9a/0xbc                                   named by klogd, too
//! [] show_stack+0x90/0xc0                                                 out of a web page
//! [ffffff80201c7800+  32][<ffffff80091f0e2c>] show_stack+0xd8/0xe4        Amlogic
//!  __dump_stack lib/dump_stack.c:88 [inline]                              with source lines, of syzkaller
//!  ret_from_fork+0x1f/0x30 ??:?                                           where one is not known
//!  dump_stack_lvl (lib/dump_stack.c:107 (discriminator 4))                of scripts/decode_stacktrace.sh
//!  do_syscall_64 (arch/x86/entry/common.c:52 (discriminator 1) arch/x86/entry/common.c:83)
//!  tun_set_iff (drivers/net/tun.c:2840) tun
//!  tun_chr_ioctl+0x11/0x20 tun                                            where it knows no place
//! ```
//!
//! Other shapes have a module of their own (`own_shapes.rs`).

mod own_shapes; // architectures and kernels that print frames in a shape of their own

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::Frame;
use super::lines::{DEEPEST_STACK, hexadecimal};

/// What a frame of arm's begins with where the kernel has no names (`dump_backtrace_entry` of
/// arch/arm/kernel/traps.c without CONFIG_KALLSYMS).
const NAMELESS_ARM: &str = "Function entered at [<";

/// The first call trace of a text that is read line by line.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallTrace {
    position: Position,
    frames: Vec<Frame>,
}

/// What one line of a call trace says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TraceLine {
    /// A frame, and what must stand before it.
    Frame { frame: Frame, needs: Needs },
    /// `show_stack from dump_stack_lvl+0x40/0x4c`: a frame and the one that it was called from, which the
    /// next line tells of too.
    From {
        /// The frame.
        inner: Frame,
        /// The one that it was called from.
        outer: Frame,
    },
}

/// What must stand before a line for it to be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It says enough without.
    Nothing,
    /// The heading of a stack or the first line of a report: it names a place in a source.
    Announcement,
    /// A stack that is open.
    Stack,
}

/// The heading of a call trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heading<'a> {
    /// Whether words stand before it, as in a sentence: `This leads to the following call trace:`.
    pub(crate) is_behind_words: bool,
    /// What stands behind it.
    pub(crate) behind: &'a str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Before,
    Inside,
    Behind,
}

struct Shapes {
    heading: Regex,
    marker: Regex,
    frame: Regex,
    from: Regex,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    const SYMBOL: &str = r"\.?[A-Za-z_$][\w.$]*";
    let source = r"(?:\S+\.(?:c|h|S|rs):(?:\d+|\?)|\?\?:[?0])";
    let line = format!(r"{source}(?: \(discriminator \d+\))?");
    // A function that was inlined has a line of its own, before the one that it was inlined to.
    let lines = format!(r"\({line}(?: {line})*\)");
    // A line may be cut anywhere.
    let place = format!(r"{SYMBOL}(?:\+0x[0-9a-f]*(?:/(?:0x?[0-9a-f]*)?)?)?");
    // Before 4.19 an address may be hidden, and sparc64 tells in words which it is.
    let address = r"[0-9a-f]+|\(?_*ptrval_*\)?|\(null\)";
    let by_klogd = format!(r"{SYMBOL}\+\d+/\d+");
    let frame = format!(
        r"^\s*(?:[0-9a-f]{{8,16}}:\s+)?(?P<doubt>\(?)(?:\[[0-9a-f]+\+ *\d+\])?(?:(?:Caller)?\[<?\s*(?P<address>{address}|inline|{by_klogd})?\s*>?\]:?\)?\s*){{0,2}}(?P<guess>\? )?\s*\(?(?::(?P<before>[\w-]+):)?(?P<place>{place}|0x[0-9a-f]+)\)?(?: \[(?P<module>[\w-]+)(?:[^\]]*\]|$))?\)?(?: \((?P<flags>unreliable|[A-Z]+)\))?(?P<source> {source}| {lines})?(?P<decoded> [A-Za-z][\w-]*)?(?: \([A-Z]+\))?(?P<inline> \[inline\])?\s*$"
    );
    let from = format!(
        r"^\s*(?:\[<(?:{address})>\] )?\(?(?P<inner>{place})\)?(?: \[(?P<of>[\w-]+)[^\]]*\])?\)? from (?:\[<(?P<address>{address})>\] )?\(?(?:\s*\()?(?P<place>{place}|0x[0-9a-f]+)\)?(?: \[(?P<module>[\w-]+)[^\]]*\])?(?: {source}| {lines}(?P<decoded> [A-Za-z][\w-]*)?)?(?P<inline> \[inline\])?\)?\s*$"
    );
    let regex = |text: &str| Regex::new(text).expect("a regex");
    Shapes {
        heading: regex(
            r"(?i)(?:call trace|^\s*call backtrace|^\s*(?:kmemleak:\s+)?backtrace(?: \(crc [0-9a-f]+\))?|(?-i:^(?:Stack )?Trace)):\s*",
        ),
        marker: regex(r"^\s*(?:(?:<?</?[A-Z#]+\w*>>?\s*)+|=+$)?"),
        frame: regex(&frame),
        from: regex(&from),
    }
});

impl CallTrace {
    /// Takes the next line, without its time.
    pub(crate) fn line(&mut self, text: &str) {
        match self.position {
            Position::Before => {
                let heading = heading(text).map(|heading| heading.behind);
                // Arm prints none from 5.19 to 6.2.
                let begins = || text.contains(" from ").then_some(text);
                let begins = heading.or_else(|| is_own_heading(text).then_some("")).or_else(begins);
                if let Some(frame) = begins
                    && (self.take(frame) || frame != text)
                {
                    self.position = Position::Inside;
                }
            }
            Position::Inside if self.frames.is_empty() && heading(text).is_some() => {}
            Position::Inside => {
                let frame = without_marker(text);
                // Others' messages may stand between the heading and its first frame.
                if !frame.trim().is_empty() && !self.take(frame) && !self.frames.is_empty() {
                    self.position = Position::Behind;
                }
            }
            Position::Behind => {}
        }
    }

    /// Whether no further line can belong to it.
    pub(crate) fn is_over(&self) -> bool {
        self.position == Position::Behind
    }

    /// The frames, innermost first.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    fn take(&mut self, text: &str) -> bool {
        if self.frames.len() >= DEEPEST_STACK {
            return false;
        }
        match TraceLine::read(text) {
            Some(TraceLine::Frame { frame, .. }) if frame.ends_saved_stack() => return false,
            Some(TraceLine::Frame { frame, .. }) => self.frames.push(frame),
            Some(TraceLine::From { inner, outer }) => {
                if self.frames.is_empty() {
                    self.frames.push(inner);
                }
                self.frames.push(outer);
            }
            None => return false,
        }
        true
    }
}

impl TraceLine {
    /// A line without its time and what [`without_marker`] takes.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.contains(" from ")
            && let Some(line) = SHAPES.from.captures(text)
        {
            let module = line.name("of").map(|module| module.as_str().to_owned());
            let inner = Frame { module, ..placed(&line["inner"]) };
            return Some(Self::From { inner, outer: whole(&line) });
        }
        if let Some((frame, needs)) = own_shapes::frame(text) {
            return Some(Self::Frame { frame, needs });
        }
        if let Some((inner, outer)) = of_nameless_arm(text) {
            return Some(Self::From { inner, outer });
        }
        let line = SHAPES.frame.captures(text)?;
        // Half a sentence may be one word: without an offset, an address or a source line a word is no frame.
        let has_more = line.name("address").or_else(|| line.name("source")).is_some();
        if !line["place"].contains("0x") && !has_more {
            return None;
        }
        let unreliable = line.name("flags").is_some_and(|flags| flags.as_str() == "unreliable");
        let guess = line.name("guess").is_some() || unreliable || !line["doubt"].is_empty();
        let frame = Frame { guess, ..whole(&line) };
        let needs = match (frame.size, line.name("source"), line.name("decoded")) {
            (Some(_), _, None) => Needs::Nothing,
            // `f net/core/dev.c:12 [inline]` is nothing else.
            (None, Some(_), None) if line.name("inline").is_some() => Needs::Nothing,
            (_, Some(_), _) => Needs::Announcement,
            // `f+0x1/0x2 when` is half a sentence.
            _ => Needs::Stack,
        };
        Some(Self::Frame { frame, needs })
    }
}

/// Whether a line without `+0x` may be a frame that needs nothing before it.
pub(crate) fn may_stand_alone(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    // Few messages end so.
    match text.last() {
        Some(b']') => {
            text.ends_with(b" [inline]") || text.trim_ascii_start().starts_with(NAMELESS_ARM.as_bytes())
        }
        Some(b'}') => own_shapes::may_stand_alone(text),
        _ => false,
    }
}

/// The heading of a call trace, where `text` has one.
pub(crate) fn heading(text: &str) -> Option<Heading<'_>> {
    // Most are this.
    if let Some(behind) = text.strip_prefix("Call Trace:").or_else(|| text.strip_prefix("Call trace:")) {
        return Some(Heading { is_behind_words: false, behind: behind.trim_start() });
    }
    // What announces a stack ends so, or in `(crc 1a2b):`.
    let may_end = |colon: usize| matches!(text.as_bytes()[..colon], [.., b'e' | b'E' | b')']);
    memchr::memchr_iter(b':', text.as_bytes()).find(|&colon| may_end(colon))?;
    let heading = SHAPES.heading.find(text)?;
    let before = &text[..heading.start()];
    // Old MIPS prints it right behind the words of the stack.
    let is_behind_words = before.ends_with(char::is_whitespace) && before.contains(char::is_alphabetic);
    Some(Heading { is_behind_words, behind: &text[heading.end()..] })
}

/// Whether a message is the heading of the stack that its report was made in: lockdep's `stack backtrace:`,
/// and KFENCE's `Corrupted memory at 0xffff [ ! . ] (in kfence-#7):`, `Invalid read at 0xffff:`.
pub(crate) fn is_own_heading(text: &str) -> bool {
    text == "stack backtrace:"
        || text.ends_with("):") && text.contains("kfence-#") && !text.starts_with("kfence-#")
        || text.starts_with("Invalid read at 0x")
        || text.starts_with("Invalid write at 0x")
}

/// `text` without the words in front of a frame that tell which stack it is on: `<IRQ>`, `</TASK>`,
/// `<<EOE>>`.
pub(crate) fn without_marker(text: &str) -> &str {
    &text[SHAPES.marker.find(text).map_or(0, |marker| marker.end())..]
}

fn whole(line: &Captures<'_>) -> Frame {
    let address = line.name("address").and_then(|address| hexadecimal(address.as_str().as_bytes()));
    // `[<0>]` tells none, and others may be hashes.
    let address = address.filter(|&address| address != 0);
    let decoded = || Some(line.name("decoded")?.as_str().trim_start());
    let module = || line.name("module").or_else(|| line.name("before")).map(|module| module.as_str());
    let module = module().or_else(decoded).map(str::to_owned);
    let in_brackets = line.name("address").is_some_and(|address| address.as_str() == "inline");
    let inlined = in_brackets || line.name("inline").is_some();
    let frame = placed(&line["place"]);
    Frame { address: frame.address.or(address), module, inlined, ..frame }
}

/// The frame and its caller in `Function entered at [<c010c134>] from [<c010993c>]`.
fn of_nameless_arm(text: &str) -> Option<(Frame, Frame)> {
    let (inner, outer) =
        text.trim().strip_prefix(NAMELESS_ARM)?.strip_suffix(">]")?.split_once(">] from [<")?;
    let frame =
        |address: &str| Some(Frame { address: Some(hexadecimal(address.as_bytes())?), ..Frame::default() });
    Some((frame(inner)?, frame(outer)?))
}

/// `f`, `f+0x1/0x2` or `0xffffffff80100abc`.
fn placed(place: &str) -> Frame {
    // How `%pS` printed no address before 5.0.
    if place == "null" {
        return Frame { address: Some(0), ..Frame::default() };
    }
    if place.starts_with("0x") {
        return Frame { address: hexadecimal(place.as_bytes()), ..Frame::default() };
    }
    let (symbol, place) =
        place.split_once('+').map_or((place, None), |(symbol, place)| (symbol, Some(place)));
    let (offset, size) = place.map_or((None, None), |place| match place.split_once('/') {
        Some((offset, size)) => (Some(offset), Some(size)),
        None => (Some(place), None),
    });
    let number = |text: Option<&str>| text.and_then(|text| hexadecimal(text.as_bytes()));
    Frame { symbol: Some(symbol.to_owned()), offset: number(offset), size: number(size), ..Frame::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> String {
        let mut trace = CallTrace::default();
        text.lines().for_each(|line| trace.line(line));
        let names = trace.frames().iter().map(|frame| {
            let doubt = if frame.guess { "? " } else { "" };
            format!("{doubt}{}", frame.name())
        });
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_architecture_tells_the_same_trace() {
        for text in [
            "Call Trace:\n <TASK>\n f+0x1/0x20\n g+0x2/0x30 [tun]\n </TASK>\nModules linked in:",
            "Call Trace:\n <IRQ>\n f+0x1/0x20 net/core/dev.c:12\n </IRQ>\n <TASK>\n g+0x2/0x30 [tun 6f1c]\n\nRIP: 0010:h+0x1/0x2",
            "Call trace:\n f+0x1/0x20 (P)\n g+0x2/0x30 (C)\nCode: d503201f",
            "Call Trace:\n[<ffffffff8191c190>] f+0x1/0x20\n[<ffffffff82358f28>] g+0x2/0x30\n",
            "Call Trace: [<ffffffff8191c190>] f+0x1/0x20\n[<ffffffff82358f28>] g+0x2/0x30\n",
            "Backtrace: \n[<c010e5a4>] (f) from [<c010a0a8>] (g+0x10/0x14)\n r7:00000000",
            "Call trace: \n f from g+0x10/0x14\nException stack",
            "Call Trace:\n[c0000000f8a3b7c0] [c000000000a1b2c4] f+0x9c/0xd0\n[c0000000f8a3b7d0] [c000000000a1b2d4] g+0x9c/0xd0\nInstruction dump:",
            "Call Trace:\n [<000000000011a7f0>] f+0x90/0xc0 \n [<000000000011a8f0>] g+0x90/0xc0\nLast Breaking-Event-Address:",
            "00000000Call Trace:\n <IRQ>  [<ffffffff8191c190>] f+0x1/0x20\n <EOI>  [<ffffffff8191c190>] g+0x2/0x30\n \nCode:",
            "Call Trace:\n[<(____ptrval____)>] f+0x1/0x20\n[<(ptrval)>] g+0x2/0x30\nCode: 00",
            "Backtrace: \n[<(ptrval)>] (f) from [<(ptrval)>] (g+0x10/0x14)\n r7:00000000",
            "Call Trace:\nCaller[000000000042a7f0]: f+0x1/0x20\nCaller[000000000042a8f0]: g+0x2/0x30\nInstruction DUMP: 00",
            "Call Trace:\n[f0048fdc : f+0x1/0x20 ]\n[f0048fec : g+0x2/0x30 ] \nno frame",
            "Call Trace:\nf+0x1/0x20 ] \ng+0x2/0x30 ] \nno frame",
            "Call Trace:\nno frame\nCall Trace:\n f+0x1/0x20\n g+0x2/0x30\nf+0x3/0x4 is behind it\n h+0x1/0x2",
        ] {
            assert_eq!(names(text), "f g", "{text}");
        }
    }

    #[test]
    fn lines_of_inlined_functions_belong_to_their_frame() {
        for text in [
            "Call Trace:\n f (a/b.c:12 a/c.h:13)\n g (a.S:1)\n",
            "Call Trace:\n f (a/b.c:12 (discriminator 1) a/c.h:13 (discriminator 14) a/b.c:1) tun\n g (a.c:? ??:0)\n",
            "Call trace:\n f (a.c:1 (discriminator 2)) (P)\n g+0x1/0x2 tun (C)\n",
            "Call Trace:\n f+0x1/0x2 tun\n g+0x1/0x2 snd-hda\n",
        ] {
            assert_eq!(names(text), "f g", "{text}");
        }
        for text in [
            " unwind_backtrace from show_stack+0x18/0x1c\n show_stack from f+0x58/0x70\n---[ end",
            "Invalid read at 0xffff8881:\n unwind_backtrace+0x1/0x2\n show_stack+0x1/0x2\n f+0x1/0x2\n\nCPU: 0",
        ] {
            assert_eq!(names(text), "unwind_backtrace show_stack f", "{text}");
        }
        assert_eq!(names("a reply from f+0x1/0x2 came\n f+0x1/0x2"), "", "no heading");
        assert_eq!(names("Call Trace:\n f (a.c:1 b)\n f (a.c:1) in b\n f+0x1/0x2 2\n f word\n"), "");
    }

    #[test]
    fn a_module_is_known_with_and_without_brackets() {
        for text in ["f+0x1/0x2 [tun]", "f+0x1/0x2 tun", "f (a.c:1) tun", "f (a.c:1 b.c:2) tun (P)"] {
            let Some(TraceLine::Frame { frame, .. }) = TraceLine::read(text) else { panic!("{text}") };
            assert_eq!(frame.module.as_deref(), Some("tun"), "{text}");
        }
    }

    #[test]
    fn a_name_may_begin_with_a_dot_and_a_stack_in_two_brackets() {
        assert_eq!(
            names(
                "Call Trace:\n[c0] [c1] .f+0x1/0x2 (unreliable)\n <<EOE>>  <IRQ>  [<c2>] g+0x1/0x2\n <<EOE>> h+0x1/0x2"
            ),
            "? .f g h"
        );
    }

    #[test]
    fn what_the_unwinder_did_not_come_by_is_told_apart() {
        assert_eq!(names("Call Trace:\n ? f+0x1/0x2\n g+0x1/0x2"), "? f g");
        assert_eq!(
            names("Call Trace:\n[<ffffffff81000000>] ? f+0x1/0x2\n[<ffffffff81000000>] g+0x1/0x2"),
            "? f g"
        );
        assert_eq!(names("Call Trace:\n[c0] [c1] f+0x1/0x2 (unreliable)\n[c0] [c2] g+0x1/0x2"), "? f g");
        assert_eq!(
            names("Call Trace:\n([<0000000000000001>] f+0x1/0x2)\n [<0000000000000002>] g+0x1/0x2"),
            "? f g"
        );
    }

    #[test]
    fn places_keep_all_that_the_line_says() {
        let mut trace = CallTrace::default();
        trace.line("Call Trace:");
        trace.line("[<ffffffffc0001234>] tun_get.isra.0+0x18/0x40 [tun]");
        trace.line(" 0xffffffff80000010");
        let [full, bare] = trace.frames() else { panic!("{trace:?}") };
        assert_eq!((full.address, full.offset), (Some(0xffff_ffff_c000_1234), Some(0x18)));
        assert_eq!((full.size, full.module.as_deref()), (Some(0x40), Some("tun")));
        assert_eq!(bare.address, Some(0xffff_ffff_8000_0010));
    }
}
