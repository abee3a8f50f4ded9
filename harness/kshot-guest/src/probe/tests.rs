use std::fs::File;
use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::session::fake::FakeGuest;
use kshot_stack::blame::{Blame, Blamed};

fn perf(function: &str) -> ProbeSpec {
    let event = PerfEvent::Probe(function.into());
    ProbeSpec { name: "perf".into(), kind: ProbeKind::Perf(PerfProbe { event, call_graph: "dwarf".into() }) }
}

fn walk(spec: &ProbeSpec, guest: &mut FakeGuest) -> Vec<(String, CaptureContent)> {
    let folder = tempfile::tempdir().unwrap();
    spec.prepare(guest, folder.path()).unwrap();
    let armed = spec.arm(guest, None).unwrap();
    armed.stop(guest).unwrap();
    let captures = armed.fetch(guest, folder.path()).unwrap();
    assert!(captures.iter().all(|capture| capture.probe == spec.name && capture.path.exists()));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    captures.iter().map(|capture| (name(&capture.path), capture.content)).collect()
}

#[test]
fn ftrace_is_only_read_and_its_options_are_put_back() {
    let kind = ProbeKind::Ftrace(FtraceProbe { only: Vec::new(), instance: Some("it's".into()) });
    let mut guest = FakeGuest::answering(&[(0, ""), (0, ""), (0, "trace"), (0, "stats")]);
    let captures = walk(&ProbeSpec { name: "a/b".into(), kind }, &mut guest);
    assert_eq!(
        captures,
        [
            ("a%2fb.trace.txt".into(), CaptureContent::Stacks),
            ("a%2fb.trace-stats.txt".into(), CaptureContent::Supplement)
        ]
    );
    insta::assert_snapshot!("ftrace_scripts", guest.requests.join("\n----\n"));
}

#[test]
fn perf_is_got_ready_first_and_records_from_its_arming_on() {
    let mut guest = FakeGuest::answering(&[
        (0, ""),
        (0, ""),
        (0, "symbols"),
        (0, ""),
        (0, ""),
        (0, ""),
        (0, "data"),
        (0, "log"),
    ]);
    let captures = walk(&perf("register_netdevice"), &mut guest);
    let contents: Vec<_> = captures.iter().map(|(_, content)| *content).collect();
    assert_eq!(contents, [CaptureContent::Stacks, CaptureContent::Supplement]);
    insta::assert_snapshot!("perf_scripts", guest.requests.join("\n----\n"));
}

#[test]
fn symbols_are_brought_again_where_a_step_loaded_a_module() {
    let mut guest = FakeGuest::answering(&[
        (0, ""),
        (0, ""),
        (0, "before"),
        (0, ""),
        (0, "changed\n"),
        (0, "after"),
        (0, "data"),
        (0, "log"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let spec = perf("register_netdevice");
    spec.prepare(&mut guest, folder.path()).unwrap();
    assert_eq!(prepared_files(std::slice::from_ref(&spec)), ["perf.kallsyms.gz"]);
    let armed = spec.arm(&mut guest, None).unwrap();
    let captures = armed.fetch(&mut guest, folder.path()).unwrap();
    let mut text = String::new();
    let symbols = File::open(folder.path().join("perf.kallsyms.gz")).unwrap();
    GzDecoder::new(symbols).read_to_string(&mut text).unwrap();
    assert_eq!(text, "after");
    assert_eq!(spec.find_capture(folder.path()).as_slice(), &captures[..1]);
}

#[test]
fn what_is_done_in_the_guest_before_is_known_beforehand() {
    let preparation = |spec: &ProbeSpec| preparation(std::slice::from_ref(spec));
    let mut guest = FakeGuest::answering(&[(0, ""), (0, ""), (0, "symbols")]);
    let folder = tempfile::tempdir().unwrap();
    perf("register_netdevice").prepare(&mut guest, folder.path()).unwrap();
    assert_eq!(guest.requests.pop().unwrap(), "fetch /tmp/kshot-perf/kallsyms");
    assert_eq!(preparation(&perf("register_netdevice")), guest.requests.join("\n"));
    assert_ne!(preparation(&perf("register_netdevice")), preparation(&perf("tun_chr_ioctl")));
    let kind = ProbeKind::Ftrace(FtraceProbe { only: Vec::new(), instance: None });
    assert_eq!(preparation(&ProbeSpec { name: "ftrace".into(), kind }), "");
}

#[test]
fn a_function_name_cannot_leave_its_quotes() {
    let mut guest = FakeGuest::answering(&[(1, "")]);
    perf("x'; reboot; '").prepare(&mut guest, Path::new("")).unwrap_err();
    let [script] = guest.requests.as_slice() else { panic!("{:?}", guest.requests) };
    let quoted = r"kprobe='p:probe/x___reboot___ x'\''; reboot; '\'''";
    let (before, after) = script.split_once(quoted).unwrap();
    assert!(!before.contains("reboot;") && !after.contains("reboot;"), "{script}");
}

#[test]
fn a_kprobe_is_named_after_its_function_without_the_compilers_suffix() {
    for (function, name) in [
        ("register_netdevice", "register_netdevice"),
        ("__netif_receive_skb_core.constprop.0", "__netif_receive_skb_core"),
        (".do_fork", "do_fork"),
        ("a$b", "a_b"),
    ] {
        assert_eq!(perf::kprobe_name(function), name);
    }
}

#[test]
fn what_the_kernel_says_against_a_function_is_quoted_without_escape_codes() {
    let said = "sh: write error: No such file or directory\n[   8.20] \x1b[31mtrace_kprobe: error: Failed to register probe event\x1b[0m\n";
    let mut guest = FakeGuest::answering(&[(1, said)]);
    let error = perf("no_such_function").prepare(&mut guest, Path::new("")).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    assert_eq!(
        error.to_string(),
        "probe perf: making the kprobe of probe:no_such_function failed with status 1: \
         sh: write error: No such file or directory; [   8.20] trace_kprobe: error: Failed to register probe event"
    );
}

#[test]
fn a_guest_without_perf_says_so() {
    let mut guest = FakeGuest::answering(&[(0, ""), (127, "sh: perf: not found\n")]);
    let error = perf("register_netdevice").prepare(&mut guest, Path::new("")).unwrap_err();
    assert!(error.to_string().ends_with("failed with status 127: sh: perf: not found"), "{error}");
    assert!(error.hint().unwrap().contains("kshot cache userland --prune"));
}

#[test]
fn a_kprobe_is_removed_only_after_its_records_were_read() {
    let event = KprobeEvent {
        definition: "p:probe/rn register_netdevice".into(),
        group: "probe".into(),
        name: "rn".into(),
    };
    for (stacktrace, name) in [(Stacktrace::Trigger, "trigger"), (Stacktrace::Option, "option")] {
        let kind = ProbeKind::Kprobe(KprobeProbe { event: event.clone(), stacktrace });
        let mut guest =
            FakeGuest::answering(&[(0, ""), (0, ""), (0, ""), (0, "trace"), (0, "stats"), (0, ""), (0, "")]);
        walk(&ProbeSpec { name: "kprobe".into(), kind }, &mut guest);
        let ours = [&guest.requests[0], guest.requests.last().unwrap()].map(String::as_str);
        insta::assert_snapshot!(format!("kprobe_{name}_scripts"), ours.join("\n----\n"));
    }
}

#[test]
fn a_name_of_several_functions_is_refused_by_each_probe_that_is_at_one() {
    let symbols = "ffffffff80100000 t show\nffffffff80200000 t show\n";
    let bpf = BpfProbe { hook: BpfHook::Kprobe, target: "show".into(), helper: BpfHelper::GetStack };
    let bpf = ProbeSpec { name: "bpf".into(), kind: ProbeKind::Bpf(bpf) };
    for (spec, answers) in
        [(perf("show"), &[(0, ""), (0, ""), (0, symbols)][..]), (bpf, &[(0, ""), (0, symbols)])]
    {
        let folder = tempfile::tempdir().unwrap();
        let error = spec.prepare(&mut FakeGuest::answering(answers), folder.path()).unwrap_err();
        let ProbeError::Ambiguous { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.starts, [0xffff_ffff_8010_0000, 0xffff_ffff_8020_0000]);
        assert_eq!(error.blame(), Blame::Guest);
        assert!(error.hint().unwrap().starts_with("probe a function with a unique name"));
    }
}

#[test]
fn a_name_of_several_functions_is_refused_before_the_boot_where_the_symbols_are_at_hand() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind/same-name.elf");
    let gdb = |function: &str| {
        let kind =
            ProbeKind::Gdb(TruthProbe { function: function.into(), hits: 1, task: None, traced: false });
        ProbeSpec { name: "gdb".into(), kind }
    };
    let kprobe = |definition: &str| {
        let event = KprobeEvent { definition: definition.into(), group: "probe".into(), name: "rn".into() };
        let kind = ProbeKind::Kprobe(KprobeProbe { event, stacktrace: Stacktrace::Trigger });
        ProbeSpec { name: "kprobe".into(), kind }
    };
    let check = |spec: ProbeSpec| check_functions(&[perf("recursing"), spec], Path::new(file));
    for one in [gdb("recursing"), kprobe("p:probe/rn tun:middle"), kprobe("p:probe/rn 0xffffffff80100054")] {
        check(one).unwrap();
    }
    for several in
        [gdb("middle"), perf("middle"), kprobe("p:probe/rn middle+4 %ra"), kprobe("r4:probe/rn middle")]
    {
        let name = several.name.clone();
        let Err(ProbeError::Ambiguous { probe, source }) = check(several) else { panic!("{name}") };
        assert_eq!((probe, source.function.as_str()), (name, "middle"));
    }
}

#[test]
fn a_bpf_program_is_armed_when_it_says_so_and_ends_by_a_signal() {
    let kind = ProbeKind::Bpf(BpfProbe {
        hook: BpfHook::Fentry,
        target: "vfs_mkdir".into(),
        helper: BpfHelper::GetStack,
    });
    let answers = [(0, ""), (0, "symbols"), (0, ""), (0, ""), (0, "7 mkdir\n"), (0, "own"), (0, "")];
    let mut guest = FakeGuest::answering(&answers);
    let captures = walk(&ProbeSpec { name: "bpf".into(), kind }, &mut guest);
    assert_eq!(
        captures,
        [
            ("bpf.bpf.txt".into(), CaptureContent::Stacks),
            ("bpf.bpf-kallsyms.txt".into(), CaptureContent::Supplement)
        ]
    );
    insta::assert_snapshot!("bpf_scripts", guest.requests.join("\n----\n"));
}

#[test]
fn a_kernel_without_a_bpf_hook_says_why() {
    let kind = ProbeKind::Bpf(BpfProbe {
        hook: BpfHook::Fexit,
        target: "tun_chr_open".into(),
        helper: BpfHelper::GetStackId,
    });
    let said = "bpf_stacks: /sys/kernel/btf/vmlinux has no function tun_chr_open\n";
    let mut guest = FakeGuest::answering(&[(1, said)]);
    let error = ProbeSpec { name: "bpf".into(), kind }.arm(&mut guest, None).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().ends_with("has no function tun_chr_open"), "{error}");
}

#[test]
fn without_dwarf_the_truth_is_refused_and_says_why() {
    let kind = ProbeKind::Gdb(TruthProbe { function: "f".into(), hits: 1, task: None, traced: false });
    let mut guest = FakeGuest::default();
    let error = ProbeSpec { name: "gdb".into(), kind }.arm(&mut guest, None).unwrap_err();
    assert_eq!(error.to_string(), "probe gdb: there is no DWARF of this kernel to unwind with");
    assert!(guest.requests.is_empty());
}
