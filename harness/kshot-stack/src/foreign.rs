//! The one door for documents that others may have written: run.json, results.json, sweep.json, a bundle's
//! bundle.json, and what workers send. What passes has a known form, a bounded size and depth, counts that
//! can be summed up, text that steers no terminal, and names that lead nowhere else.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::blame::{Blame, Blamed};
use crate::name;
use crate::text::{is_hidden, printable_lines};

/// The longest document, in bytes. The largest of kshot's own, a sweep over a whole kernel, takes some
/// megabytes.
pub const SIZE_MOST: usize = 64 << 20;
/// The most values of a document: each takes 32 bytes of memory or more, so these take hundreds of megabytes
/// at most.
pub const VALUES_MOST: usize = 4 << 20;
/// How deep lists and objects may nest. kshot's own documents nest 8 deep; the parser's own limit is 128.
pub const DEPTH_MOST: usize = 32;
/// The greatest number: as many as a document may hold still sum up to less than 2^64.
pub const NUMBER_MOST: u64 = 1 << 40;

/// The keys of text that may have several lines: errors with what a tool printed, and differences.
const LINES_KEYS: [&str; 7] = ["diff", "error", "error_chain", "text", "why", "reasons", "notes"];

/// kshot's documents, each with a key that no other has.
const KINDS: [(&str, &str); 5] = [
    ("a result document", "verdict"),
    ("the results of a night", "pairs"),
    ("a sweep document", "findings"),
    ("a survey document", "cells"),
    ("the contents of a bundle", "in_catalogue"),
];

/// A document that may come from elsewhere.
pub trait Foreign: DeserializeOwned {
    /// What it is, with its article ("a result document").
    const WHAT: &'static str;
    /// The version of its form that is known here.
    const SCHEMA: u32;
    /// The oldest version that reads the same.
    const OLDEST: u32 = Self::SCHEMA;

    /// What in it becomes a path or a word of a command line.
    fn names(&self) -> Vec<Name<'_>>;
}

/// Something in a document that becomes a path or a word of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A scenario's id.
    Scenario(&'a str),
    /// A kernel's name.
    Kernel(&'a str),
    /// A kernel's release, empty where it is not known.
    Release(&'a str),
    /// A file or folder below the document's own.
    Path(&'a str),
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It is too long.
    #[error("{what} of more than {SIZE_MOST} bytes")]
    Size {
        /// What it should be.
        what: &'static str,
    },
    /// It holds too many values.
    #[error("{what} of more than {VALUES_MOST} values")]
    Values {
        /// What it should be.
        what: &'static str,
    },
    /// It nests too deep.
    #[error("{what} that nests more than {DEPTH_MOST} deep, at byte {at}")]
    Depth {
        /// What it should be.
        what: &'static str,
        /// Where, in bytes from its start.
        at: usize,
    },
    /// It is no JSON, or not of the form.
    #[error("not {what}")]
    Json {
        /// What it should be.
        what: &'static str,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// It does not say which form it has.
    #[error("not {what}: it has no number `schema`")]
    NoSchema {
        /// What it should be.
        what: &'static str,
    },
    /// It is another one of kshot's documents.
    #[error("{other}, not {what}")]
    Kind {
        /// What it should be.
        what: &'static str,
        /// What it is.
        other: &'static str,
    },
    /// Its form is of another version.
    #[error("{what} of schema {schema}; this kshot reads schema {known}")]
    Schema {
        /// What it should be.
        what: &'static str,
        /// Its version.
        schema: u64,
        /// The version that is known.
        known: u32,
    },
    /// A number is out of range.
    #[error("{what} whose {path} is {number}, which is not between 0 and {NUMBER_MOST}")]
    Number {
        /// What it should be.
        what: &'static str,
        /// Where the number stands: `probes/0/events`.
        path: String,
        /// The number.
        number: String,
    },
    /// A key holds characters that are not to be seen.
    #[error("{what} with the key `{key}` in `{path}`")]
    Key {
        /// What it should be.
        what: &'static str,
        /// Where the key stands.
        path: String,
        /// The key, escaped.
        key: String,
    },
    /// A name would lead elsewhere.
    #[error("{what} whose {kind} is `{name}`")]
    Name {
        /// What it should be.
        what: &'static str,
        /// What the name is of.
        kind: &'static str,
        /// The name, escaped.
        name: String,
    },
}

impl Blamed for ForeignError {
    fn blame(&self) -> Blame {
        Blame::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Schema { .. } => {
                "read it with the kshot that wrote it, or make it again with this one".into()
            }
            Self::Kind { what, .. } => format!("name the file that is {what}"),
            Self::Name { kind, .. } => {
                format!("kshot writes no such {kind}: do not trust where it comes from")
            }
            _ => "it was damaged, or kshot did not write it: make or fetch it again".into(),
        })
    }
}

/// Reads a document. Text in it that could steer a terminal is escaped.
///
/// # Errors
/// [`ForeignError`].
pub fn read<T: Foreign>(bytes: &[u8]) -> Result<T, ForeignError> {
    let what = T::WHAT;
    measure(what, bytes)?;
    let json = |source| ForeignError::Json { what, source };
    let mut value: Value = serde_json::from_slice(bytes).map_err(json)?;
    let Some(schema) = value.get("schema").and_then(Value::as_u64) else {
        return Err(ForeignError::NoSchema { what });
    };
    if let Some(other) = other_kind(what, &value) {
        return Err(ForeignError::Kind { what, other });
    }
    if !(u64::from(T::OLDEST)..=u64::from(T::SCHEMA)).contains(&schema) {
        return Err(ForeignError::Schema { what, schema, known: T::SCHEMA });
    }
    clean(what, &mut Vec::new(), &mut value)?;
    let document: T = serde_json::from_value(value).map_err(json)?;
    document.names().into_iter().try_for_each(|name| name.check(what))?;
    Ok(document)
}

/// Which other one of kshot's documents this is, if it is one, and not what it should be.
fn other_kind(what: &str, value: &Value) -> Option<&'static str> {
    let mut kinds = KINDS.iter().filter(|(_, key)| value.get(key).is_some()).map(|(kind, _)| *kind);
    let first = kinds.next()?;
    (first != what && kinds.all(|kind| kind != what)).then_some(first)
}

impl Name<'_> {
    fn check(self, what: &'static str) -> Result<(), ForeignError> {
        let (kind, name, fits) = match self {
            Self::Scenario(id) => ("scenario id", id, name::is_id(id)),
            Self::Kernel(kernel) => ("kernel name", kernel, name::is_file_name(kernel)),
            Self::Release(release) => ("release", release, release.is_empty() || name::is_release(release)),
            Self::Path(path) => ("path", path, name::is_id(path)),
        };
        if fits {
            Ok(())
        } else {
            Err(ForeignError::Name { what, kind, name: name.escape_debug().to_string() })
        }
    }
}

/// Size, values and depth, before anything of it takes memory.
fn measure(what: &'static str, bytes: &[u8]) -> Result<(), ForeignError> {
    if bytes.len() > SIZE_MOST {
        return Err(ForeignError::Size { what });
    }
    let (mut depth, mut values, mut in_text, mut escaped) = (0_usize, 0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > DEPTH_MOST {
                    return Err(ForeignError::Depth { what, at });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
    }
    if values > VALUES_MOST { Err(ForeignError::Values { what }) } else { Ok(()) }
}

/// Checks numbers and keys, and escapes text. `path` leads to `value`.
fn clean(what: &'static str, path: &mut Vec<String>, value: &mut Value) -> Result<(), ForeignError> {
    match value {
        Value::Number(number) if number.as_u64().is_none_or(|number| number > NUMBER_MOST) => {
            Err(ForeignError::Number { what, path: path.join("/"), number: number.to_string() })
        }
        Value::String(text) if text.contains(|c: char| is_hidden(c) && c != '\t') => {
            let key = path.iter().rev().find(|key| !key.starts_with(|first: char| first.is_ascii_digit()));
            // Elsewhere a further line could be taken for one of ours.
            *text = match key {
                Some(key) if LINES_KEYS.contains(&key.as_str()) => printable_lines(text),
                _ => printable_lines(text).replace('\n', "\\n"),
            };
            Ok(())
        }
        Value::Array(values) => values.iter_mut().enumerate().try_for_each(|(index, value)| {
            path.push(index.to_string());
            clean(what, path, value)?;
            path.pop();
            Ok(())
        }),
        Value::Object(values) => values.iter_mut().try_for_each(|(key, value)| {
            if key.contains(is_hidden) {
                let key = key.escape_debug().to_string();
                return Err(ForeignError::Key { what, path: path.join("/"), key });
            }
            path.push(key.clone());
            clean(what, path, value)?;
            path.pop();
            Ok(())
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
