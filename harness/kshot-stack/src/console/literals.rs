//! The words without which none of some expressions matches. To look for all of them at once goes by many
//! bytes at a time, and to match expressions by one.

use regex::bytes::Regex;
use regex_syntax::Parser;
use regex_syntax::hir::{Hir, HirKind};

/// Words, one of which must be in a text that any of the expressions matches; `None` where some may match
/// without.
pub(super) fn required<'a>(expressions: impl IntoIterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for expression in expressions {
        words.extend(of(&Parser::new().parse(expression).ok()?)?);
    }
    Some(words)
}

/// An expression that finds any of the words. One that holds another is not looked for: few words are found
/// many bytes at a time.
pub(super) fn any_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Regex, regex::Error> {
    let mut words: Vec<&str> = words.into_iter().collect();
    words.sort_by_key(|word| word.len());
    let mut few: Vec<&str> = Vec::new();
    for word in words {
        if !few.iter().any(|shorter| word.contains(shorter)) {
            few.push(word);
        }
    }
    let few: Vec<String> = few.into_iter().map(regex::escape).collect();
    Regex::new(&few.join("|"))
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
        let found = any_of(["a.b", "c"]).unwrap();
        assert!(found.is_match(b"xa.b") && !found.is_match(b"axb"));
        assert_eq!(any_of(["xabx", "ab", "c", "ab"]).unwrap().as_str(), "c|ab");
    }
}
