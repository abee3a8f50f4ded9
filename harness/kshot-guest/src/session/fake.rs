//! A fake guest for tests: it has a list of answers and records its requests.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use super::{Guest, Output};
use kshot_stack::fault::{Blame, Fault};

/// A guest whose answers are given in advance, in order.
#[derive(Debug, Default)]
pub struct FakeGuest {
    /// The answers to the next calls of `run` and `fetch`: exit status and output; for `fetch`, the file's contents.
    pub answers: VecDeque<(i32, Vec<u8>)>,
    /// The requests so far: scripts, and paths after `fetch `.
    pub requests: Vec<String>,
}

/// The guest has no answer left, or the file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the scripted guest says no to {0}")]
pub struct NoAnswer(String);

impl Fault for NoAnswer {
    fn blame(&self) -> Blame {
        Blame::Guest
    }
}

impl FakeGuest {
    /// A guest that answers each script with the next exit status and output.
    pub fn answering(answers: &[(i32, &str)]) -> Self {
        Self {
            answers: answers.iter().map(|(status, text)| (*status, text.as_bytes().into())).collect(),
            requests: vec![],
        }
    }

    fn next(&mut self, requests: String) -> Result<(i32, Vec<u8>), NoAnswer> {
        self.requests.push(requests.clone());
        self.answers.pop_front().ok_or(NoAnswer(requests))
    }
}

impl Guest for FakeGuest {
    type Error = NoAnswer;

    fn run(&mut self, script: &str, _: Duration) -> Result<Output, NoAnswer> {
        self.next(script.to_owned()).map(|(status, text)| Output { status, text })
    }

    fn fetch(&mut self, from: &str, to: &Path, _: Duration) -> Result<u64, NoAnswer> {
        let (status, bytes) = self.next(format!("fetch {from}"))?;
        if status != 0 || std::fs::write(to, &bytes).is_err() {
            return Err(NoAnswer(from.to_owned()));
        }
        Ok(bytes.len() as u64)
    }
}
