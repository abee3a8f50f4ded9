//! Damages inputs: bytes flipped, cut, copied, joined with another seed, and replaced by what parsers trip
//! over.

/// What parsers trip over.
const AWKWARD: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"\xff\xfe",
    "\u{202e}".as_bytes(),
    "größer".as_bytes(),
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"0xffffffffffffffff",
    b"1e999",
    b"99",
    b"..",
    b"../..",
    b"$(id)",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\"",
    b"'",
    b"&a",
    b"*a",
    b"- - -",
    b"<<: ",
    b"!!binary",
    b"%n",
    b"=> ",
    b"<stack trace>",
    b"CPU:0 [LOST 99999999999999999999 EVENTS]",
];

/// Makes damaged inputs; the same seed makes the same ones (xorshift64*, Vigna 2016).
#[derive(Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// A mutator of its own row.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// One of `seeds`, damaged in up to eight places, no longer than `longest` bytes.
    pub fn input(&mut self, seeds: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        // A part of a long seed: damage to all of it would hardly show.
        if input.len() > longest {
            let from = self.below(input.len() - longest);
            input = input[from..from + longest].to_vec();
        }
        for _ in 0..=self.below(8) {
            self.damage(&mut input, seeds);
        }
        input.truncate(longest);
        input
    }

    fn damage(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(64)).min(input.len());
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 => drop(input.drain(at..end)),
            2 => input.truncate(at),
            3 => {
                let piece = input[at..end].repeat(1 + self.below(16));
                drop(input.splice(at..at, piece));
            }
            4 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(512)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            5 => {
                // A number gives way to another.
                let digits = input[at..].iter().position(u8::is_ascii_digit).map(|found| at + found);
                let from = digits.unwrap_or(at);
                let to = input[from..]
                    .iter()
                    .position(|byte| !byte.is_ascii_digit())
                    .map_or(input.len(), |end| from + end);
                drop(input.splice(from..to, AWKWARD[self.below(AWKWARD.len())].iter().copied()));
            }
            _ => drop(input.splice(at..at, AWKWARD[self.below(AWKWARD.len())].iter().copied())),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let drawn = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        drawn as usize % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_they_are_damaged() {
        let seeds = vec![b"one two three".to_vec(), vec![]];
        let row = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100).map(|_| mutator.input(&seeds, 40)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        assert!(row(1).iter().filter(|input| **input != seeds[0]).count() > 90);
        assert!(row(1).iter().all(|input| input.len() <= 40));
    }
}
