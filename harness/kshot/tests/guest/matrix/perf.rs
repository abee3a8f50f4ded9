//! The texts of `perf script` (perf-script(1)), held against each other and against the `perf.data` that they
//! are of.

use kshot_guest::session::{Guest as _, GuestFile};
use kshot_stack::stack::kallsyms::Kallsyms;
use kshot_stack::stack::{ParsedCapture, perf_data, perf_script};

use super::{Counts, LIMIT, Matrix};

/// Ways to print the same samples. Each keeps what a stack is told by: event, task and frames. (Any field
/// that is named takes away those that perf chooses by itself, and so the frames.)
const WAYS: &[&str] = &[
    "--ns",
    "-I",
    "--reltime",
    "--deltatime",
    "--show-task-events",
    "--show-mmap-events",
    "--show-switch-events",
    "--show-lost-events",
    "--show-kernel-path",
    "--no-demangle",
    "--no-inline",
    "--full-source-path",
    "-F comm,tid,cpu,time,event,trace,ip,sym,dso",
    "-F comm,pid,tid,cpu,time,event,trace,ip,sym,symoff,dso",
    "-F comm,tid,cpu,time,period,event,trace,ip,sym,dso",
    "-F comm,tid,cpu,time,event,trace,addr,ip,sym,dso",
    "-F comm,tid,cpu,misc,time,event,trace,ip,sym,dso",
    "-F comm,tid,cpu,time,event,trace,ip,sym,dso,srcline",
    "-F comm,tid,cpu,time,event,ip,sym,dso",
    "-F comm,tid,cpu,time,event,trace,ip,sym",
    "-F comm,tid,cpu,time,event,trace,ip",
    "-F comm,tid,time,event,trace,ip,sym,dso",
    "-F comm,tid,cpu,event,trace,ip,sym,dso",
    "-F comm,cpu,time,event,trace,ip,sym,dso",
    "-F comm,pid,cpu,time,event,trace,ip,sym,dso",
    "-F comm,tid,event,trace,ip,sym",
    "-F comm,tid,event,ip,sym,symoff,dso",
    "-F comm,pid,event,ip,sym",
];

/// What is recorded: its name, and the words of perf.
const RECORDINGS: &[(&str, &str)] = &[
    ("probe", "-e probe:register_netdevice -g"),
    ("dwarf", "-e probe:register_netdevice --call-graph dwarf"),
    ("clock", "-e cpu-clock -c 2000000 -g"),
    ("frequency", "-e cpu-clock -F 500 -g"),
    ("tracepoints", "-e sched:sched_switch -e sched:sched_process_exec -g"),
    ("plain", "-e sched:sched_switch"),
];

/// Tasks whose names are a frame's, a header's, and others with blanks, brackets and line ends.
const NAMES: &str = "
    for name in 'a b' '1234 [000]' ':17' 'x: y' '[kworker/0:1]' 'two\\nlines' 'ffff8000 f (x)' 'größe ☃' '\\377\\001x'; do
        ( printf \"$name\" > /proc/self/comm; /isam/user/eoe_filter -n lo -t tap0 -E; : > /dev/null ) > /dev/null 2>&1
    done";

pub(super) fn fields(matrix: &mut Matrix) {
    if matrix.try_to("command -v perf").is_none() {
        eprintln!("left out: the guest has no perf; `kshot provision --perf` builds it");
        return;
    }
    // Not every perf can do it by itself: `perf probe` needs libelf.
    matrix.get("echo 'p:probe/register_netdevice register_netdevice' >> /sys/kernel/tracing/kprobe_events");
    for restrict in [0, 2] {
        matrix.get(&format!("echo {restrict} > /proc/sys/kernel/kptr_restrict"));
        // What is hidden shows in the symbols alone.
        for (name, words) in RECORDINGS.iter().take(if restrict == 0 { RECORDINGS.len() } else { 1 }) {
            let script = format!(
                "cd /tmp && perf record -q -a {words} -o {name}.data sh -c '{}'",
                NAMES.replace('\'', "'\\''")
            );
            if matrix.try_to(&script).is_none() {
                eprintln!("{name}: perf cannot record it here");
                continue;
            }
            let print = |way: &str| format!("cd /tmp && perf script -i {name}.data {way} 2> /dev/null");
            let plain = matrix.get(&print(""));
            let parsed = perf_script::parse(&*plain).unwrap();
            matrix.check(&format!("perf {restrict} {name}"), &plain, &parsed, None);
            let wanted = Counts::of(&parsed);
            assert!(wanted.events > 0, "{name}: {wanted:?}");
            let recorded = recorded(matrix, name);
            let case = format!("perf.data {restrict} {name}");
            let (told, recorded) = (of_kernel(&parsed), of_kernel(&recorded));
            matrix.check_that(told == recorded, &case, &plain, &format!("{told:?}; recorded {recorded:?}"));
            for way in WAYS {
                // Not every recording has every field.
                let Some(text) = matrix.try_to(&print(way)) else { continue };
                let parsed = perf_script::parse(&*text).unwrap();
                matrix.check(&format!("perf {restrict} {name} {way}"), &text, &parsed, Some(&wanted));
            }
        }
    }
}

/// The recording as it is read here, without the guest's perf.
fn recorded(matrix: &mut Matrix, name: &str) -> ParsedCapture {
    let files = ["data", "kallsyms"].map(|file| matrix.guest.folder.path().join(file));
    let [data, symbols] = &files;
    // The size of a file of proc is not known before it is read.
    matrix.get("cat /proc/kallsyms > /tmp/kallsyms");
    let from = format!("/tmp/{name}.data");
    let fetched = [GuestFile { from: &from, to: data }, GuestFile { from: "/tmp/kallsyms", to: symbols }];
    matrix.guest.session.fetch(&fetched, LIMIT).unwrap();
    let [data, symbols] = files.each_ref().map(|path| std::fs::read(path).unwrap());
    files.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    perf_data::parse(&*data, &Kallsyms::read(&*symbols).unwrap()).unwrap()
}

/// What no symbol is needed for: samples, stacks, frames of the kernel.
#[derive(Debug, PartialEq, Eq)]
struct OfKernel {
    samples: u64,
    stacks: u64,
    frames: u64,
}

fn of_kernel(parsed: &ParsedCapture) -> OfKernel {
    let frames = parsed.stacks.iter().map(|(stack, count)| {
        let frames = stack.frames.iter().filter(|frame| !frame.user && frame.address != Some(0));
        frames.count() as u64 * count
    });
    let stacks = parsed.stacks.iter().map(|(_, count)| count).sum();
    OfKernel { samples: parsed.events, stacks, frames: frames.sum() }
}
