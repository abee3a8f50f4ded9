use gimli::{EndianSlice, Format, RunTimeEndian};

use super::*;
use kshot_stack::arch::Arch;
use kshot_stack::stack::gdb_raw::StackCopy;

const STACK: u64 = 0xffff_8000_0a00_0000;
const TASK_STACK: u64 = 0xffff_8000_0b00_0000;
const CODE: u64 = 0xffff_8000_0801_0000;

fn cursor(registers: &[(u16, u64)]) -> Cursor {
    let mut cursor =
        Cursor { pc: CODE, is_return_address: true, user: false, registers: [None; REGISTERS], cfa: None };
    for &(register, value) in registers {
        cursor.registers[usize::from(register)] = Some(value);
    }
    cursor
}

/// Stacks of words that count from 0, but for some, by their offset in bytes.
fn raw(arch: Arch, stacks: &[(u64, &[(usize, u64)])]) -> RawHit {
    let copy = |&(base, words): &(u64, &[(usize, u64)])| {
        let mut all: Vec<u64> = (0..64).collect();
        words.iter().for_each(|&(offset, word)| all[offset / 8] = word);
        let bytes = |word: u64| if arch.row().big_endian { word.to_be_bytes() } else { word.to_le_bytes() };
        StackCopy { base, memory: all.into_iter().flat_map(bytes).collect() }
    };
    RawHit { stacks: stacks.iter().map(copy).collect(), ..RawHit::default() }
}

fn out_of(arch: Arch, label: &str, cursor: &Cursor, raw: &RawHit) -> Result<Cursor, Cut> {
    cursor.out_of(arch.row().assembly_frames(label).next().unwrap(), raw, arch.row())
}

#[test]
fn an_exception_goes_on_at_the_very_place_that_it_interrupted() {
    let raw = raw(Arch::Arm64, &[(STACK, &[(248, STACK + 400), (256, CODE + 4)])]);
    let caller = out_of(Arch::Arm64, "el1h_64_irq", &cursor(&[(31, STACK)]), &raw).unwrap();
    assert_eq!((caller.pc, caller.is_return_address, caller.user), (CODE + 4, false, false));
    let registers = [31, 19, 30].map(|register| caller.register(Register(register)).unwrap());
    assert_eq!(registers, [STACK + 400, 19, 30], "sp, x19 and x30 of struct pt_regs");
}

#[test]
fn where_addresses_do_not_tell_a_bit_tells_user_space() {
    for (mask, user) in [(1 << 48, true), (0, false)] {
        let raw = raw(Arch::S390x, &[(STACK, &[(168, mask), (176, 0x1000), (304, STACK + 360)])]);
        let caller = out_of(Arch::S390x, "io_int_handler", &cursor(&[(15, STACK)]), &raw).unwrap();
        assert_eq!((caller.pc, caller.user), (0x1000, user));
    }
}

#[test]
fn where_kernels_save_registers_at_different_places_a_marker_tells_which() {
    let row = Arch::Ppc64el.row();
    for (marker, registers) in [(96, 112), (32, 48)] {
        let words = [
            (marker, 0x5347_4552),
            (registers + 8, STACK + 400),
            (registers + 256, CODE + 4),
            (registers + 264, 0),
            (registers + 288, CODE + 8),
        ];
        let raw = raw(Arch::Ppc64el, &[(STACK, &words)]);
        let cursor = cursor(&[(1, STACK)]);
        let frames = || row.assembly_frames("data_access_common_virt");
        let code: Vec<_> = frames().filter(|code| cursor.is_marked(code, &raw, row)).collect();
        assert_eq!((code.len(), frames().count()), (1, 2));
        let caller = cursor.out_of(code[0], &raw, row).unwrap();
        assert_eq!((caller.pc, caller.is_return_address, caller.user), (CODE + 4, false, false));
        let registers = [1, 14, 65].map(|register| caller.register(Register(register)).unwrap());
        assert_eq!(registers, [STACK + 400, (words[0].0 as u64 + 16) / 8 + 14, CODE + 8]);
    }
    let nothing = raw(Arch::Ppc64el, &[(STACK, &[])]);
    assert!(
        !row.assembly_frames("data_access_common_virt")
            .any(|code| cursor(&[(1, STACK)]).is_marked(code, &nothing, row))
    );
}

#[test]
fn a_frame_where_other_versions_switch_stacks_is_no_switch() {
    let (top, row) = (STACK + 160, Arch::Ppc64el.row());
    let mut raw = raw(Arch::Ppc64el, &[(STACK, &[(160, STACK + 240)]), (TASK_STACK, &[])]);
    raw.tops = vec![top];
    let register = |raw: &RawHit| cursor(&[(1, top)]).switched(raw, row).unwrap().register(Register(1));
    assert_eq!(register(&raw), Some(top));
    raw.stacks[0].memory[160..168].copy_from_slice(&TASK_STACK.to_le_bytes());
    assert_eq!(register(&raw), Some(TASK_STACK));
}

#[test]
fn a_stack_that_was_switched_is_followed_once_it_is_read() {
    let frame = (TASK_STACK, &[(0, TASK_STACK + 64), (8, CODE + 8)][..]);
    let cursor = cursor(&[(31, STACK + 512), (29, TASK_STACK)]);
    let switch = |raw: &RawHit| out_of(Arch::Arm64, "call_on_irq_stack", &cursor, raw);
    assert_eq!(switch(&raw(Arch::Arm64, &[(STACK, &[])])).unwrap_err(), Cut::OtherStack(TASK_STACK));
    let caller = switch(&raw(Arch::Arm64, &[(STACK, &[]), frame])).unwrap();
    assert_eq!((caller.pc, caller.is_return_address), (CODE + 8, true));
    assert_eq!(caller.register(Register(31)), Some(TASK_STACK + 16));
    assert_eq!(caller.register(Register(29)), Some(TASK_STACK + 64));
}

#[test]
fn a_frame_record_below_its_pointer_is_read_with_the_other_stack() {
    // riscv64's s0 points behind the pair that call_on_irq_stack saves.
    let (s0, pair) = (TASK_STACK + 16, [(0, TASK_STACK + 64), (8, CODE + 8)]);
    let cursor = cursor(&[(2, STACK + 512), (8, s0)]);
    let switch = |raw: &RawHit| out_of(Arch::Riscv64, "call_on_irq_stack", &cursor, raw);
    assert_eq!(switch(&raw(Arch::Riscv64, &[(STACK, &[])])).unwrap_err(), Cut::OtherStack(TASK_STACK));
    let caller = switch(&raw(Arch::Riscv64, &[(STACK, &[]), (TASK_STACK, &pair)])).unwrap();
    assert_eq!((caller.pc, caller.is_return_address), (CODE + 8, true));
    assert_eq!([2, 8].map(|register| caller.register(Register(register))), [Some(s0), Some(TASK_STACK + 64)]);
}

#[test]
fn the_word_at_the_top_of_a_stack_is_the_stack_pointer_from_before() {
    let top = STACK + 504;
    let row = Arch::X8664.row();
    let at = |address| cursor(&[(7, address)]);
    let mut raw = raw(Arch::X8664, &[(STACK, &[(504, TASK_STACK)])]);
    raw.tops = vec![top];
    assert_eq!(at(top).switched(&raw, row).unwrap_err(), Cut::OtherStack(TASK_STACK));
    raw.stacks.push(StackCopy { base: TASK_STACK, memory: vec![0; 8] });
    let register = |cursor: Cursor| cursor.register(Register(7));
    assert_eq!(register(at(top).switched(&raw, row).unwrap()), Some(TASK_STACK));
    assert_eq!(register(at(top - 8).switched(&raw, row).unwrap()), Some(top - 8));
}

#[test]
fn a_back_chain_tells_the_frame_of_the_function_that_switched() {
    let (top, row) = (STACK + 160, Arch::S390x.row());
    let mut raw = raw(Arch::S390x, &[(STACK, &[(160 + 152, TASK_STACK)]), (TASK_STACK, &[])]);
    raw.tops = vec![top];
    let cursor = cursor(&[(15, top)]).switched(&raw, row).unwrap();
    assert_eq!((cursor.cfa, cursor.register(Register(15))), (Some(TASK_STACK + 160), Some(top)));
}

#[test]
fn an_expression_is_evaluated_on_registers_and_the_stack() {
    let raw = raw(Arch::X8664, &[(STACK, &[(8, TASK_STACK)])]);
    let encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };
    let result = |program: &[u8], stack: &[u64]| {
        let expression = Expression(EndianSlice::new(program, RunTimeEndian::Little));
        cursor(&[(6, STACK + 16)]).evaluate(expression, encoding, stack, &raw, Arch::X8664.row())
    };
    // DW_OP_breg6 -8, DW_OP_deref: what GCC writes for the frame of a function that aligns its stack.
    assert_eq!(result(&[0x76, 0x78, 0x06], &[]), Ok(TASK_STACK));
    // DW_OP_plus_uconst 3.
    assert_eq!(result(&[0x23, 3], &[39]), Ok(42));
    assert_eq!(result(&[0x73, 0], &[]), Err(Cut::OtherMemory), "DW_OP_breg3: not known");
    assert_eq!(result(&[0x2f, 0xfd, 0xff], &[]), Err(Cut::UnknownRule), "DW_OP_skip -3: it has no end");
}
