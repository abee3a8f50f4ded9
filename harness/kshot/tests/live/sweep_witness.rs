//! gdb as an independent witness of a sweep: from the registers and the stacks that it kept, gdb sees the frames
//! that kshot tells.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::symbols::{End, LoadedKernel, Unwinder};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::gdb_json::HitFrame;
use kshot_stack::stack::gdb_raw::{self, RawHit};
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use super::common::Replica;
use super::{on_kernel, witness};

/// How many of the 20 slices are swept.
const SLICES: &str = "1";
/// The code of `arch/mips/kernel/mcount.S` that calls the tracer.
const TRAMPOLINE: &str = "ftrace_caller";

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let trial = |kernel: &'static str| {
        let test = |kernel: &Kernel| -> Result<(), Failed> {
            agree(kernel);
            Ok(())
        };
        let name = format!("sweep_witness::gdb_sees_each_frame_of_the_truths::{kernel}");
        on_kernel(workspace, catalogue, &name, kernel, test)
    };
    ["mips64-6.1", "mips64-6.1-fixed"].map(trial).into()
}

fn agree(kernel: &Kernel) {
    let replica = Replica::new();
    replica.run(&["sweep", &kernel.name, "--slices", SLICES, "--out", "runs"]);
    let folder = std::fs::read_dir(replica.path("runs")).unwrap().next().unwrap().unwrap().path();
    let hits = gdb_raw::parse(BufReader::new(File::open(folder.join("gdb.jsonl")).unwrap())).unwrap().raw;
    let loaded = LoadedKernel::from_run_folder(kernel.dwarf.as_ref().unwrap(), &folder);
    let (unwinder, row) = (Unwinder::read(&loaded).unwrap(), kernel.arch.row());

    let socket = replica.path("stub");
    let listener = UnixListener::bind(&socket).unwrap();
    let wanted = json!({
        "socket": socket,
        "stops": hits.len(),
        // `MCOUNT_SAVE_REGS`, as the row of the architecture has it.
        "trampoline": {
            "from": TRAMPOLINE, "to": "ftrace_stub", "size": 304, "pc": 31 * 8, "saved": { "ra": 8 },
            "same": ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "gp"],
        },
    });
    let served = hits.clone();
    // Nobody waits for this: a gdb that fails may never connect.
    thread::spawn(move || serve(listener.accept().unwrap().0, &served, row));
    let theirs: Vec<Vec<HitFrame>> = witness::ask(&loaded, wanted);
    assert_eq!(theirs.len(), hits.len());

    let unwound: Vec<_> = hits.iter().map(|raw| unwinder.unwind_tracer(raw, row)).collect();
    let tables = unwinder.line_tables(&loaded, unwound.iter().flat_map(|stack| &stack.frames)).unwrap();
    let lines = tables.lines().unwrap();
    let mut compared = 0;
    for (stack, theirs) in unwound.iter().zip(&theirs) {
        let ours = unwinder.frames(&stack.frames, &lines);
        // The trampoline's frame, and behind it those of the traced function and of its callers.
        let at = ours.iter().position(|frame| frame.function.as_deref() == Some(TRAMPOLINE)).unwrap();
        let their_at = theirs.iter().position(|frame| frame.pc == ours[at].pc).unwrap();
        let (ours, theirs) = (physical(&ours[at + 1..]), physical(&theirs[their_at + 1..]));
        // Out of an exception gdb finds at best the function that was interrupted: what has CFI there has one place
        // for that and for its return address.
        let is_exception =
            |frame: &HitFrame| frame.function.as_ref().is_some_and(|name| row.is_exception(name));
        let exception = ours.iter().position(is_exception);
        let end = exception.map_or(ours.len(), |at| at + 1);
        assert!(theirs.len() >= end, "{ours:#?}\n{theirs:#?}");
        if exception.is_none() && matches!(stack.end, End::Entry) {
            assert_eq!(ours.len(), theirs.len(), "{ours:#?}\n{theirs:#?}");
        }
        for (ours, theirs) in ours[..end].iter().zip(&theirs) {
            witness::same(ours, theirs, false);
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared} frames of {} stacks", hits.len());
}

/// The frames without those of inlined functions, and without source lines. gdb takes both from the delay slot of the
/// call, which may be another line's; they are compared where a scenario stops ([`witness`]).
fn physical(frames: &[HitFrame]) -> Vec<HitFrame> {
    let physical = frames.iter().filter(|frame| !frame.inlined);
    physical.map(|frame| HitFrame { file: None, line: None, ..frame.clone() }).collect()
}

/// Shows gdb the hits as stops of a guest, as QEMU's stub would.
fn serve(mut gdb: UnixStream, hits: &[RawHit], row: &ArchRow) {
    let mut reader = BufReader::new(gdb.try_clone().unwrap());
    let mut hit = &hits[0];
    loop {
        let mut packet = Vec::new();
        // The checksum is of no use on a socket.
        if reader.read_until(b'#', &mut packet).unwrap() == 0 || reader.read_exact(&mut [0; 2]).is_err() {
            return;
        }
        let text = String::from_utf8(packet).unwrap();
        let request = text.trim_start_matches(['+', '$']).trim_end_matches('#');
        let answer = match request.split_at_checked(1) {
            Some(("?", _)) => "T05".into(),
            Some(("g", "")) => registers(hit, row),
            Some(("m", span)) => memory(hit, span).unwrap_or_else(|| "E14".into()),
            Some(("D", _)) => "OK".into(),
            _ => match request.strip_prefix("qRcmd,") {
                Some(command) => {
                    let number = String::from_utf8(hex::decode(command).unwrap()).unwrap();
                    hit = &hits[number.parse::<usize>().unwrap()];
                    "OK".into()
                }
                None => String::new(),
            },
        };
        let sum = answer.bytes().fold(0_u8, u8::wrapping_add);
        gdb.write_all(format!("+${answer}#{sum:02x}").as_bytes()).unwrap();
    }
}

/// The answer to `g`. Registers that nobody kept are 0.
fn registers(hit: &RawHit, row: &ArchRow) -> String {
    let groups = row.registers.groups.iter().map(|group| group.count * group.bytes);
    let mut all = vec![0; groups.sum()];
    let mut set =
        |stub, value: u64| all[row.registers.range(stub).unwrap()].copy_from_slice(&value.to_be_bytes());
    set(row.registers.program_counter, hit.pc);
    for (dwarf, stub) in row.registers.unwinding.iter().flat_map(|mapping| mapping.numbers()) {
        let (_, value) = hit.registers.iter().find(|(number, _)| *number == dwarf).unwrap();
        set(stub, *value);
    }
    hex::encode(all)
}

/// The answer to `m ADDRESS,LENGTH`; `None` for what was not copied.
fn memory(hit: &RawHit, span: &str) -> Option<String> {
    let (address, length) = span.split_once(',')?;
    let (address, length) = (u64::from_str_radix(address, 16).ok()?, usize::from_str_radix(length, 16).ok()?);
    hit.stacks.iter().find_map(|stack| {
        let from = usize::try_from(address.checked_sub(stack.base)?).ok()?;
        stack.memory.get(from..from.checked_add(length)?).map(hex::encode)
    })
}
