//! Recognises what a console says, line by line. Pure: lines in, events out.

use std::collections::VecDeque;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use serde::Deserialize;

use crate::document::ConsoleEvent;

/// Lines before the one that matched which are kept with it.
const BEFORE: usize = 5;
/// Events that are kept; a guest that complains for ever is counted from there on.
const KEPT: usize = 100;

/// What a console has said so far.
#[derive(Debug, Default)]
pub struct Recogniser {
    before: VecDeque<String>,
    /// Indices into `events` that still take lines, with how many.
    open: Vec<(usize, usize)>,
    events: Vec<ConsoleEvent>,
    left_out: u64,
    ready: bool,
    rest: bool,
    fatal: Option<usize>,
    last_report: Option<String>,
}

/// A pattern of `patterns.yaml`, which describes the fields.
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
    /// `CONFIG_PRINTK_TIME`'s prefix, with `CONFIG_PRINTK_CALLER`'s where it is on.
    timestamp: Regex,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // Part of the program, not input: a test reads it.
    let patterns: Vec<Pattern> =
        serde_yaml::from_str(include_str!("patterns.yaml")).expect("patterns.yaml is well formed");
    let set =
        RegexSet::new(patterns.iter().map(|pattern| &pattern.regex)).expect("patterns.yaml holds regexes");
    let timestamp = Regex::new(r"^\[ *\d+\.\d+\](\[ *[TC]\d+\])? ").expect("a regex");
    Table { patterns, set, timestamp }
});

impl Recogniser {
    /// Takes the next line, already printable.
    pub fn line(&mut self, line: &str) {
        for (event, left) in &mut self.open {
            self.events[*event].excerpt.push(line.to_owned());
            *left -= 1;
        }
        let text = &line[TABLE.timestamp.find(line).map_or(0, |stamp| stamp.end())..];
        // "---[ end trace 0000000000000000 ]---", "---[ end Kernel panic - not syncing: ... ]---"
        let over = text.starts_with("---[ end ");
        self.open.retain(|(_, left)| *left > 0 && !over);
        if let Some(index) = TABLE.set.matches(text).iter().next() {
            self.matched(&TABLE.patterns[index], line);
        }
        self.before.push_back(line.to_owned());
        if self.before.len() > BEFORE {
            self.before.pop_front();
        }
    }

    /// Whether our init has said that it is done.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Whether the guest has said that it is at rest.
    pub fn is_idle(&self) -> bool {
        self.rest
    }

    /// What the guest died of, with the lines that have come so far, and the trouble that came just before it.
    pub fn fatal(&self) -> Option<(&ConsoleEvent, Option<&ConsoleEvent>)> {
        self.fatal.map(|index| (&self.events[index], index.checked_sub(1).map(|before| &self.events[before])))
    }

    /// The last trouble or, without any, the last line.
    pub fn last_console_line(&self) -> Option<&str> {
        self.last_report.as_deref().or(self.before.back().map(String::as_str))
    }

    /// Everything that was recognised. Beyond the first hundred, reports are only counted.
    pub fn events(&self) -> Vec<ConsoleEvent> {
        let more = (self.left_out > 0).then(|| ConsoleEvent {
            kind: "more".into(),
            line: format!("{} more reports are in console.log", self.left_out),
            excerpt: Vec::new(),
        });
        self.events.iter().cloned().chain(more).collect()
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
        self.events.push(ConsoleEvent { kind: pattern.kind.clone(), line: line.to_owned(), excerpt });
        let index = self.events.len() - 1;
        if fatal {
            self.fatal = Some(index);
        }
        if pattern.after > 0 {
            self.open.push((index, pattern.after));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Lines after the format strings of the files that `patterns.yaml` names.
    #[test]
    fn each_kind_of_trouble_is_told_from_the_others() {
        for (line, kind) in [
            ("[  1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:91]", "soft lockup"),
            ("[  1.0][   T17] INFO: task eoe_filter:119 blocked for more than 120 seconds.", "hung task"),
            ("[  1.0] INFO: task a b:1 blocked in I/O wait for more than 2 seconds.", "hung task"),
            ("[  1.0] rcu: INFO: rcu_sched self-detected stall on CPU", "rcu stall"),
            ("[  1.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "rcu stall"),
            ("[  1.0] Kernel bug detected[#1]:", "oops"),
            ("[  1.0] Oops[#1]:", "oops"),
            (
                "[  1.0] CPU 0 Unable to handle kernel paging request at virtual address 0000, epc == 8, ra == 9",
                "oops",
            ),
            ("[  1.0] BUG: sleeping function called from invalid context at mm/slab.h:1", "bug"),
            ("[  1.0] kernel BUG at mm/slub.c:1!", "bug"),
            ("[  1.0] WARNING: possible circular locking dependency detected", "warn"),
            ("[  1.0] WARNING: net/core/dev.c:5 at register_netdevice+0x1/0x2, CPU#0: sh/91", "warn"),
            ("[  1.0] Out of memory: Killed process 91 (sh) total-vm:1kB", "out of memory"),
            ("kshot-guest: failed: dropbear: no host key", "init failed"),
            ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "panic"),
        ] {
            let console = read(format!("{line}\n").as_bytes());
            assert_eq!(kinds(&console), [kind], "{line}");
        }
    }

    #[test]
    fn plain_lines_are_no_trouble() {
        for line in [
            "[  1.0] This architecture does not have kernel memory protection.",
            "[  1.0] printk: bootconsole [uart8250] disabled",
            "the test says: Kernel panic is what we look for",
            "echo kshot-guest: ready",
        ] {
            let console = read(format!("{line}\n").as_bytes());
            assert!(console.events().is_empty() && !console.ready(), "{line}");
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
