//! The words without which none of some expressions matches, and a search for all of them at once.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use regex_syntax::Parser;
use regex_syntax::hir::{Hir, HirKind};

/// Bytes of messages, the most frequent first. Others are seldom.
const FREQUENT: &[u8] = b" e0tarniso1lcdpmu2f.h3g:b4_y568kv7-w9x";

/// Finds any of some words. Each is looked for by three bytes that follow each other in it and seldom do so
/// elsewhere.
#[derive(Debug)]
pub(super) struct Words {
    /// Whether a word is looked for by three bytes of this number.
    may_be: Box<[bool; 1 << 16]>,
    /// The words by that number.
    words: HashMap<u16, Vec<Word>, RandomState>,
}

/// A word that is looked for.
#[derive(Debug)]
struct Word {
    text: Box<[u8]>,
    /// Where the last of the three bytes stands in it.
    at: usize,
}

/// Words, one of which must be in a text that any of the expressions matches; `None` where some may match
/// without.
pub(super) fn required<'a>(expressions: impl IntoIterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for expression in expressions {
        words.extend(of(&Parser::new().parse(expression).ok()?)?);
    }
    Some(words)
}

impl Words {
    /// Looks for these, of two bytes at least.
    pub(super) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self { may_be: Box::new([false; 1 << 16]), words: HashMap::default() };
        for word in words.into_iter().map(str::as_bytes) {
            assert!(word.len() > 1, "a word of one byte would not be found");
            let threes = word.windows(3).enumerate();
            match threes.max_by_key(|(_, three)| rarity(three)) {
                Some((at, three)) => all.add(word, at + 2, three),
                // Anything may stand before two bytes.
                None => (0..=u8::MAX).for_each(|before| all.add(word, 1, &[&[before], word].concat())),
            }
        }
        all
    }

    /// Looks for a word by three bytes, the last of which is its byte `at`.
    fn add(&mut self, text: &[u8], at: usize, three: &[u8]) {
        let number = three.iter().copied().fold(0, next);
        let words = self.words.entry(number).or_default();
        if !words.iter().any(|word| *word.text == *text) {
            words.push(Word { text: text.into(), at });
        }
        self.may_be[usize::from(number)] = true;
    }

    /// Whether a text holds one.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let mut number = 0;
        text.iter().enumerate().any(|(at, &byte)| {
            number = next(number, byte);
            self.may_be[usize::from(number)] && self.is_at(text, at, number)
        })
    }

    /// Whether a word that is looked for by three bytes of this number is where they end in a text.
    #[cold]
    fn is_at(&self, text: &[u8], at: usize, number: u16) -> bool {
        let is_there =
            |word: &Word| at.checked_sub(word.at).is_some_and(|start| text[start..].starts_with(&word.text));
        self.words.get(&number).is_some_and(|words| words.iter().any(is_there))
    }
}

/// The number of the last three bytes of a text, by that of the three before the last of them. Others share
/// it with them.
fn next(number: u16, byte: u8) -> u16 {
    number << 6 ^ u16::from(byte)
}

/// How seldom bytes are, as far as each tells.
fn rarity(bytes: &[u8]) -> usize {
    let of = |byte: &u8| FREQUENT.iter().position(|frequent| frequent == byte).unwrap_or(FREQUENT.len());
    bytes.iter().map(of).sum()
}

/// The words of an expression; of parts that all must match those of the part whose shortest word is the
/// longest.
fn of(expression: &Hir) -> Option<Vec<String>> {
    match expression.kind() {
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(parts) => {
            let shortest = |words: &Vec<String>| words.iter().map(String::len).min();
            parts.iter().filter_map(of).max_by_key(shortest)
        }
        HirKind::Alternation(parts) => {
            let parts = parts.iter().map(of).collect::<Option<Vec<_>>>()?;
            Some(parts.into_iter().flatten().collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_match_holds_is_found() {
        let words = |expression: &str| required([expression]).map(|words| words.join(","));
        assert_eq!(words("^Kernel panic").as_deref(), Some("Kernel panic"));
        assert_eq!(
            words("(a|^.{0,15}):[0-9]+ (blocked for|is blocked on) ").as_deref(),
            Some("blocked for,is blocked on")
        );
        assert_eq!(words("[Ww]atchdog: (x)?").as_deref(), Some("atchdog: "));
        assert_eq!(words("(abc)+|d").as_deref(), Some("abc,d"));
        assert_eq!(words("(abc)*|d"), None);
        assert_eq!(words("[a-z]+"), None);
    }

    #[test]
    fn any_of_the_words_is_found_wherever_it_stands() {
        let words = Words::new(["+0x", "race", "task:", "[ ", "sk: a"]);
        for text in ["+0x", "f+0x1", "Call Trace:", "race", " task:", "=[ W", "a[ ", "a task: a", "rac+0x"] {
            assert!(words.is_in(text.as_bytes()), "{text}");
        }
        for text in ["", "r", "[", "x+0", "rac", "ace", "ask:", "task", "[", "sk: b", "+ 0x", "RACE", "a["] {
            assert!(!words.is_in(text.as_bytes()), "{text}");
        }
    }
}
