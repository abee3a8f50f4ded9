//! Text in UTF-16, as terminals and shells of Windows save what they show, turned into UTF-8.

use std::io::{self, Read};

/// How much is turned at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// The byte order of a text in UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The byte order that the mark at the begin of a text names; `None` for a text in another encoding.
    pub(super) fn of_mark(begin: &[u8]) -> Option<Self> {
        match begin {
            [0xff, 0xfe, ..] => Some(Self::Little),
            [0xfe, 0xff, ..] => Some(Self::Big),
            _ => None,
        }
    }

    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }
}

/// Reads a text in UTF-16 as UTF-8. What is no character, such as half of a pair, becomes U+FFFD.
pub(super) struct Utf16<R> {
    input: R,
    order: ByteOrder,
    /// What was read and is not turned yet: less than a character.
    rest: Vec<u8>,
    /// What was turned, and how much of it was given away.
    text: Vec<u8>,
    given: usize,
}

impl<R: Read> Utf16<R> {
    pub(super) fn new(input: R, order: ByteOrder) -> Self {
        Self { input, order, rest: Vec::new(), text: Vec::new(), given: 0 }
    }

    /// Turns the next chunk.
    fn fill(&mut self) -> io::Result<()> {
        (self.given, self.text) = (0, Vec::new());
        let read = (&mut self.input).take(CHUNK as u64).read_to_end(&mut self.rest)?;
        let order = self.order;
        let mut units: Vec<u16> =
            self.rest.chunks_exact(2).map(|pair| order.unit([pair[0], pair[1]])).collect();
        // The other half of a pair may come with the next chunk.
        if read > 0 && units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
            units.pop();
        }
        let used = if read == 0 { self.rest.len() } else { units.len() * 2 };
        self.rest.drain(..used);
        let characters = char::decode_utf16(units).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER));
        self.text = characters.collect::<String>().into_bytes();
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.text.len() {
            self.fill()?;
            // A chunk of a single byte turns into nothing yet.
            if self.text.is_empty() && !self.rest.is_empty() {
                self.fill()?;
            }
        }
        let count = into.len().min(self.text.len() - self.given);
        into[..count].copy_from_slice(&self.text[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(into.len()).min(1);
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn both_byte_orders_and_pairs_that_lie_across_chunks_are_turned() {
        // The pairs lie across each chunk's end: one unit stands before them.
        let text = format!("a{}", "\u{1f980}".repeat(CHUNK));
        let units = || text.encode_utf16();
        let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
        for (order, bytes) in [(ByteOrder::Little, little), (ByteOrder::Big, big)] {
            let mut read = String::new();
            Utf16::new(Drops(&bytes), order).read_to_string(&mut read).unwrap();
            assert!(read == text, "{order:?}");
        }
    }

    #[test]
    fn half_a_pair_and_half_a_unit_lose_nothing_else() {
        let mut bytes: Vec<u8> =
            [0x61, 0xd83e, 0x62].iter().flat_map(|unit: &u16| unit.to_le_bytes()).collect();
        bytes.push(0x63);
        let mut read = String::new();
        Utf16::new(&*bytes, ByteOrder::Little).read_to_string(&mut read).unwrap();
        assert_eq!(read, "a\u{fffd}b");
    }
}
