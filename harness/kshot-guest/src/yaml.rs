//! The only YAML reader: returns typed values, or an error with the position and a hint.

use std::ops::Range;
use std::sync::LazyLock;

use codespan_reporting::diagnostic::{Diagnostic, Label};
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term;
use regex::Regex;
use serde::de::DeserializeOwned;

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

/// Parses `text` as a `T`; `file` is the name that errors show.
///
/// # Errors
/// The text is not YAML, does not have the shape of `T`, has an unknown key (the error lists the known ones), or a
/// value is out of range.
pub fn from_str<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Box<YamlError>> {
    serde_yaml::from_str(text).map_err(|error| {
        let message = error.to_string();
        let (offset, line, column) =
            error.location().map_or((0, 1, 1), |at| (at.index(), at.line(), at.column()));
        YamlError::new(file, text, without_position(&message), offset.min(text.len()), (line, column))
    })
}

impl YamlError {
    /// An error in the meaning of the YAML, located at the first whole word `word` at or after the top-level key
    /// `section`, or at the start of the file if there is no such word.
    pub fn at_word(
        file: &str,
        text: &str,
        section: &str,
        word: &str,
        message: String,
        hint: Option<String>,
    ) -> Box<Self> {
        let from = text.lines().scan(0, |offset, line| {
            let start = *offset;
            *offset += line.len() + 1;
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
        let mut fault = Self::new(file, text, message, offset, (line, column));
        fault.hint = hint;
        fault
    }

    /// The error for people, without colour: the message, the line with its neighbours, the word underlined, and the
    /// hint.
    pub fn report(&self) -> String {
        let diagnostic = Diagnostic::error()
            .with_message(self.to_string())
            .with_label(Label::primary((), self.span.clone()).with_message("here"))
            .with_notes_iter(self.hint.iter().map(|hint| format!("hint: {hint}")));
        let config = term::Config { before_label_lines: 1, after_label_lines: 1, ..term::Config::default() };
        term::emit_into_string(&config, &SimpleFile::new(&self.file, &self.text), &diagnostic)
            .unwrap_or_else(|_| format!("error: {self}\n"))
    }

    /// The remedy, where there is one.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn new(
        file: &str,
        text: &str,
        message: String,
        offset: usize,
        (line, column): (usize, usize),
    ) -> Box<Self> {
        let hint = did_you_mean(&message);
        // The label covers the word at the place, so that the caret points at something one can read.
        let length = text.get(offset..).map_or(0, |rest| {
            rest.chars().take_while(|c| c.is_alphanumeric() || "_-.".contains(*c)).map(char::len_utf8).sum()
        });
        Box::new(Self {
            file: file.into(),
            line,
            column,
            message,
            text: text.into(),
            span: offset..offset + length,
            hint,
        })
    }
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
        assert_eq!(fault.hint(), Some("did you mean `steps`?"));
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
    fn a_fault_of_meaning_points_at_the_whole_word_in_its_section() {
        let text = "probes:\n  - perf: {}\nclaims:\n  - probe: perfect\n  - probe: perf\n";
        let fault = YamlError::at_word("a.yaml", text, "claims", "perf", "no".into(), None);
        assert_eq!(fault.to_string(), "a.yaml:5:12: no");
    }

    #[test]
    fn text_that_is_no_yaml_is_a_fault_and_no_panic() {
        for text in ["", "\t", "a: [", "a: \"", "\u{0}", "é: [", "- - -", "&a *a"] {
            let fault = from_str::<Sample>("a.yaml", text).unwrap_err();
            assert!(fault.report().contains("┌─ a.yaml:"), "{text:?}");
        }
    }
}
