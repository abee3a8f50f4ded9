use super::*;
use kshot_stack::arch::Arch;

/// A stub whose QEMU has said this, and hangs up then.
fn stub(said: &[u8]) -> (Stub, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // More than the socket holds would wait for a reader.
    assert!(said.len() < 100 << 10);
    theirs.write_all(said).unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    (Stub::over(ours).unwrap(), theirs)
}

/// Each text as an answer: acknowledgement and packet.
fn answers(texts: &[&[u8]]) -> Vec<u8> {
    texts.iter().flat_map(|text| [b"+".to_vec(), framed(text)].concat()).collect()
}

#[test]
fn an_answer_that_is_not_the_wanted_one_is_quoted_with_what_was_asked() {
    let (mut stub, _qemu) = stub(&answers(&[b"OK", b"E22"]));
    stub.tell(b"Z1,80100000,4", b"OK").unwrap();
    let error = stub.tell(b"Z1,80100000,4", b"OK").unwrap_err();
    assert_eq!(error.to_string(), "QEMU's gdb stub answers `Z1,80100000,4` with \"E22\"");
}

#[test]
fn memory_comes_in_packets_that_are_asked_for_at_once() {
    let (first, second) = (hex::encode([1; 2048]), hex::encode([2; 952]));
    let (mut stub, mut qemu) = stub(&answers(&[first.as_bytes(), second.as_bytes()]));
    let memory = stub.memory(&[Span { address: 0xffff_ffff_8010_0000, length: 3000 }]).unwrap();
    assert_eq!((memory[0].len(), memory[0][2047], memory[0][2048]), (3000, 1, 2));
    drop(stub);
    let mut asked = String::new();
    qemu.read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "$mffffffff80100000,800#ea$mffffffff80100800,3b8#27");
}

#[test]
fn memory_that_is_not_there_or_of_another_length_is_none() {
    for answer in [&b"E14"[..], b"", b"00", b"0000000g", b"0000000000"] {
        let (mut stub, _qemu) = stub(&answers(&[answer]));
        let error = stub.memory(&[Span { address: 0x1000, length: 4 }]).unwrap_err();
        assert!(error.to_string().starts_with("QEMU's gdb stub answers `m1000,4` with "), "{error}");
    }
}

/// The next of a fixed series of numbers (Marsaglia's xorshift).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % 1_000_003).unwrap()
}

/// Bytes changed, left out, doubled, and cut.
fn mutated(said: &[u8], state: &mut u64) -> Vec<u8> {
    let mut said = said.to_vec();
    for _ in 0..=next(state) % 4 {
        let at = next(state) % said.len().max(1);
        match next(state) % 5 {
            _ if said.is_empty() => {}
            0 => said[at] = u8::try_from(next(state) % 256).unwrap(),
            1 => said[at] = b"+-$#}*0fOKET"[next(state) % 12],
            2 => drop(said.remove(at)),
            3 => said.extend_from_within(at..(at + next(state) % 64).min(said.len())),
            _ => said.truncate(at),
        }
    }
    said
}

#[test]
fn no_answer_of_a_stub_makes_us_panic_or_wait_or_take_what_it_did_not_say() {
    let registers = "00000000801c8a80".repeat(73);
    let memory = hex::encode([0x5a; 2048]);
    let whole =
        answers(&[b"OK", registers.as_bytes(), memory.as_bytes(), memory.as_bytes(), b"T05thread:p01.01;"]);
    let (mut state, mut whole_ones) = (0x9e37_79b9_7f4a_7c15, 0);
    for _ in 0..2000 {
        let said = mutated(&whole, &mut state);
        let (mut stub, _qemu) = stub(&said);
        let mut read = || -> Result<(), StubError> {
            stub.tell(b"D;1", b"OK")?;
            let registers = stub.registers(Arch::Mips64.row())?;
            assert_eq!(registers.get(37), Some(registers.program_counter()));
            let span = Span { address: 0xffff_ffff_8010_0000, length: 4096 };
            assert_eq!(stub.memory(&[span])?.concat().len(), 4096);
            stub.tell(b"s", b"T05")
        };
        whole_ones += u32::from(read().is_ok());
    }
    // The checksums find nearly all of it.
    assert!((1..200).contains(&whole_ones), "{whole_ones}");
}
