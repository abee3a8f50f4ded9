use super::*;

/// A stub with these bytes to read, whose QEMU then closes the connection.
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

#[test]
fn a_stack_is_read_up_to_a_page_that_is_not_mapped() {
    let span = Span { address: 0xffff_fe00_0000_bff0, length: 0x4010 };
    let page = [hex::encode([1; 2048]), hex::encode([2; 2048])];
    let said =
        answers(&[hex::encode([7; 16]).as_bytes(), page[0].as_bytes(), page[1].as_bytes(), b"E14", b"E14"]);
    let (mut reader, mut qemu) = stub(&said);
    let read = reader.mapped_part(span).unwrap();
    assert_eq!((read.len(), read[15], read[16], read[4111]), (16 + 4096, 7, 1, 2));
    drop(reader);
    let mut asked = String::new();
    qemu.read_to_string(&mut asked).unwrap();
    let first: Vec<_> = asked.split(['$', '#']).filter(|part| part.starts_with('m')).take(2).collect();
    assert_eq!(first, ["mfffffe000000bff0,10", "mfffffe000000c000,800"]);
    // Where nothing can be read there is no stack.
    let (mut stub, _qemu) = stub(&answers(&[b"E14"]));
    assert!(matches!(stub.mapped_part(span), Err(StubError::Unexpected { .. })));
}
