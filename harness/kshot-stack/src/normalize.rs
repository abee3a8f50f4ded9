//! From what a probe said to what a snapshot holds: ordered, named passes, each over one stack.
//!
//! A pass removes what differs between two runs of one kernel, or two builds of one source, and nothing else.
//! Pids and times never get this far: [`Stack`] has no place for them.

use std::sync::Arc;

use crate::stack::{FetchedArguments, Frame, Stack, fold_suffix};

/// One step of the normalisation.
#[derive(Debug)]
pub struct Pass {
    /// Its name.
    pub name: &'static str,
    /// What it does, and why that is no loss.
    pub doc: &'static str,
    /// A sample, as `perf script` or a console prints it.
    pub before: &'static str,
    /// What the pass makes of it: `task event`, then each frame as [`PASSES`]' test writes it.
    pub after: &'static str,
    apply: fn(&mut Stack),
}

/// Every pass, in the order in which they apply.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "fold-worker-names",
        doc: "`kworker/0:1-events` is `kworker`: which worker of a pool gets the work differs between runs.",
        before: "kworker/0:1-events 16 [000] 1.000000: sched:sched_switch:\n\tffffffff8014d300 worker_thread+0x210\n",
        after: "kworker sched:sched_switch\nffffffff8014d300 worker_thread+0x210",
        apply: fold_worker_names,
    },
    Pass {
        name: "drop-inlined-frames",
        doc: "An inlined function has no frame of its own; only a tool with DWARF at hand can name it.",
        before: "sh 1 1.000000: probe:f:\n\tffffffff803a68b4 __tun_chr_ioctl+0x0 (inlined)\n\tffffffff803a68b4 tun_chr_ioctl+0xeec\n",
        after: "sh probe:f\nffffffff803a68b4 tun_chr_ioctl+0xeec",
        apply: drop_inlined_frames,
    },
    Pass {
        name: "drop-guesses",
        doc: "Frames that the unwinder did not come by go: which stale words lie on a stack differs between runs.",
        before: "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2\nCPU: 0 PID: 1 Comm: sh Not tainted\nCall Trace:\n ? f+0x1/0x2\n g+0x1/0x2\n",
        after: "sh warn\ng+0x1/0x2",
        apply: drop_guesses,
    },
    Pass {
        name: "collapse-user-frames",
        doc: "Frames of user space become one: they belong to the guest's programs, not to the kernel.",
        before: "sh 1 1.000000: probe:f:\n\tffffffff80114740 syscall_common+0x34\n\t10d2f4 ioctl+0x14 (/bin/sh)\n\t4a3f0 main+0x8 (/bin/sh)\n",
        after: "sh probe:f\nffffffff80114740 syscall_common+0x34\n[user]",
        apply: collapse_user_frames,
    },
    Pass {
        name: "fold-compiler-suffixes",
        doc: "`f.constprop.0` is `f`: the compiler's clones differ between builds of one source.",
        before: "sh 1 1.000000: probe:f:\n\tffffffff8018fa58 __hrtimer_run_queues.constprop.0+0x8\n",
        after: "sh probe:f\nffffffff8018fa58 __hrtimer_run_queues+0x8",
        apply: fold_compiler_suffixes,
    },
    Pass {
        name: "fold-bpf-names",
        doc: "The tag of a BPF program and the number of BPF's trampoline go from their names: they differ between builds.",
        before: "sh 1 1.000000: probe:f:\n\tffffffffc0001234 bpf_prog_09ef5f4c8b4c2f5a_stacks+0x18 ([bpf])\n\tffffffffc0002234 bpf_trampoline_6442488704_1+0x4a ([bpf])\n",
        after: "sh probe:f\nffffffffc0001234 bpf_prog_stacks+0x18 (bpf)\nffffffffc0002234 bpf_trampoline+0x4a (bpf)",
        apply: fold_bpf_names,
    },
    Pass {
        name: "forget-places",
        doc: "Addresses, offsets, sizes and modules go: they differ between builds. A null address stays visible.",
        before: "sh 1 1.000000: probe:f:\n\tffffffffc0001234 tun_get+0x18 ([tun])\n\tffffffff80000000 [unknown]\n\t0 [unknown]\n",
        after: "sh probe:f\ntun_get\n?\n0",
        apply: forget_places,
    },
];

/// Every pass over one stack.
pub fn normalize(mut stack: Stack) -> Stack {
    for pass in PASSES {
        (pass.apply)(&mut stack);
    }
    stack
}

/// What a kprobe event fetched, its `:symbol` arguments by name alone, as frames are.
pub fn fetched(mut arguments: FetchedArguments) -> FetchedArguments {
    let words = arguments.text.split(' ').map(|word| match word.split_once("+0x") {
        Some((name, place)) if place.contains("/0x") => name,
        _ => word,
    });
    arguments.text = words.collect::<Vec<_>>().join(" ");
    arguments
}

fn fold_worker_names(stack: &mut Stack) {
    if stack.task.starts_with("kworker/") {
        stack.task.truncate("kworker".len());
    }
}

fn drop_inlined_frames(stack: &mut Stack) {
    // A broken capture may call every frame inlined: then the last is as physical as it gets.
    let all = stack.frames.iter().all(|frame| frame.inlined);
    if let Some(last) = stack.frames.last_mut().filter(|_| all) {
        Arc::make_mut(last).inlined = false;
    }
    stack.frames.retain(|frame| !frame.inlined);
}

fn drop_guesses(stack: &mut Stack) {
    stack.frames.retain(|frame| !frame.guess);
}

fn collapse_user_frames(stack: &mut Stack) {
    stack.frames.dedup_by(|next, kept| next.user && kept.user);
    for frame in stack.frames.iter_mut().filter(|frame| frame.user) {
        *frame = Arc::new(Frame { user: true, ..Frame::default() });
    }
}

fn fold_compiler_suffixes(stack: &mut Stack) {
    let names = stack.frames.iter_mut().map(Arc::make_mut).filter_map(|frame| frame.symbol.as_mut());
    for name in names.chain(&mut stack.function).chain([&mut stack.event]) {
        name.truncate(fold_suffix(name).len());
    }
}

fn fold_bpf_names(stack: &mut Stack) {
    for name in stack.frames.iter_mut().map(Arc::make_mut).filter_map(|frame| frame.symbol.as_mut()) {
        if let Some(folded) = bpf_name(name) {
            *name = folded;
        }
    }
}

/// `bpf_prog_stacks` for `bpf_prog_09ef5f4c8b4c2f5a_stacks` (kernel/bpf/core.c, `bpf_get_prog_name`),
/// `bpf_trampoline` for `bpf_trampoline_6442488704` and `bpf_trampoline_6442488704_1`
/// (kernel/bpf/trampoline.c).
fn bpf_name(symbol: &str) -> Option<String> {
    if let Some(rest) = symbol.strip_prefix("bpf_prog_") {
        let (tag, name) = rest.split_once('_')?;
        let is_tag = tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
        return is_tag.then(|| format!("bpf_prog_{name}"));
    }
    let number = symbol.strip_prefix("bpf_trampoline_")?;
    number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_').then(|| "bpf_trampoline".into())
}

fn forget_places(stack: &mut Stack) {
    for frame in stack.frames.iter_mut().map(Arc::make_mut) {
        let null = frame.symbol.is_none() && frame.address == Some(0);
        let (symbol, user, inlined) = (frame.symbol.take(), frame.user, frame.inlined);
        *frame = Frame { address: null.then_some(0), symbol, user, inlined, ..Frame::default() };
    }
}

#[cfg(test)]
mod tests;
