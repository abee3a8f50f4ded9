//! Repairs that are wrong on purpose: a scenario tells each from the right one, and for the right reason.

use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use libtest_mimic::{Failed, Trial};

use super::common::Replica;
use super::on_kernel;

/// A wrong repair, the scenario that catches it, and why, as the verdict says it.
struct Mutant {
    name: &'static str,
    kernel: &'static str,
    scenario: &'static str,
    why: &'static str,
}

const MUTANTS: [Mutant; 9] = [
    Mutant {
        name: "a_repair_that_forgets_ra_loses_the_callers_of_a_leaf",
        kernel: "mips64-6.1-forgets-ra",
        scenario: "tunsetiff/leaf",
        why: "claim `caller` fails: 0 instead of 5 stacks through tun_net_fix_features, \
              __netdev_update_features; they end at tun_net_fix_features (5)",
    },
    Mutant {
        name: "a_repair_with_a_wrong_frame_size_loses_the_callers_of_a_function",
        kernel: "mips64-6.1-wrong-frame",
        scenario: "tunsetiff/func_stack_trace",
        why: "claim `ftrace` fails: 0 instead of 5 stacks through register_netdevice, \
              __tun_chr_ioctl|tun_chr_ioctl; they end at register_netdevice (7)",
    },
    Mutant {
        name: "a_repair_with_a_wrong_frame_size_loses_the_callers_of_a_leaf",
        kernel: "mips64-6.1-wrong-frame",
        scenario: "tunsetiff/leaf",
        why: "claim `caller` fails: a stack through tun_net_fix_features, __netdev_update_features ends at \
              __netdev_update_features, before any entry",
    },
    Mutant {
        name: "a_repair_that_takes_the_newest_return_probe_tells_a_function_twice",
        kernel: "mips64-6.1-forgets-ra",
        scenario: "kprobe/below_return_probes",
        why: "claim `perf` fails: 0 instead of 3 stacks through inode_init_owner, vfs_mkdir, do_mkdirat",
    },
    Mutant {
        name: "a_repair_that_takes_an_exceptions_place_for_a_return_address_ends_there",
        kernel: "mips64-6.1-wrong-frame",
        scenario: "kprobe/stacktrace_trigger",
        why: "claim `ftrace` fails: 0 instead of 5 stacks through register_netdevice, \
              __tun_chr_ioctl|tun_chr_ioctl; they end at register_netdevice (5)",
    },
    Mutant {
        name: "a_repair_that_looks_in_front_of_the_function_does_not_find_it",
        kernel: "mips64-6.1-too-narrow",
        scenario: "tunsetiff/function_command_stacktrace",
        why: "claim `function` fails: 0 instead of 5 stacks through register_netdevice, \
              __tun_chr_ioctl|tun_chr_ioctl; they end at syscall_common (5)",
    },
    Mutant {
        name: "a_repair_that_goes_by_x30_wherever_an_exception_was_taken_goes_astray",
        kernel: "arm64-6.1-always-x30",
        scenario: "perf/tracepoint",
        why: "claim `perf` fails: a stack through oom_score_adj_write, vfs_write is corrupt",
    },
    Mutant {
        name: "a_repair_that_tells_the_caller_twice_loses_the_traced_function",
        kernel: "riscv64-6.12-caller-twice",
        scenario: "tunsetiff/leaf",
        why: "claim `caller` fails: 0 instead of 5 stacks through tun_net_fix_features, \
              __netdev_update_features; they end at handle_exception (5)",
    },
    Mutant {
        name: "a_repair_that_looks_next_to_the_return_address_ends_at_return_to_handler",
        kernel: "x86-64-6.12-wrong-slot",
        scenario: "function_graph/return_probe_first",
        why: "claim `perf` fails: 0 instead of 3 stacks through vfs_mkdir, do_mkdirat",
    },
];

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let trial = |mutant: Mutant| {
        let name = format!("mutants::{}", mutant.name);
        let caught = move |_: &Kernel| -> Result<(), Failed> {
            Replica::new()
                .run(&["run", mutant.scenario, "--kernel", mutant.kernel])
                .expect(1, &["verdict: drift", mutant.why]);
            Ok(())
        };
        on_kernel(workspace, catalogue, &name, mutant.kernel, caught)
    };
    MUTANTS.into_iter().map(trial).collect()
}
