use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::thread;

use super::*;
use kshot_stack::arch::Arch;

const PLACE: u64 = 0x8010_0000;
const VECTOR: u64 = 0x8000_0180;

/// A monitor that tells these events at once and gives these statuses when it is asked.
fn monitor(events: &[&str], statuses: &'static [&str], sender: Sender<MachineMessage>) -> Monitor {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let events: String = events.iter().map(|event| format!("{{\"event\": \"{event}\"}}\n")).collect();
    thread::spawn(move || {
        let mut statuses = statuses.iter();
        theirs.write_all(events.as_bytes()).unwrap();
        for line in BufReader::new(theirs.try_clone().unwrap()).lines() {
            let answer = match line.unwrap().contains("query-status") {
                true => json!({ "return": { "status": statuses.next().unwrap() } }),
                false => json!({ "return": {} }),
            };
            writeln!(theirs, "{answer}").unwrap();
        }
    });
    open(ours, MachineListener(sender)).unwrap()
}

fn registers(place: u64) -> Vec<u8> {
    let mut registers = vec!["0".repeat(16); 73];
    registers[32] = format!("{:016x}", 0x1400_00e1);
    registers[37] = format!("{place:016x}");
    registers.concat().into_bytes()
}

/// The registers of an architecture that leaves a breakpoint by a single step.
fn arm64_registers(place: u64) -> Vec<u8> {
    let program_counter = format!("{:016x}", place.swap_bytes());
    ["0".repeat(32 * 16), program_counter, "0".repeat(8)].concat().into_bytes()
}

/// What the monitor tells of one run: the guest is let go, stopped, let go, and stops.
const RUN: [&str; 4] = ["RESUME", "STOP", "RESUME", "STOP"];

/// Lets a guest that stands at `from` run to [`PLACE`], where it is to end if the monitor has a status; says
/// why it stands then, and what the stub was asked, without the values of registers.
fn ran(from: u64, answers: &[&[u8]], events: &[&str], statuses: &'static [&str]) -> (Stop, String) {
    ran_with(from, None, answers, events, statuses)
}

/// The same where the vector of traps may be known.
fn ran_with(
    from: u64,
    trap_vector: Option<u64>,
    answers: &[&[u8]],
    events: &[&str],
    statuses: &'static [&str],
) -> (Stop, String) {
    let registers = registers(from);
    let answers = [&[&*registers], answers].concat();
    ran_on(Arch::Mips64, &answers, events, statuses, |stops| {
        trap_vector.into_iter().for_each(|address| stops.set_trap_vector(address));
    })
}

/// The same on any architecture. The first of the answers has the registers of where the guest stands;
/// `prepare` is called before it runs.
fn ran_on(
    arch: Arch,
    answers: &[&[u8]],
    events: &[&str],
    statuses: &'static [&str],
    prepare: impl FnOnce(&mut Stops),
) -> (Stop, String) {
    let (ours, mut qemu) = UnixStream::pair().unwrap();
    for packet in answers {
        qemu.write_all(&[b"+", &framed(packet)[..]].concat()).unwrap();
    }
    let (sender, heard) = channel();
    let monitor = monitor(events, statuses, sender.clone());
    let stub = Stub::over(ours.try_clone().unwrap()).unwrap();
    let mut stops = Stops::over(stub, monitor, sender, heard, arch.row()).unwrap();
    prepare(&mut stops);
    if !statuses.is_empty() {
        stops.end_request().send();
    }
    let stop = stops.run_to(&[PLACE]).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let mut sent = String::new();
    qemu.read_to_string(&mut sent).unwrap();
    // Without checksums, which the codec has tests for.
    let packets = sent.split('$').skip(1).map(|packet| match packet.split_once('#') {
        Some((text, _)) if text.starts_with('G') => format!("G..{} ", &text[1 + 32 * 16..][..16]),
        Some((text, after)) => format!("{text}{} ", &after[2..]),
        None => packet.to_owned(),
    });
    (stop, packets.collect())
}

#[test]
fn nobody_is_attached_while_the_guest_runs_but_its_breakpoint_is_in() {
    let at = registers(PLACE);
    let (stop, sent) =
        ran(0, &[b"OK", b"OK", b"T05thread:p01.01;", &at], &[&["STOP"][..], &RUN].concat(), &[]);
    assert_eq!(stop, Stop::Hit);
    assert_eq!(sent, "g D;1++ Z1,80100000,4 c vAttach;1 g ");
}

#[test]
fn a_stop_for_another_reason_is_none_of_ours() {
    let (elsewhere, at) = (registers(PLACE + 8), registers(PLACE));
    let attached = b"T05thread:p01.01;";
    let answers: [&[u8]; 6] = [b"OK", b"OK", attached, &elsewhere, attached, &at];
    assert_eq!(ran(0, &answers, &[&RUN[..], &RUN[2..]].concat(), &[]).0, Stop::Hit);
}

#[test]
fn a_breakpoint_is_left_by_another_behind_it_with_interrupts_off() {
    let (at, behind) = (registers(PLACE), registers(PLACE + 4));
    // daddiu $sp, $sp, -0x40
    let answers: [&[u8]; 11] = [
        b"67bdffc0",
        b"OK",
        b"OK",
        b"OK",
        b"T05thread:p01.01;",
        &behind,
        b"OK",
        b"OK",
        b"OK",
        b"T05thread:p01.01;",
        &at,
    ];
    let (stop, sent) = ran(PLACE, &answers, &[RUN, RUN].concat(), &[]);
    assert_eq!(stop, Stop::Hit);
    assert_eq!(
        sent,
        "g m80100000,4 G..00000000140000e0 D;1++ Z1,80100004,4 c vAttach;1 g \
         G..00000000140000e1 D;1++ Z1,80100000,4 c vAttach;1 g "
    );
}

#[test]
fn a_breakpoint_at_a_no_operation_is_left_by_writing_the_program_counter() {
    let at = registers(PLACE);
    let answers: [&[u8]; 6] = [b"00000000", b"OK", b"OK", b"OK", b"T05thread:p01.01;", &at];
    let (stop, sent) = ran_with(PLACE, None, &answers, &RUN, &[]);
    assert_eq!(stop, Stop::Hit);
    // The packet's status is as it was.
    assert_eq!(sent, "g m80100000,4 G..00000000140000e1 D;1++ Z1,80100000,4 c vAttach;1 g ");
}

#[test]
fn a_guest_that_is_let_go_behind_a_breakpoint_gets_its_interrupts_back() {
    let behind = registers(PLACE + 4);
    let (ours, mut qemu) = UnixStream::pair().unwrap();
    // addiu $sp, $sp, -0x20
    let answers: [&[u8]; 9] =
        [&registers(PLACE), b"27bdffe0", b"OK", b"OK", b"OK", b"T05thread:p01.01;", &behind, b"OK", b"OK"];
    for packet in answers {
        qemu.write_all(&[b"+", &framed(packet)[..]].concat()).unwrap();
    }
    let (sender, heard) = channel();
    // The request to end comes while the guest leaves the breakpoint.
    EndRequest(sender.clone()).send();
    let monitor = monitor(&RUN, &[], sender.clone());
    let stub = Stub::over(ours.try_clone().unwrap()).unwrap();
    let mut stops = Stops::over(stub, monitor, sender, heard, Arch::Mips64.row()).unwrap();
    assert_eq!(stops.run_to(&[PLACE]).unwrap(), Stop::Ended);
    stops.release().unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let mut sent = String::new();
    qemu.read_to_string(&mut sent).unwrap();
    let written: Vec<_> = sent.split("$G").skip(1).map(|packet| &packet[32 * 16..][..16]).collect();
    assert_eq!(written, ["00000000140000e0", "00000000140000e1"]);
    assert!(sent.contains("$D#"), "{sent}");
}

#[test]
fn a_breakpoint_at_a_branch_is_left_by_a_single_step() {
    let (at, behind) = (registers(PLACE), registers(PLACE + 0x100));
    // b .+0x104
    let answers: [&[u8]; 8] =
        [b"10000040", b"OK", b"T05thread:p01.01;", &behind, b"OK", b"OK", b"T05thread:p01.01;", &at];
    let (stop, sent) = ran(PLACE, &answers, &[&RUN[2..], &RUN].concat(), &[]);
    assert_eq!(stop, Stop::Hit);
    assert_eq!(sent, "g m80100000,4 z1,80100000,4 s g D;1++ Z1,80100000,4 c vAttach;1 g ");
}

#[test]
fn a_step_that_ends_where_it_began_is_taken_again() {
    let (at, behind) = (arm64_registers(PLACE), arm64_registers(PLACE + 4));
    // b .+4
    let stepped: [&[u8]; 7] = [b"01000014", b"OK", b"T05", &at, b"T05", &behind, b"OK"];
    let answers: Vec<&[u8]> = [&[&at[..]], &stepped[..], &[b"OK", b"T05thread:p01.01;", &at]].concat();
    let events = [&RUN[2..], &RUN[2..], &RUN].concat();
    let (stop, sent) = ran_on(Arch::Arm64, &answers, &events, &[], |_| {});
    assert_eq!(stop, Stop::Hit);
    assert_eq!(sent, "g m80100000,4 z1,80100000,4 s g s g D;1++ Z1,80100000,4 c vAttach;1 g ");
}

#[test]
fn where_the_stub_does_not_tell_whether_interrupts_are_on_they_are_known_to_be_off_or_it_is_a_single_step() {
    let registers = |place: u64| format!("{}{:016x}", "0".repeat(32 * 16), place.swap_bytes()).into_bytes();
    let (at, behind) = (registers(PLACE), registers(PLACE + 2));
    // c.addi16sp sp, -48
    let [instruction, attached]: [&[u8]; 2] = [b"79710000", b"T05thread:p01.01;"];
    let run: [&[u8]; 4] = [b"OK", b"OK", attached, &at];
    let stepped = [&[&at[..], instruction, b"OK", b"T05", &behind], &run[..]].concat();
    let (_, sent) = ran_on(Arch::Riscv64, &stepped, &[&RUN[2..], &RUN].concat(), &[], |_| {});
    assert_eq!(sent, "g m80100000,4 z1,80100000,4 s g D;1++ Z1,80100000,4 c vAttach;1 g ");
    let passed = [&[&at[..], instruction, b"OK", b"OK", attached, &behind], &run[..]].concat();
    let (_, sent) = ran_on(Arch::Riscv64, &passed, &[RUN, RUN].concat(), &[], Stops::set_uninterrupted);
    assert_eq!(sent, "g m80100000,4 D;1++ Z1,80100002,4 c vAttach;1 g D;1++ Z1,80100000,4 c vAttach;1 g ");
}

#[test]
fn a_trap_whose_vector_is_known_is_left_by_a_breakpoint_there() {
    let (at, vector) = (registers(PLACE), registers(VECTOR));
    // break
    let answers: [&[u8]; 11] = [
        b"0000000d",
        b"OK",
        b"OK",
        b"OK",
        b"T05thread:p01.01;",
        &vector,
        b"OK",
        b"OK",
        b"OK",
        b"T05thread:p01.01;",
        &at,
    ];
    let (stop, sent) = ran_with(PLACE, Some(VECTOR), &answers, &[RUN, RUN].concat(), &[]);
    assert_eq!(stop, Stop::Hit);
    assert_eq!(
        sent,
        "g m80100000,4 G..00000000140000e0 D;1++ Z1,80000180,4 c vAttach;1 g \
         G..00000000140000e1 D;1++ Z1,80100000,4 c vAttach;1 g "
    );
}

#[test]
fn a_guest_that_is_stopped_on_request_stands_at_no_breakpoint_unless_it_was_hit_in_between() {
    for (statuses, stop) in [(&["paused"][..], Stop::Ended), (&["debug"], Stop::Hit)] {
        let answers: [&[u8]; 4] = [b"OK", b"OK", b"T05thread:p01.01;", &registers(PLACE)];
        assert_eq!(ran(0, &answers, &[], statuses).0, stop);
    }
}

#[test]
fn the_end_of_qemu_ends_the_wait() {
    let (ours, mut qemu) = UnixStream::pair().unwrap();
    for packet in [&registers(0)[..], b"OK", b"OK"] {
        qemu.write_all(&[b"+", &framed(packet)[..]].concat()).unwrap();
    }
    let (sender, heard) = channel();
    let (monitors, theirs) = UnixStream::pair().unwrap();
    (&theirs).write_all(b"{\"return\": {}}\n").unwrap();
    let monitor = open(monitors, MachineListener(sender.clone())).unwrap();
    let mut stops =
        Stops::over(Stub::over(ours).unwrap(), monitor, sender, heard, Arch::Mips64.row()).unwrap();
    drop(theirs);
    assert!(matches!(stops.run_to(&[PLACE]), Err(StubError::Gone)));
}
