//! Recognises what a console says, line by line. Pure: lines in, events out.

pub mod call_traces; // every call trace of a console, as stacks
mod literals; // words without which no pattern matches
mod messages; // what one message says
mod prefix; // what loggers put in front of a message
mod tasks; // the task that a message names
mod telling; // whether a message may begin something

use std::collections::VecDeque;
use std::sync::LazyLock;

use regex::Regex;
use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::Deserialize;

pub(crate) use prefix::plain as plain_line;
pub(crate) use prefix::said as said_in_chat;

use crate::document::ConsoleReport;
use crate::stack::CallTrace;
use crate::text::Lines;
use literals::Words;

/// Lines before the one that matched which are kept with it.
const BEFORE: usize = 5;
/// Events that are kept; a guest that complains for ever is counted from there on.
const KEPT: usize = 100;
/// Lines behind the one that matched in which its call trace is looked for; lockdep lists every lock before
/// it.
const TRACE_WITHIN: usize = 400;
/// How much of a program's line is kept while messages of the kernel cut it, in bytes.
const LONGEST_CUT: usize = 256;

/// What a console has said so far.
#[derive(Debug, Default)]
pub struct Recogniser {
    before: VecDeque<String>,
    /// Events that still take lines.
    open: Vec<Open>,
    /// What a program has written of a line that a message of the kernel cut.
    cut: String,
    events: Vec<ConsoleReport>,
    left_out: u64,
    ready: bool,
    rest: bool,
    fatal: Option<usize>,
    last_report: Option<String>,
}

/// An event that still takes lines.
#[derive(Debug)]
struct Open {
    /// Its place in [`Recogniser::events`].
    event: usize,
    /// How many lines its excerpt takes.
    left: usize,
    /// In how many lines its call trace may stand.
    left_of_trace: usize,
    trace: CallTrace,
}

/// A pattern of `console/patterns.yaml`, which describes the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    kind: String,
    means: Means,
    after: usize,
    regex: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Means {
    Fatal,
    Report,
    Banner,
    Ready,
    Rest,
}

struct Table {
    patterns: Vec<Pattern>,
    set: RegexSet,
    /// Words of the patterns: every message that a pattern matches contains one of them.
    words: Vec<String>,
    any_word: Words,
    /// `CONFIG_PRINTK_TIME`'s prefix, with `CONFIG_PRINTK_CALLER`'s where it is on; or the latter alone, where
    /// a line begins with it or behind a time that other text is mixed with.
    stamp: Regex,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // Part of the program, not input: a test reads it.
    let patterns: Vec<Pattern> =
        serde_yaml::from_str(include_str!("console/patterns.yaml")).expect("patterns.yaml is well formed");
    // What the kernel prints of itself is ASCII; Unicode's classes would cost half of the speed.
    let regexes = patterns.iter().map(|pattern| &pattern.regex);
    let set = RegexSetBuilder::new(regexes).unicode(false).build().expect("patterns.yaml holds regexes");
    let words = literals::required(patterns.iter().map(|pattern| pattern.regex.as_str()));
    let words = words.expect("a pattern has a word that it cannot match without");
    let any_word = Words::new(words.iter().map(String::as_str));
    const STAMP: &str =
        r"(?:\[ *\d+\.\d+(?:@\d+|s)?\](?: ?\[ *[TC]\d+(?:@C\d+)?\])?|(?:^|\] ?)\[ *[TC]\d+\])(?: |$)";
    let stamp = Regex::new(STAMP).expect("a regex");
    Table { patterns, set, words, any_word, stamp }
});

impl Table {
    /// The first pattern that a message fits.
    fn fits(&self, message: &str) -> Option<&Pattern> {
        let message = message.as_bytes();
        let fits = self.any_word.is_in(message).then(|| self.set.matches(message))?;
        Some(&self.patterns[fits.iter().next()?])
    }

    /// The word of the first pattern of trouble that a message fits.
    fn trouble(&self, message: &str) -> Option<&str> {
        let pattern = self.fits(message)?;
        matches!(pattern.means, Means::Fatal | Means::Report).then_some(pattern.kind.as_str())
    }
}

/// All that a whole console log reports.
pub fn recognise(console: &[u8]) -> Vec<ConsoleReport> {
    let (mut lines, mut recogniser) = (Lines::default(), Recogniser::default());
    lines.feed(console, |line| recogniser.line(&line));
    if let Some(line) = lines.finish() {
        recogniser.line(&line);
    }
    recogniser.events()
}

impl Open {
    fn is_over(&self) -> bool {
        self.left == 0 && self.left_of_trace == 0
    }
}

impl Recogniser {
    /// Takes the next line, already printable.
    pub fn line(&mut self, line: &str) {
        let (written, messages) = parts(line);
        // Escaped, where a message falls in between the two characters of a line's end.
        let written = written.trim_end_matches("\\r");
        // "---[ end trace 0000000000000000 ]---", "---[ end Kernel panic - not syncing: ... ]---"
        let over = messages.last().unwrap_or(&written).starts_with("---[ end ");
        for open in &mut self.open {
            let event = &mut self.events[open.event];
            open.trace.line(messages.last().unwrap_or(&written));
            open.left_of_trace = if open.trace.is_over() { 0 } else { open.left_of_trace.saturating_sub(1) };
            if open.left > 0 {
                event.excerpt.push(line.to_owned());
                open.left -= 1;
            }
            if over || open.is_over() {
                set_frames(event, &open.trace);
            }
        }
        self.open.retain(|open| !over && !open.is_over());
        let whole = self.uncut(written, !messages.is_empty());
        for message in whole.as_deref().into_iter().chain(messages) {
            if let Some(pattern) = TABLE.fits(message) {
                self.matched(pattern, line);
            }
        }
        self.before.push_back(line.to_owned());
        if self.before.len() > BEFORE {
            self.before.pop_front();
        }
    }

    /// What a program wrote in this line, with what it wrote of it in the lines before: a message of the
    /// kernel may fall in between, and the rest comes behind it. `None` where nothing ends here.
    fn uncut(&mut self, written: &str, is_cut: bool) -> Option<String> {
        if !is_cut {
            let mut whole = std::mem::take(&mut self.cut);
            whole.push_str(written);
            // What was cut may never be ended: then this line stands for itself.
            return Some(if TABLE.fits(&whole).is_some() { whole } else { written.to_owned() });
        }
        if self.cut.len() + written.len() <= LONGEST_CUT {
            self.cut.push_str(written);
        } else {
            self.cut.clear();
        }
        // What was written may be the kernel's all the same, its time mixed with other text.
        (!written.is_empty()).then(|| written.to_owned())
    }

    /// Whether our init has said that it is done.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Whether the guest has said that it is at rest.
    pub fn is_idle(&self) -> bool {
        self.rest
    }

    /// What the guest died of, with the lines that have come so far, and the trouble that came just before
    /// it.
    pub fn fatal(&self) -> Option<(&ConsoleReport, Option<&ConsoleReport>)> {
        self.fatal.map(|index| (&self.events[index], index.checked_sub(1).map(|before| &self.events[before])))
    }

    /// The last trouble or, without any, the last line.
    pub fn last_console_line(&self) -> Option<&str> {
        self.last_report.as_deref().or(self.before.back().map(String::as_str))
    }

    /// Everything that was recognised. Beyond the first hundred, reports are only counted.
    pub fn events(&self) -> Vec<ConsoleReport> {
        let mut events = self.events.clone();
        for open in &self.open {
            set_frames(&mut events[open.event], &open.trace);
        }
        let more = (self.left_out > 0).then(|| ConsoleReport {
            kind: "more".into(),
            line: format!("{} more reports are in console.log", self.left_out),
            ..ConsoleReport::default()
        });
        events.extend(more);
        events
    }

    fn matched(&mut self, pattern: &Pattern, line: &str) {
        let fatal = match pattern.means {
            Means::Ready => {
                self.ready = true;
                return;
            }
            Means::Rest => {
                self.rest = true;
                return;
            }
            // The boot console's lines may be printed again when the real console takes over.
            Means::Banner if !self.ready => return,
            Means::Fatal | Means::Banner => self.fatal.is_none(),
            Means::Report => false,
        };
        self.last_report = Some(line.to_owned());
        if self.events.len() >= KEPT && !fatal {
            self.left_out += 1;
            return;
        }
        let excerpt = self.before.iter().cloned().chain([line.to_owned()]).collect();
        let (kind, line) = (pattern.kind.clone(), line.to_owned());
        self.events.push(ConsoleReport { kind, line, excerpt, ..ConsoleReport::default() });
        let index = self.events.len() - 1;
        if fatal {
            self.fatal = Some(index);
        }
        if pattern.after > 0 {
            // What comes behind the excerpt of an earlier event is this one's.
            self.open.retain_mut(|open| {
                open.left_of_trace = open.left_of_trace.min(open.left);
                !open.is_over()
            });
            let (left, left_of_trace) = (pattern.after, TRACE_WITHIN.max(pattern.after));
            self.open.push(Open { event: index, left, left_of_trace, trace: CallTrace::default() });
        }
    }
}

/// What was written before the first message of the kernel's in a line, and the messages.
fn parts(line: &str) -> (&str, Vec<&str>) {
    let (written, messages) = stamped(line);
    let texts = messages.into_iter().map(|(stamp, message)| {
        let text: &str = &message[stamp..];
        prefix::behind_printer(text).trim_start_matches(' ')
    });
    (written, texts.collect())
}

/// The same with the time in front of each message, and how long that is.
fn stamped(line: &str) -> (&str, Vec<(usize, &str)>) {
    let mut stamps = TABLE.stamp.find_iter(line).peekable();
    let written = &line[..stamps.peek().map_or(line.len(), |stamp| stamp.start())];
    let mut messages = Vec::new();
    while let Some(stamp) = stamps.next() {
        let end = stamps.peek().map_or(line.len(), |next| next.start());
        messages.push((stamp.len(), &line[stamp.start()..end]));
    }
    (written, messages)
}

fn set_frames(event: &mut ConsoleReport, trace: &CallTrace) {
    let names = |guess: bool| {
        let frames = trace.frames().iter().filter(move |frame| frame.guess == guess);
        frames.map(|frame| frame.name()).collect()
    };
    (event.frames, event.guesses) = (names(false), names(true));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::damage_tests::{ROUNDS, Random, damaged};
    use crate::stack::show;

    fn read(console: &[u8]) -> Recogniser {
        let mut recogniser = Recogniser::default();
        let mut lines = crate::text::Lines::default();
        lines.feed(console, |line| recogniser.line(&line));
        recogniser
    }

    macro_rules! console {
        ($name:literal) => {
            read(include_bytes!(concat!("../tests/data/console/", $name)))
        };
    }

    fn kinds(recogniser: &Recogniser) -> Vec<String> {
        recogniser.events().into_iter().map(|event| event.kind).collect()
    }

    #[test]
    fn a_panic_is_fatal_and_keeps_what_led_to_it() {
        let console = console!("panic-sysrq.txt");
        let (panic, before) = console.fatal().unwrap();
        assert_eq!(panic.kind, "panic");
        assert!(
            panic.line.ends_with("] Kernel panic - not syncing: sysrq triggered crash"),
            "{}",
            panic.line
        );
        assert!(panic.excerpt.iter().any(|line| line.ends_with("sysrq: Trigger a crash")));
        assert!(panic.excerpt.last().unwrap().contains(".bss  @ "));
        assert_eq!(before, None);
    }

    #[test]
    fn a_panic_that_cannot_reset_the_machine_is_no_less_a_panic() {
        let console = console!("panic-no-init-halted.txt");
        let (panic, _) = console.fatal().unwrap();
        assert!(panic.excerpt.last().unwrap().ends_with("Reboot failed -- System halted"));
    }

    #[test]
    fn a_warn_is_reported_with_its_whole_trace() {
        for console in [console!("warn-perf-regs.txt"), console!("warn-save-stack-trace-regs.txt")] {
            assert_eq!(kinds(&console), ["warn"]);
            assert!(console.fatal().is_none());
            let excerpt = &console.events()[0].excerpt;
            assert!(excerpt.iter().any(|line| line.contains("[ cut here ]")));
            assert!(excerpt.iter().any(|line| line.ends_with("handle_bp_int+0x28/0x3c")));
            assert!(excerpt.last().unwrap().contains("---[ end trace"), "{excerpt:?}");
        }
    }

    #[test]
    fn an_oops_of_mips_is_recognised_by_its_count() {
        let console = console!("oops-kprobe-slot.txt");
        assert_eq!(kinds(&console), ["oops"]);
        assert!(console.events()[0].excerpt.iter().any(|line| line.contains("epc   : ffffffffc000000c")));
    }

    #[test]
    fn a_panic_after_an_oops_names_both() {
        let mut console = console!("oops-kprobe-slot.txt");
        console.line("[    2.1] Kernel panic - not syncing: Fatal exception");
        let (_, before) = console.fatal().unwrap();
        assert!(before.unwrap().line.ends_with("Break instruction in kernel code[#1]:"));
    }

    #[test]
    fn a_banner_is_a_reboot_only_once_the_guest_was_ready() {
        let mut console = console!("boot-banner.txt");
        assert_eq!(kinds(&console), [""; 0], "a first boot is no event");
        console.line("kshot-guest: ready");
        assert!(console.ready() && console.fatal().is_none());
        console.line("[    0.000000] Linux version 6.1.192 (kshot@kshot) #1 SMP");
        assert_eq!(console.fatal().unwrap().0.kind, "silent reboot");
    }

    #[test]
    fn each_pattern_has_a_line_and_each_line_is_of_its_kind() {
        let lines = include_str!("../tests/data/console/kinds.txt");
        let mut seen = vec![0; TABLE.patterns.len()];
        for (kind, line) in
            lines.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" | "))
        {
            let console = read(format!("{line}\n").as_bytes());
            let kinds = kinds(&console);
            assert_eq!(kinds, if kind == "-" { vec![] } else { vec![kind] }, "{line}");
            assert!(!console.ready(), "{line}");
            let (written, messages) = parts(line);
            let matched = [written]
                .into_iter()
                .chain(messages)
                .filter_map(|text| TABLE.set.matches(text.as_bytes()).iter().next());
            matched.for_each(|pattern| seen[pattern] += 1);
        }
        let unseen = TABLE.patterns.iter().zip(seen).filter(|(_, seen)| *seen == 0);
        let unseen: Vec<_> = unseen.map(|(pattern, _)| pattern.kind.as_str()).collect();
        assert_eq!(unseen, ["silent reboot", "ready", "rest"], "of which other tests tell");
    }

    #[test]
    fn a_message_without_any_of_the_words_fits_no_pattern() {
        for (name, bytes) in show::captures("console") {
            for line in String::from_utf8_lossy(&bytes).lines() {
                let (written, messages) = parts(line);
                for message in std::iter::once(written).chain(messages) {
                    let fits = TABLE.set.is_match(message.as_bytes());
                    assert_eq!(TABLE.fits(message).is_some(), fits, "{name}: {message}");
                }
            }
        }
    }

    #[test]
    fn a_line_of_init_that_messages_of_the_kernel_cut_is_put_together() {
        assert!(console!("ready-cut.txt").ready());
        assert!(read(b"kshot-guest: ready\r[    2.0] random: crng init done\r\n\n").ready());
        assert!(!read(b"kshot-guest: re[    2.0] random: crng init done\nady?\n").ready());
        // arch/powerpc/platforms/pseries/setup.c does not end the line in which it says what boots.
        assert!(
            read(b"#1 SMP Debian 6.[    2.3] nvram: Failed\r\n[    9.0] a\r\nkshot-guest: ready\r\n").ready()
        );
        let long = "x".repeat(LONGEST_CUT + 1);
        assert!(
            !read(format!("{long}[    2.0] a\nkshot-guest: re[    2.0] b\nad[    2.0] c\n").as_bytes())
                .ready()
        );
        let failed = read(b"kshot-guest: fai[    2.0] random: crng init done\nled: no host key\n");
        assert_eq!(kinds(&failed), ["init failed"]);
    }

    #[test]
    fn a_report_is_found_behind_its_caller() {
        for prefix in ["[    2.0][   T93] ", "[    2.0] [   T93] ", "[   T93] ", "[  a 2.0] [   T93] "] {
            let text = format!(
                "{prefix}BUG: Bad page state in process sh\n{prefix}Call Trace:\n{prefix} f+0x1/0x2\n"
            );
            let console = read(text.as_bytes());
            assert_eq!(
                (kinds(&console), &console.events()[0].frames[..]),
                (vec!["bug".into()], &["f".into()][..])
            );
        }
    }

    #[test]
    fn two_messages_of_one_line_are_two() {
        let console =
            read(b"a[    2.0] BUG: Bad page state in process sh[    2.1] Kernel panic - not syncing: b\n");
        assert_eq!(kinds(&console), ["bug", "panic"]);
    }

    #[test]
    fn a_call_trace_is_told_as_frames() {
        let console = console!("warn-perf-regs.txt");
        let event = &console.events()[0];
        assert_eq!((event.frames.len(), event.guesses.len()), (17, 0));
        assert_eq!((event.frames[0].as_str(), event.frames[16].as_str()), ("show_stack", "handle_bp_int"));
        let text = "[  1.0] WARNING: CPU: 0 PID: 1 at x.c:1\n[  1.0] Call Trace:\n[  1.0]  ? f+0x1/0x2\n[  1.0]  g+0x1/0x2\n";
        let event = read(text.as_bytes()).events().remove(0);
        assert_eq!((event.frames, event.guesses), (vec!["g".to_owned()], vec!["f".to_owned()]));
    }

    #[test]
    fn a_call_trace_behind_the_excerpt_is_that_of_the_last_report() {
        let locks = "[  1.0] lock\n".repeat(100);
        let trace = "[  1.0] Call Trace:\n[  1.0]  f+0x1/0x2\n";
        let warn = "[  1.0] WARNING: inconsistent lock state\n";
        let found = |text: String| {
            let events = read(text.as_bytes()).events();
            events.iter().map(|event| event.frames.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(found(format!("{warn}{locks}{trace}")), ["f"]);
        assert_eq!(found(format!("{warn}{locks}{warn}{locks}{trace}")), ["", "f"]);
    }

    #[test]
    fn damaged_consoles_are_read_and_what_is_told_is_bounded() {
        let captures: Vec<_> = show::captures("console").into_iter().map(|(_, bytes)| bytes).collect();
        let mut random = Random(0x5eed_c025);
        for _ in 0..ROUNDS / 5 {
            let bytes = damaged(&captures, &mut random);
            let events = read(&bytes).events();
            assert!(events.len() <= KEPT + 2);
            let lines = events.iter().flat_map(|event| &event.excerpt);
            let clean = |line: &String| !line.chars().any(|char| char.is_control() && char != '\t');
            assert!(lines.into_iter().all(clean), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_guest_that_complains_for_ever_is_counted() {
        let mut console = Recogniser::default();
        for _ in 0..1000 {
            console.line("WARNING: CPU: 0 PID: 1 at x.c:1");
        }
        console.line("Kernel panic - not syncing: at last");
        let events = console.events();
        assert_eq!(events.len(), KEPT + 2);
        assert_eq!(console.fatal().unwrap().0.line, "Kernel panic - not syncing: at last");
        assert_eq!(events[KEPT + 1].line, "900 more reports are in console.log");
    }
}
