use super::*;
use kshot_stack::arch::Arch;
use kshot_stack::stack::gdb_raw::{Returns, StackCopy};

const STACK_POINTER: u16 = 29;
const RETURN_ADDRESS: u16 = 31;
const BASE: u64 = 0x9800_0000_0100_0000;
/// Behind the prologue of `recursing`.
const RECURSING: u64 = 0xffff_ffff_8010_0018;
/// Where the calls return to.
const IN_RECURSING: u64 = 0xffff_ffff_8010_003c;
const IN_MIDDLE: u64 = 0xffff_ffff_8010_0078;
const IN_START_KERNEL: u64 = 0xffff_ffff_8010_00a0;

fn unwinder() -> Unwinder {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind/frames.elf");
    Unwinder::read(&LoadedKernel { vmlinux: file.into(), offset: 0, modules: Vec::new() }).unwrap()
}

/// What a processor at `pc` has on its stack.
fn raw(pc: u64, return_address: u64, stack: &[u64]) -> RawHit {
    let memory = stack.iter().flat_map(|word| word.to_be_bytes()).collect();
    let registers = vec![(STACK_POINTER, BASE), (RETURN_ADDRESS, return_address)];
    RawHit { number: 1, pc, registers, stacks: vec![StackCopy { base: BASE, memory }], ..RawHit::default() }
}

fn told(raw: &RawHit) -> (Vec<String>, String) {
    let UnwoundStack { frames, end } = unwinder().unwind(raw, Arch::Mips64.row());
    let name = |physical: &PhysicalFrame| {
        let frame = &physical.frame;
        format!("{}+{:#x}", frame.symbol.as_deref().unwrap_or("?"), frame.offset.unwrap_or_default())
    };
    (frames.iter().map(name).collect(), end.to_string())
}

#[test]
fn a_stack_is_followed_by_the_rules_of_each_function_to_its_entry() {
    // The frames of `recursing` twice, of `middle` and of `start_kernel`, which ends stacks.
    let middle = [&[0; 9][..], &[IN_START_KERNEL]].concat();
    let stack = [&[7, IN_RECURSING, 8, IN_MIDDLE][..], &middle, &[0; 4]].concat();
    let (frames, end) = told(&raw(RECURSING, 0, &stack));
    assert_eq!(frames, ["recursing+0xc", "recursing+0x30", "middle+0x24", "start_kernel+0x18"]);
    assert_eq!(end, "a system-call or thread entry");
}

#[test]
fn rules_that_are_compressed_are_the_same_rules() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind");
    let raw = raw(RECURSING, 0, &[7, IN_RECURSING, 8, IN_MIDDLE, 0, 0]);
    let told = |name: &str| {
        let loaded =
            LoadedKernel { vmlinux: format!("{folder}/{name}").into(), offset: 0, modules: Vec::new() };
        Unwinder::read(&loaded).unwrap().unwind(&raw, Arch::Mips64.row())
    };
    let plain = told("frames.elf");
    assert_eq!(plain.frames.len(), 3);
    assert_eq!(told("zlib.elf"), plain);
    assert_eq!(told("zstd.elf"), plain);
}

#[test]
fn a_kernel_that_was_moved_has_the_same_stacks_elsewhere() {
    const OFFSET: u64 = 0x3ffe_0000;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind/frames.elf");
    let loaded = LoadedKernel { vmlinux: file.into(), offset: OFFSET, modules: Vec::new() };
    let unwind = |unwinder: &Unwinder, offset: u64| {
        let stack = [7, IN_RECURSING + offset, 8, IN_MIDDLE + offset, 0, 0];
        unwinder.unwind(&raw(RECURSING + offset, 0, &stack), Arch::Mips64.row())
    };
    let moved = Unwinder::read(&loaded).unwrap();
    let (here, there) = (unwind(&unwinder(), 0), unwind(&moved, OFFSET));
    assert_eq!(here.frames.len(), 3);
    for (here, there) in here.frames.iter().zip(&there.frames) {
        assert_eq!(there.frame.address, here.frame.address.map(|address| address + OFFSET));
        assert_eq!((&there.frame.symbol, there.frame.offset), (&here.frame.symbol, here.frame.offset));
    }
    assert_eq!((there.frames.len(), &there.end), (3, &here.end));
    // Its source lines are found, too.
    let lines = |unwinder: &Unwinder, loaded: &LoadedKernel, stack: &UnwoundStack| {
        let tables = unwinder.line_tables(loaded, stack.frames.iter()).unwrap();
        let frames = unwinder.frames(&stack.frames, &tables.lines().unwrap());
        frames.into_iter().map(|frame| (frame.function, frame.file, frame.line)).collect::<Vec<_>>()
    };
    let linked = LoadedKernel { offset: 0, ..loaded.clone() };
    assert_eq!(lines(&moved, &loaded, &there), lines(&unwinder(), &linked, &here));
}

#[test]
fn at_its_first_byte_a_function_has_saved_nothing_yet() {
    let (frames, end) = told(&raw(0xffff_ffff_8010_0054, IN_START_KERNEL, &[0; 4]));
    assert_eq!(
        (frames.join(" "), &*end),
        ("middle+0x0 start_kernel+0x18".into(), "a system-call or thread entry")
    );
}

#[test]
fn the_first_label_of_entry_code_is_no_return_address_and_one_behind_a_call_is() {
    let mut unwinder = unwinder();
    let label = 0xffff_ffff_8030_0000;
    let function = |start, name: &str| Function { start, size: 0x40, st_other: 0, name: name.into() };
    unwinder.functions.push(function(label, "ret_fast_syscall"));
    let row = Arch::Armhf.row();
    assert!(unwinder.begins_entry(label, row), "in front of it is nothing");
    assert!(!unwinder.begins_entry(label + 4, row));
    let at = unwinder.functions.len() - 1;
    unwinder.functions.insert(at, function(label - 0x40, "other"));
    assert!(unwinder.begins_entry(label, row), "nor a call of entry code's");
    unwinder.functions[at] = function(label - 0x40, "ret_from_fork");
    assert!(!unwinder.begins_entry(label, row));
}

#[test]
fn assembly_code_that_waits_for_interrupts_is_left_by_its_return_address() {
    let mut unwinder = unwinder();
    let (idle, caller) = (0xffff_ffff_8030_0000, IN_START_KERNEL);
    unwinder.functions.push(Function { start: idle, size: 0x40, st_other: 0, name: "psw_idle".into() });
    let row = Arch::S390x.row();
    let registers = vec![(row.stack_pointer, BASE), (row.return_address, caller)];
    let raw = RawHit { registers, ..raw(idle + 0x3c, 0, &[]) };
    let unwound = unwinder.unwind(&raw, row);
    assert_eq!(unwound.frames[1].frame.address, Some(caller));
    assert!(unwound.frames[1].is_return_address);
}

#[test]
fn where_a_call_pushes_its_return_address_such_code_is_left_by_the_stack() {
    let mut unwinder = unwinder();
    let (copies, caller) = (0xffff_ffff_8030_0000, IN_START_KERNEL);
    let function = Function { start: copies, size: 0x40, st_other: 0, name: "rep_movs_alternative".into() };
    unwinder.functions.push(function);
    let row = Arch::X8664.row();
    assert!(Arch::all().all(|arch| arch.row().call_pushes() == (arch == Arch::X8664)));
    let stack = |words: &[u64]| {
        let memory = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let registers = vec![(row.stack_pointer, BASE)];
        let stacks = vec![StackCopy { base: BASE, memory }];
        unwinder.unwind(&RawHit { registers, stacks, ..raw(copies + 0x3c, 0, &[]) }, row)
    };
    let unwound = stack(&[caller, 7]);
    assert_eq!(unwound.frames[1].frame.address, Some(caller));
    assert!(unwound.frames[1].is_return_address);
    let unwound = stack(&[]);
    assert_eq!(unwound.frames.len(), 1);
    assert!(matches!(unwound.end, End::Cut { why: Cut::OtherMemory, .. }), "{}", unwound.end);
}

#[test]
fn what_cannot_be_told_is_said() {
    let end = |raw: &RawHit| told(raw).1;
    assert_eq!(end(&raw(RECURSING, 0, &[7])), "cut at recursing: CFI leads out of the stack");
    assert_eq!(end(&raw(0xffff_ffff_8020_0000, 0, &[])), "cut at 0xffffffff80200000: no CFI");
    let outside = end(&raw(RECURSING, 0, &[7, 0x1_2000_0000]));
    assert_eq!(outside, "cut at recursing: CFI leads out of the kernel", "user space calls entries alone");
    let own = 0xffff_ffff_8010_0001;
    assert_eq!(end(&raw(own, own, &[])), "cut at leaf: CFI leads back to the same frame");
    let endless: Vec<u64> = [7, IN_RECURSING].repeat(2 * DEEPEST_STACK);
    let (frames, end) = told(&raw(RECURSING, 0, &endless));
    assert_eq!(frames.len(), DEEPEST_STACK);
    assert!(end.ends_with("more frames than any stack has"), "{end}");
}

#[test]
fn a_module_without_dwarf_cuts_the_truth_and_is_named() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind");
    // Where `middle` of the module calls `recursing`, which is the kernel's here.
    const TEXT: u64 = 0xffff_ffff_c000_0000;
    let end = |name: &str| {
        let module = LoadedModule {
            name: "frames".into(),
            path: format!("{folder}/{name}").into(),
            sections: [(".text".to_owned(), TEXT)].into(),
        };
        let loaded =
            LoadedKernel { vmlinux: format!("{folder}/frames.elf").into(), offset: 0, modules: vec![module] };
        let middle = [&[0; 9][..], &[IN_START_KERNEL]].concat();
        let stack = [&[7, TEXT + IN_MIDDLE % 0x10_0000][..], &middle, &[0; 4]].concat();
        let unwound = Unwinder::read(&loaded).unwrap().unwind(&raw(RECURSING, 0, &stack), Arch::Mips64.row());
        (unwound.frames.len(), unwound.end.to_string())
    };
    assert_eq!(end("module.ko"), (3, "a system-call or thread entry".into()));
    let cut = |at: &str| (2, format!("cut at {at} [frames]: its module has no DWARF"));
    assert_eq!(end("module-strip-debug.ko"), cut("middle"));
    assert_eq!(end("module-discard-all.ko"), cut("0xffffffffc0000078"));
}

#[test]
fn the_real_return_address_takes_the_place_of_a_trampoline() {
    let (probe, graph) = (0xffff_ffff_8011_0000, 0xffff_ffff_8012_0000);
    let mut unwinder = unwinder();
    unwinder.trampolines = vec![(probe, ReturnTrampoline::Kretprobe), (graph, ReturnTrampoline::Graph)];
    // `recursing` returns to the trampoline of a probe twice, `middle` to start_kernel.
    let middle = [&[0; 9][..], &[IN_START_KERNEL]].concat();
    let mut raw = raw(RECURSING, 0, &[&[7, probe, 8, probe][..], &middle, &[0; 4]].concat());
    let unwound = unwinder.unwind(&raw, Arch::Mips64.row());
    assert_eq!(unwound.end, End::Cut { at: "recursing".into(), why: Cut::Returns(probe) });
    // Of the inner call the function-graph tracer had the address before the probe, the outer one has two
    // probes.
    raw.returns = vec![
        Returns { trampoline: probe, addresses: vec![graph, probe, IN_MIDDLE] },
        Returns { trampoline: graph, addresses: vec![IN_RECURSING] },
    ];
    let unwound = unwinder.unwind(&raw, Arch::Mips64.row());
    let frames: Vec<_> = unwound.frames.iter().map(|physical| physical.frame.address.unwrap()).collect();
    assert_eq!(
        (frames, unwound.end),
        (vec![RECURSING, IN_RECURSING, IN_MIDDLE, IN_START_KERNEL], End::Entry)
    );
    raw.returns[0].addresses.pop();
    let unwound = unwinder.unwind(&raw, Arch::Mips64.row());
    assert_eq!(unwound.end, End::Cut { at: "recursing".into(), why: Cut::NoReturnAddress });
}

#[test]
fn a_copied_trampoline_leads_to_the_traced_function() {
    // `recursing` in the tracer's place, called by code that no symbol table lists; what that saved as
    // `ftrace_caller` does: the return address of `middle`, and the place in it.
    let (copy, in_middle) = (0xffff_ffff_c000_0100, 0xffff_ffff_8010_0058);
    let mut saved = [0; 38];
    (saved[1], saved[31]) = (IN_START_KERNEL, in_middle);
    let raw = raw(RECURSING, 0, &[&[7, copy][..], &saved, &[0; 4]].concat());
    let traced = unwinder().unwind_traced(&raw, Arch::Mips64.row());
    let names: Vec<String> = traced.iter().map(Frame::name).collect();
    assert_eq!(names, ["middle", "start_kernel"]);
    // Elsewhere such code may be anything.
    let (frames, end) = told(&raw);
    assert_eq!((frames.len(), &*end), (2, "cut at 0xffffffffc0000100: no CFI"));
}

#[test]
fn a_label_names_code_that_no_sized_function_holds() {
    let of = |start, size, name: &str| Function { start, size, st_other: 0, name: name.into() };
    let sized = vec![of(0x100, 0x40, "handle_sys"), of(0x200, 0, "syscall_exit")];
    let labels = vec![of(0x120, 0, "syscall_common"), of(0x200, 0, "same"), of(0x240, 0, "work_notifysig")];
    let expected =
        [of(0x100, 0x40, "handle_sys"), of(0x200, 0x40, "syscall_exit"), of(0x240, 0, "work_notifysig")];
    assert_eq!(functions(sized, labels), expected);
}

#[test]
fn callers_enter_where_the_symbol_says_on_power_alone() {
    // readelf shows the last two as `<localentry>: 8`, one of them as HIDDEN.
    let symbols = [0x00, 0x20, 0x60, 0x62];
    assert_eq!(symbols.map(|other| Arch::Ppc64el.row().entry_offset(other)), [0, 0, 8, 8]);
    assert_eq!(symbols.map(|other| Arch::Mips64.row().entry_offset(other)), [0; 4]);
}
