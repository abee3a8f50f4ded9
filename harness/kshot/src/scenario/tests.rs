use super::*;

const KERNELS: [&str; 2] = ["mips64-6.1", "mips64el-6.1-debian"];

const GOOD: &str = "\
summary: it loses its callers
kernels: [mips64-6.1, 'mips64el-*']
boot:
  ftrace: { tracer: function, filter: [register_netdevice], options: [func_stack_trace] }
  cmdline: [quiet]
steps:
  - run: eoe_filter -n lo -t tap0 -E
    repeat: 5
probes:
  - ftrace: {}
  - perf: { probe: register_netdevice, call-graph: dwarf }
claims:
  - probe: ftrace
    through: [register_netdevice, __tun_chr_ioctl]
known:
  - kernels: ['mips64*']
    claim: ftrace
    because: the unwinder stops inside ftrace_caller
";

fn fault(text: &str) -> String {
    Scenario::parse("a/b", "scenarios/a/b.yaml", text, &KERNELS).expect_err(text).to_string()
}

#[test]
fn a_scenario_of_some_probes_keeps_what_is_said_of_them() {
    let with = |name: &str| {
        Scenario::parse("a/b", "b.yaml", GOOD, &KERNELS).unwrap().with_probes(&[name.to_owned()])
    };
    let ftrace = with("ftrace").unwrap();
    assert_eq!((ftrace.probes.len(), ftrace.claims.len(), ftrace.known_faults.len()), (1, 1, 1));
    let perf = with("perf").unwrap();
    assert_eq!((perf.probes.len(), perf.claims.len(), perf.known_faults.len()), (1, 0, 0));
    assert_eq!(with("gdb").unwrap_err().to_string(), "a/b has no probe `gdb`");
}

#[test]
fn boot_options_become_the_write_ups_kernel_parameters_in_its_order() {
    let scenario = Scenario::parse("a/b", "b.yaml", GOOD, &KERNELS).unwrap();
    assert_eq!(
        scenario.boot.cmdline.join(" "),
        "ftrace=function ftrace_filter=register_netdevice trace_options=func_stack_trace quiet"
    );
    assert_eq!(scenario.steps[0].repeat, 5);
    assert_eq!(scenario.claims[0].name, "ftrace");
}

#[test]
fn every_rule_that_yaml_types_cannot_hold_points_at_its_place() {
    let cases = [
        ("repeat: 5", "repeat: 0", "8:5: `repeat` is 0"),
        ("repeat: 5", "repeats: 5", "8:5: steps[0]: unknown field `repeats`"),
        ("probe: ftrace", "probe: ftrac", "13:12: no probe is called `ftrac`; there are: `ftrace`, `perf`"),
        ("claim: ftrace", "claim: perf", "17:12: no claim is called `perf`; there are: `ftrace`"),
        ("- ftrace: {}", "- {name: perf, ftrace: {}}", "10:12: two probes are called `perf`"),
        ("- ftrace: {}", "- {}", "9:1: a probe has exactly one of the keys"),
        (
            "- ftrace: {}",
            "- kprobe: {event: p register_netdevice}",
            "`p register_netdevice` is not a kprobe event",
        ),
        ("- ftrace: {}", "- kprobe: {event: 'p:a/../b c'}", "`../b` cannot be an event's name"),
        ("- ftrace: {}", "- gdb: {break: 'a b'}", "`a b` cannot be a function"),
        ("- ftrace: {}", "- gdb: {break: a, hits: 0}", "`hits` is 0"),
        (
            "- ftrace: {}",
            "- text: {format: hist}",
            "10:5: `text` has exactly one of the keys `run`, `file`, `from`",
        ),
        ("- ftrace: {}", "- text: {run: ' ', format: hist}", "`run` is empty"),
        ("- ftrace: {}", "- text: {file: trace, format: ftrace}", "`trace` is not an absolute path"),
        ("- ftrace: {}", "- text: {file: /x, format: history}", "unknown variant `history`, expected one of"),
        (
            "- ftrace: {}",
            "- text: {from: stdin, format: hist}",
            "unknown variant `stdin`, expected `console`",
        ),
        ("- ftrace: {}", "- text: {run: x}", "missing field `format`"),
        ("- ftrace: {}", "- bpf: {kprobe: a, fentry: a}", "`bpf` has exactly one of the keys `kprobe`"),
        ("- ftrace: {}", "- bpf: {tracepoint: sched}", "`sched` is not a tracepoint; write GROUP:NAME"),
        ("- ftrace: {}", "- bpf: {tracepoint: 'sched:'}", "`sched:` is not a tracepoint; write GROUP:NAME"),
        ("- ftrace: {}", "- bpf: {tracepoint: 'a:b:c'}", "`a:b:c` is not a tracepoint; write GROUP:NAME"),
        (
            "- ftrace: {}",
            "- {name: ftrace, gdb: {break: a}}\n  - gdb: {break: b}",
            "there are two gdb probes",
        ),
        ("- ftrace: {}", "- {name: ../x, ftrace: {}}", "10:12: `../x` cannot be a probe's name"),
        ("probe: register_netdevice,", "probe: a;reboot,", "11:20: `a;reboot` cannot be a function"),
        ("cmdline: [quiet]", "cmdline: ['a b']", "5:3: `a b` is not one kernel parameter"),
        ("filter: [register_netdevice]", "filter: ['a b']", "`a b` cannot be an item of ftrace_filter="),
        ("summary: it loses its callers", "summary: ''", "1:1: `summary` is one line"),
        ("kernels: [mips64-6.1, 'mips64el-*']", "kernels: []", "2:1: `kernels` is empty"),
        ("'mips64el-*'", "'mips64[el'", "2:24: `mips64[el` is not a valid glob"),
        (
            "kernels: [mips64-6.1,",
            "kernels: [mips46-6.1,",
            "2:11: no kernel of the catalogue matches `mips46-6.1`",
        ),
        ("because: the unwinder stops inside ftrace_caller", "because: ' '", "18:5: `because` is empty"),
        ("- ftrace: {}", "- ftrace: {only: ['a b']}", "`a b` cannot be an event"),
        ("known:", "console: [{name: ftrace, never: x}]\nknown:", "two claims are called `ftrace`"),
        ("known:", "console: [{name: quiet, never: ' '}]\nknown:", "`never` is empty"),
        ("repeat: 5", "status: 256", "`status` is 256, not within 0 and 255"),
        ("summary: it loses its callers", "summary: \"it \\e[31mloses\"", "U+001B, which cannot be seen"),
        ("because: the unwinder stops inside ftrace_caller", "because: \"a\\u202Eb\"", "U+202E, which"),
        ("repeat: 5", "timeout: soon", "`soon` is not a duration"),
        ("repeat: 5", "timeout: 3h", "`3h` is not within"),
        ("repeat: 5", "repeat: 5\n    repeat: 6", "duplicate"),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let message = fault(&GOOD.replacen(from, to, 1));
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn a_missing_scenario_names_the_closest_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tun")).unwrap();
    std::fs::write(folder.path().join("tun/perf_probe.yaml"), GOOD).unwrap();
    let error = Scenario::load(folder.path(), "tun/perf_prob", &KERNELS).unwrap_err();
    assert!(error.hint().unwrap().contains("`tun/perf_probe`"));
    assert_eq!(
        Scenario::load(folder.path(), "scenarios/tun/perf_probe.yaml", &KERNELS).unwrap().id,
        "tun/perf_probe"
    );
    // A file outside of the folder of scenarios is none of them.
    let inside = folder.path().join("tun");
    let outside = Scenario::load(&inside, "../tun/perf_probe", &KERNELS).unwrap_err();
    assert!(matches!(outside, ScenarioError::Unknown { .. }), "{outside:?}");
}
