//! The texts of tracefs (Documentation/trace/ftrace.rst).

use std::collections::BTreeMap;

use kshot_guest::probe::{CaptureContent, FtraceProbe, ProbeKind, ProbeSpec};
use kshot_stack::arch::Arch;
use kshot_stack::stack::{ParsedCapture, ftrace_text};

use super::{Counts, MARK, Matrix, Random, TRACERS};

/// What prints the entries of the buffer as they lie in memory, or their fields; and programs' text without
/// anything in front of it, so that none can tell one from the next.
const NO_TEXT: &[&str] = &["raw", "hex", "bin", "fields", "printk-msg-only"];
/// Where the random sets begin.
const SEED: u64 = 0x6b73_686f_7401;
/// How many random sets there are for each tracer.
const SETS: usize = 12;

/// What runs while a buffer records: programs' own text with and without arrows in it, traced functions,
/// events with arguments, stacks.
const WORK: &str = "
    echo 'hello <-world' > trace_marker
    printf 'two\\nlines' > trace_marker
    /isam/user/eoe_filter -n lo -t tap0 -E
    sleep 0.02
    echo plain > trace_marker";

/// Functions that are traced, as far as the kernel has them.
const FUNCTIONS: &str = "register_netdevice tun_chr_ioctl tun_net_init vfs_open do_exit";
/// Events that are recorded, as far as the kernel has them.
const EVENTS: &str = "sched/sched_process_fork sched/sched_process_exit sched/sched_switch syscalls/sys_enter_ioctl \
                      syscalls/sys_exit_ioctl timer/timer_start kprobes/kshot_entry kprobes/kshot_return";

/// A function of the guest's shell that records the work anew.
fn recording(tracer: &str) -> String {
    format!(
        "record() {{
             cd /sys/kernel/tracing || return
             echo 0 > tracing_on; echo nop > current_tracer; echo 512 > buffer_size_kb
             echo 'p:kshot_entry register_netdevice' > kprobe_events
             echo 'r:kshot_return register_netdevice ret=$retval' >> kprobe_events
             : > set_ftrace_filter; : > set_graph_function
             for function in {FUNCTIONS}; do
                 echo $function >> set_ftrace_filter; echo $function >> set_graph_function
             done 2> /dev/null
             echo {tracer} > current_tracer || return
             : > trace
             for event in {EVENTS}; do echo 1 > events/$event/enable; done 2> /dev/null
             echo stacktrace > events/sched/sched_process_fork/trigger
             echo 1 > tracing_on
             {{ {WORK}
             }} > /dev/null 2>&1
             echo 0 > tracing_on
             echo '!stacktrace' > events/sched/sched_process_fork/trigger
             for event in {EVENTS}; do echo 0 > events/$event/enable; done 2> /dev/null
             cd options
         }} 2> /dev/null\n"
    )
}

/// Records the work anew, where the kernel takes the tracer.
fn record(matrix: &mut Matrix, tracer: &str) -> bool {
    matrix.try_to(&format!("{}record", recording(tracer))).is_some()
}

fn read(matrix: &mut Matrix) -> Vec<u8> {
    matrix.get("cat /sys/kernel/tracing/trace")
}

fn parse(text: &[u8]) -> ParsedCapture {
    ftrace_text::parse(text).unwrap()
}

fn tracers(matrix: &mut Matrix) -> Vec<String> {
    let asked = std::env::var(TRACERS).unwrap_or_default();
    let is_asked = |name: &String| asked.is_empty() || asked.split(',').any(|one| one == name);
    let names = matrix.words("cat /sys/kernel/tracing/available_tracers");
    names.into_iter().filter(is_asked).collect()
}

/// The options and what they are set to.
fn options(matrix: &mut Matrix) -> BTreeMap<String, bool> {
    let listed = matrix.words("cd /sys/kernel/tracing/options && grep -H . *");
    let options = listed.iter().filter_map(|line| line.split_once(':'));
    options.map(|(name, value)| (name.to_owned(), value == "1")).collect()
}

/// Whether the kernel takes it: some are fixed while a tracer runs.
fn set(matrix: &mut Matrix, name: &str, on: bool) -> bool {
    let script = format!("echo {} > /sys/kernel/tracing/options/{name}", u8::from(on));
    matrix.try_to(&script).is_some()
}

fn set_all(matrix: &mut Matrix, options: &BTreeMap<String, bool>) {
    let words: String = options.iter().map(|(name, on)| format!("{name}:{} ", u8::from(*on))).collect();
    let script = format!(
        "cd /sys/kernel/tracing/options
         for word in {words}; do
             read -r now < ${{word%:*}}; [ $now = ${{word#*:}} ] || echo ${{word#*:}} > ${{word%:*}}
         done 2> /dev/null; :"
    );
    matrix.get(&script);
}

/// Switches each option of each tracer, reads the same buffer, and a new one that is recorded with the
/// option. The guest does it in one go: there are thousands of cases.
pub(super) fn one_option_at_a_time(matrix: &mut Matrix) {
    for tracer in tracers(matrix) {
        if !record(matrix, &tracer) {
            eprintln!("{tracer}: the kernel refuses it");
            continue;
        }
        let before = options(matrix);
        let names: Vec<&str> =
            before.keys().map(String::as_str).filter(|name| !NO_TEXT.contains(name)).collect();
        let names = names.join(" ");
        // Some options restart the tracer, which empties the buffer: then there is another one to hold the
        // next against.
        let texts = matrix.texts(&format!(
            "{record}
             cd /sys/kernel/tracing/options
             plain() {{ cat ../trace > /tmp/plain; echo '{MARK}plain'; cat /tmp/plain; }}
             plain
             for name in {names}; do
                 read -r was < $name
                 echo $((1 - was)) > $name || continue
                 echo '{MARK}'$name; cat ../trace
                 echo $was > $name; cat ../trace > /tmp/now
                 cmp -s /tmp/plain /tmp/now || {{ echo '{MARK}emptied'; record; plain; }}
             done 2> /dev/null
             for name in {names}; do
                 read -r was < $name
                 echo $((1 - was)) > $name || continue
                 record; echo '{MARK}recorded '$name; cat ../trace
                 echo $was > $name
             done 2> /dev/null",
            record = recording(&tracer),
        ));
        let mut wanted = None;
        for (at, (name, text)) in texts.iter().enumerate().filter(|(_, (name, _))| name != "emptied") {
            let is_emptied = texts.get(at + 1).is_some_and(|(next, _)| next == "emptied");
            let parsed = parse(text);
            if name == "plain" {
                wanted = Some(Counts::of(&parsed));
            }
            let same = wanted.as_ref().filter(|_| !is_emptied && !name.starts_with("recorded "));
            matrix.check(&format!("{tracer} {name}"), text, &parsed, same);
        }
        return_to(matrix, "nop", &before);
    }
}

fn return_to(matrix: &mut Matrix, tracer: &str, options: &BTreeMap<String, bool>) {
    set_all(matrix, options);
    record(matrix, tracer);
}

/// Switches random sets of options before the kernel records, and reads the buffer with them and without.
pub(super) fn random_sets(matrix: &mut Matrix) {
    let mut random = Random(SEED);
    for tracer in tracers(matrix) {
        if !record(matrix, &tracer) {
            continue;
        }
        let before = options(matrix);
        for number in 0..SETS {
            let chosen: BTreeMap<String, bool> = before
                .iter()
                .filter(|(name, _)| !NO_TEXT.contains(&name.as_str()))
                .map(|(name, on)| (name.clone(), on ^ (random.next().is_multiple_of(4))))
                .collect();
            let switched: Vec<_> = chosen.iter().filter(|(name, on)| before[*name] != **on).collect();
            eprintln!("{tracer} set {number}: {switched:?}");
            set_all(matrix, &chosen);
            record(matrix, &tracer);
            let text = read(matrix);
            let parsed = parse(&text);
            matrix.check(&format!("{tracer} set {number}"), &text, &parsed, None);
            set_all(matrix, &before);
            let plain = read(matrix);
            // Another tracer's text, or none, is no measure.
            if plain.iter().filter(|byte| **byte == b'\n').count() > 20 {
                let counts = Counts::of(&parse(&plain));
                matrix.check(&format!("{tracer} set {number} against plain"), &text, &parsed, Some(&counts));
            }
        }
    }
}

pub(super) fn clocks(matrix: &mut Matrix) {
    let clocks = matrix.words("cat /sys/kernel/tracing/trace_clock");
    for clock in clocks.iter().map(|clock| clock.trim_matches(['[', ']'])) {
        for tracer in ["nop", "function", "function_graph"] {
            matrix.get(&format!("echo {clock} > /sys/kernel/tracing/trace_clock"));
            if !record(matrix, tracer) {
                continue;
            }
            let text = read(matrix);
            let parsed = parse(&text);
            matrix.check(&format!("{clock} {tracer}"), &text, &parsed, None);
            let counts = Counts::of(&parsed);
            assert!(counts.events > 5, "{clock} {tracer}: {counts:?}");
            for option in ["latency-format", "verbose"] {
                set(matrix, option, true);
                let text = read(matrix);
                matrix.check(&format!("{clock} {tracer} {option}"), &text, &parse(&text), Some(&counts));
            }
            for option in ["latency-format", "verbose"] {
                set(matrix, option, false);
            }
        }
    }
}

/// What a user has switched on is no text that holds stacks: the probe reads it all the same, and leaves it
/// switched on.
pub(super) fn probe_puts_back(matrix: &mut Matrix) {
    let probe = |name: &str| {
        let kind = ProbeKind::Ftrace(FtraceProbe { instance: None, only: Vec::new() });
        ProbeSpec { name: name.replace(' ', "-"), kind }
    };
    let row = Arch::Mips64.row();
    for tracer in ["nop", "function", "function_graph"] {
        if !record(matrix, tracer) {
            continue;
        }
        let plain = Counts::of(&parse(&read(matrix)));
        let known = options(matrix);
        for mode in NO_TEXT
            .iter()
            .chain(&["latency-format", "context-info"])
            .filter(|mode| known.contains_key(**mode))
        {
            set(matrix, mode, !known[*mode]);
            let spec = probe(&format!("{tracer} {mode}"));
            let (session, folder) = (&mut matrix.guest.session, matrix.guest.folder.path().to_owned());
            let armed = spec.arm(session, None).unwrap();
            armed.stop(session).unwrap();
            let captures = armed.fetch(session, &folder).unwrap();
            let capture = captures.iter().find(|one| one.content == CaptureContent::Stacks).unwrap();
            let text = std::fs::read(&capture.path).unwrap();
            let parsed = spec.parse(capture, row).unwrap().unwrap();
            matrix.check(&format!("the probe {tracer} {mode}"), &text, &parsed, Some(&plain));
            assert_eq!(options(matrix)[*mode], !known[*mode], "{mode} is as its user left it");
            set(matrix, mode, known[*mode]);
        }
    }
}
