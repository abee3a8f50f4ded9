//! The only YAML reader: returns typed values, or an error with the position and a hint.

use std::cell::Cell;
use std::ops::Range;
use std::sync::LazyLock;

use codespan_reporting::diagnostic::{Diagnostic, Label};
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::text::is_hidden;
use regex::Regex;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// The longest text, in bytes. The catalogue, which is the longest of kshot's own, takes some ten thousand.
pub const SIZE_MOST: u64 = 1 << 20;
/// The most brackets and braces that open: the parser takes time with the square of their depth.
const OPEN_MOST: usize = 5_000;
/// The deepest list of lists on one line (`- - -`), which takes the parser as long.
const DASHES_MOST: usize = 32;
/// The largest size of a text with its aliases expanded, in bytes, counting 16 more for each value.
const WRITTEN_OUT_MOST: usize = 16 << 20;

/// An error in a YAML file: file, line, column, the line itself with a caret, and a hint where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct YamlError {
    file: String,
    line: usize,
    column: usize,
    message: String,
    text: String,
    /// The word at the position, in bytes of the text.
    span: Range<usize>,
    hint: Option<String>,
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// In bytes, from 0.
    offset: usize,
    /// From 1.
    line: usize,
    /// From 1.
    column: usize,
}

/// A YAML text, for errors in its meaning.
#[derive(Clone, Copy, Debug)]
pub struct YamlSource<'a> {
    /// The file's name in errors.
    pub file: &'a str,
    /// The text.
    pub text: &'a str,
}

/// Parses `text` as a `T`; `file` is the name that errors show.
///
/// # Errors
/// The text is not YAML, does not have the shape of `T`, has an unknown key (the error lists the known ones),
/// or a value is out of range; or the text passes one of the limits above.
pub fn from_str<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Box<YamlError>> {
    // Editors may put a byte order mark in front (YAML 1.2, section 5.2); the parser takes it for a part of
    // the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    measure(text)
        .map_err(|message| YamlError::new(file, text, message, Position { offset: 0, line: 1, column: 1 }))?;
    serde_yaml::from_str(text).map_err(|error| {
        let message = error.to_string();
        let position = error.location().map_or(Position { offset: 0, line: 1, column: 1 }, |at| Position {
            offset: at.index().min(text.len()),
            line: at.line(),
            column: at.column(),
        });
        let position = second_key(text, &message, &position).unwrap_or(position);
        YamlError::new(file, text, without_position(&message), position)
    })
}

/// The place of a key that is there twice, which the parser tells as that of its mapping.
fn second_key(text: &str, message: &str, mapping: &Position) -> Option<Position> {
    let key = message.split_once("duplicate field `")?.1.split('`').next()?;
    let mut offset = 0;
    let places = text.split_inclusive('\n').enumerate().filter_map(|(number, line)| {
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        let start = offset + indent;
        offset += line.len();
        let is_key = line[indent..].strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
        is_key.then_some(Position { offset: start, line: number + 1, column: indent + 1 })
    });
    places.filter(|place| place.offset >= mapping.offset).nth(1)
}

/// Refuses text that would take the parser forever or exhaust the memory.
fn measure(text: &str) -> Result<(), String> {
    if text.len() as u64 > SIZE_MOST {
        return Err(format!("more than {SIZE_MOST} bytes"));
    }
    if text.matches(['[', '{']).nth(OPEN_MOST).is_some() {
        return Err(format!("more than {OPEN_MOST} brackets and braces"));
    }
    let dashes =
        |line: &str| line.split_whitespace().take_while(|word| ["-", "?", ":"].contains(word)).count();
    if text.lines().any(|line| dashes(line) > DASHES_MOST) {
        return Err(format!("more than {DASHES_MOST} nested lists on one line"));
    }
    let left = Cell::new(WRITTEN_OUT_MOST);
    // An error in the YAML is reported by the real parse, which gets no further: nothing else fails here.
    drop(WrittenOut { left: &left }.deserialize(serde_yaml::Deserializer::from_str(text)));
    match left.get() {
        0 => Err(format!("more than {WRITTEN_OUT_MOST} bytes with its aliases expanded")),
        _ => Ok(()),
    }
}

/// Counts the size of a text with its aliases expanded, without keeping it.
#[derive(Clone, Copy)]
struct WrittenOut<'a> {
    left: &'a Cell<usize>,
}

impl WrittenOut<'_> {
    fn take<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        self.left.set(self.left.get().saturating_sub(bytes + 16));
        if self.left.get() == 0 { Err(E::custom("too much")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for WrittenOut<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WrittenOut<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        self.take(0)?;
        while values.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        self.take(0)?;
        while values.next_key_seed(self)?.is_some() {
            values.next_value_seed(self)?;
        }
        Ok(())
    }

    /// A value with a tag: `!name value`.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let ((), value) = tagged.variant_seed(self)?;
        value.newtype_variant_seed(self)
    }
}

impl Blamed for YamlError {
    fn blame(&self) -> Blame {
        Blame::Input
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl YamlSource<'_> {
    /// An error in the meaning of the YAML, located at the first whole word `word` at or after the top-level
    /// key `section`, or at the start of the file if there is no such word.
    pub fn error(&self, section: &str, word: &str, message: String) -> Box<YamlError> {
        let Self { file, text } = *self;
        // Not `lines`, which takes two bytes off the end of some.
        let from = text.split_inclusive('\n').scan(0, |offset, line| {
            let start = *offset;
            *offset += line.len();
            Some((start, line))
        });
        let start = from
            .into_iter()
            .find(|(_, line)| line.starts_with(section) && line[section.len()..].starts_with(':'))
            .map_or(0, |(start, _)| start);
        let offset = find_word(&text[start.min(text.len())..], word).map_or(start, |at| start + at);
        let before = &text[..offset.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        YamlError::new(file, text, message, Position { offset, line, column }).with_hint(None)
    }

    /// The value of the one key that is given, where a mapping must have exactly one of several. `mapping`
    /// names it in the error, as `` `text` ``.
    ///
    /// # Errors
    /// No key is given, or several are.
    pub fn exactly_one<T, const N: usize>(
        &self,
        section: &str,
        mapping: &str,
        keys: [(&str, Option<T>); N],
    ) -> Result<T, Box<YamlError>> {
        let names = keys.each_ref().map(|(key, _)| format!("`{key}`")).join(", ");
        let mut given = keys.into_iter().filter_map(|(_, value)| value);
        match (given.next(), given.next()) {
            (Some(value), None) => Ok(value),
            _ => {
                let message = format!("{mapping} has exactly one of the keys {names}");
                Err(self.error(section, mapping.trim_matches('`'), message))
            }
        }
    }

    /// Checks that a value has only letters, digits and `extra_characters`. `what` says in the error what it
    /// would be.
    ///
    /// # Errors
    /// The value has other characters, or is empty.
    pub fn check_characters(
        &self,
        section: &str,
        what: &str,
        value: &str,
        extra_characters: &str,
    ) -> Result<(), Box<YamlError>> {
        let fits = |c: char| c.is_ascii_alphanumeric() || extra_characters.contains(c);
        if !value.is_empty() && value.chars().all(fits) {
            return Ok(());
        }
        let message = format!(
            "`{}` cannot be {what}: letters, digits and `{extra_characters}` only",
            value.escape_debug()
        );
        Err(self.error(section, value, message))
    }
}

impl YamlError {
    /// The error with its remedy, where there is one.
    pub fn with_hint(mut self: Box<Self>, hint: Option<String>) -> Box<Self> {
        self.hint = hint;
        self
    }

    /// The error for people, without colour: the message, the line with its neighbours, the word underlined,
    /// and the hint.
    pub fn report(&self) -> String {
        let diagnostic = Diagnostic::error()
            .with_message(self.to_string())
            .with_label(Label::primary((), self.span.clone()).with_message("here"))
            .with_notes_iter(self.hint.iter().map(|hint| format!("hint: {hint}")));
        let config = term::Config { before_label_lines: 1, after_label_lines: 1, ..term::Config::default() };
        term::emit_into_string(&config, &SimpleFile::new(&self.file, &self.text), &diagnostic)
            .unwrap_or_else(|_| format!("error: {self}\n"))
    }

    fn new(file: &str, text: &str, message: String, position: Position) -> Box<Self> {
        // A key may hold a line end, and what follows it would look like a line of kshot's.
        let message = message.replace('\n', "\\n");
        let Position { offset, line, column } = position;
        let hint = did_you_mean(&message);
        // The label covers the word at the place, so that the caret points at something one can read.
        let length = text.get(offset..).map_or(0, |rest| {
            rest.chars().take_while(|c| c.is_alphanumeric() || "_-.".contains(*c)).map(char::len_utf8).sum()
        });
        let shown = shown(text);
        Box::new(Self {
            file: file.into(),
            line,
            column,
            message,
            span: if shown.is_empty() { 0..0 } else { offset..offset + length },
            text: shown,
            hint,
        })
    }
}

/// The text as an error quotes it: hidden characters become as many `?`, so that positions stay the same.
/// Empty if the text has a line too long to show.
fn shown(text: &str) -> String {
    const LONGEST: usize = 1000;
    if text.lines().any(|line| line.len() > LONGEST) {
        return String::new();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' | '\r' => shown.push(character),
            hidden if is_hidden(hidden) => (0..hidden.len_utf8()).for_each(|_| shown.push('?')),
            plain => shown.push(plain),
        }
    }
    shown
}

/// The name in `known` that is most similar to `word`, if it is similar enough to be a typo.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn find_word(text: &str, word: &str) -> Option<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || "_-".contains(c);
    text.match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !text[..at].ends_with(part_of_word) && !text[at + word.len()..].starts_with(part_of_word))
}

/// Removes the position that serde_yaml appends to its messages; ours starts with it.
fn without_position(message: &str) -> String {
    static PLACE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r" at line \d+ column \d+").expect("the pattern is a constant"));
    PLACE.replace_all(message, "").into_owned()
}

fn did_you_mean(message: &str) -> Option<String> {
    static QUOTED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("`([^`]*)`").expect("the pattern is a constant"));
    if !message.contains("unknown field") && !message.contains("unknown variant") {
        return None;
    }
    let mut names = QUOTED.captures_iter(message).filter_map(|found| Some(found.get(1)?.as_str()));
    let unknown = names.next()?;
    closest(unknown, names).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters here")]
        steps: Vec<String>,
    }

    #[test]
    fn an_unknown_key_shows_its_place_the_known_keys_and_a_guess() {
        let fault = from_str::<Sample>("a.yaml", "stepz: []\n").unwrap_err();
        assert_eq!(fault.to_string(), "a.yaml:1:1: unknown field `stepz`, expected `steps`");
        assert_eq!(fault.hint().as_deref(), Some("did you mean `steps`?"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_key() {
        assert!(from_str::<Sample>("a.yaml", "\u{feff}steps: []\n").is_ok());
        let fault = from_str::<Sample>("a.yaml", "\u{feff}stepz: []\n").unwrap_err();
        assert_eq!(fault.to_string(), "a.yaml:1:1: unknown field `stepz`, expected `steps`");
    }

    #[test]
    fn a_report_shows_the_line_between_its_neighbours_and_the_word() {
        let fault = from_str::<Sample>("a.yaml", "# one\nstepz: []\n# three\n# four\n").unwrap_err();
        insta::assert_snapshot!(fault.report(), @"
        error: a.yaml:2:1: unknown field `stepz`, expected `steps`
          ┌─ a.yaml:2:1
          │
        1 │ # one
        2 │ stepz: []
          │ ^^^^^ here
        3 │ # three
          │
          = hint: did you mean `steps`?
        ");
    }

    #[test]
    fn a_wrong_type_shows_its_place() {
        let fault = from_str::<Sample>("a.yaml", "steps:\n  - a\n  - [b]\n").unwrap_err();
        assert!(fault.to_string().starts_with("a.yaml:3:5: "), "{fault}");
    }

    #[test]
    fn a_key_that_is_there_twice_shows_the_second() {
        let fault = from_str::<Sample>("a.yaml", "steps: [a]\n# steps:\nsteps: [b]\n").unwrap_err();
        assert!(fault.to_string().starts_with("a.yaml:3:1: duplicate field `steps`"), "{fault}");
    }

    #[test]
    fn a_fault_behind_other_line_ends_and_letters_shows_its_place() {
        let text = "# größer\r\n# größer\r\n# größer\r\nclaims:\r\n  - perf\r\n";
        let fault = YamlSource { file: "a.yaml", text }.error("claims", "perf", "no".into());
        assert_eq!(fault.to_string(), "a.yaml:5:5: no");
    }

    #[test]
    fn a_quoted_text_steers_no_terminal_and_fills_no_screen() {
        assert_eq!(shown("a\u{1b}[2J\u{202e}\n"), "a?[2J???\n");
        assert_eq!(shown(&"x".repeat(2000)), "");
    }

    #[test]
    fn a_fault_of_meaning_points_at_the_whole_word_in_its_section() {
        let text = "probes:\n  - perf: {}\nclaims:\n  - probe: perfect\n  - probe: perf\n";
        let fault = YamlSource { file: "a.yaml", text }.error("claims", "perf", "no".into());
        assert_eq!(fault.to_string(), "a.yaml:5:12: no");
    }

    #[test]
    fn text_that_is_no_yaml_is_a_fault_and_no_panic() {
        for text in ["", "\t", "a: [", "a: \"", "\u{0}", "é: [", "- - -", "&a *a"] {
            let fault = from_str::<Sample>("a.yaml", text).unwrap_err();
            assert!(fault.report().contains("┌─ a.yaml:"), "{text:?}");
        }
    }

    #[test]
    fn text_that_would_take_the_parser_for_ever_is_refused_at_once() {
        let refused = |text: &str, why: &str| {
            let begun = std::time::Instant::now();
            let fault = from_str::<serde_yaml::Value>("a.yaml", text).unwrap_err();
            assert!(fault.to_string().contains(why), "{fault}");
            // Without the limits, each takes tens of seconds or gigabytes.
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{why}: {:?}", begun.elapsed());
        };
        refused(&"x".repeat(SIZE_MOST as usize + 1), "more than 1048576 bytes");
        refused(&"[".repeat(80_000), "brackets");
        refused(&"- ".repeat(80_000), "nested lists");
        let long = format!("a: &a {}\n", "x".repeat(60_000));
        let many = format!("b: &b [{}]\n", "*a,".repeat(1000));
        refused(&format!("{long}{many}c: [{}]\n", "*b,".repeat(20)), "aliases expanded");
        for first in [
            "!x hello",
            "!x [1]",
            "!x {a: 1}",
            "!x",
            "!!binary aGVsbG8=",
            "170141183460469231731687303715884105727",
            ".inf",
            "~",
        ] {
            let first = format!("first: {first}\n");
            refused(&format!("{first}{long}{many}c: [{}]\n", "*b,".repeat(20)), "aliases expanded");
        }
    }

    #[test]
    fn an_alias_or_two_are_welcome() {
        let text = "a: &a [x, y]\nb: *a\n";
        let value: serde_yaml::Value = from_str("a.yaml", text).unwrap();
        assert_eq!(value["a"], value["b"]);
    }
}
