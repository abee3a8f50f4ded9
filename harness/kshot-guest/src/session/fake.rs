//! A fake guest for tests: it has a list of answers and records its requests.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Guest, GuestFile, Output, SessionError};

/// A guest whose answers are given in advance, in order.
#[derive(Debug, Default)]
pub struct FakeGuest {
    /// The answers to the next calls of `run` and `fetch`: exit status and output; for `fetch`, the file's
    /// contents.
    pub answers: VecDeque<(i32, Vec<u8>)>,
    /// The requests so far: scripts, and paths after `fetch `.
    pub requests: Vec<String>,
}

impl FakeGuest {
    /// A guest that answers each script with the next exit status and output.
    pub fn answering(answers: &[(i32, &str)]) -> Self {
        Self {
            answers: answers.iter().map(|(status, text)| (*status, text.as_bytes().into())).collect(),
            requests: vec![],
        }
    }

    fn next(&mut self, request: String) -> Result<(i32, Vec<u8>), SessionError> {
        self.requests.push(request.clone());
        self.answers.pop_front().ok_or_else(|| no_answer(request))
    }
}

impl Guest for FakeGuest {
    fn run(&mut self, script: &str, _: Duration) -> Result<Output, SessionError> {
        self.next(script.to_owned()).map(|(status, text)| Output { status, text })
    }

    fn fetch(&mut self, files: &[GuestFile<'_>], _: Duration) -> Result<(), SessionError> {
        files.iter().try_for_each(|GuestFile { from, to }| {
            let (status, bytes) = self.next(format!("fetch {from}"))?;
            if status != 0 || std::fs::write(to, &bytes).is_err() {
                return Err(no_answer((*from).to_owned()));
            }
            Ok(())
        })
    }
}

/// The error of a guest that has no answer left, or whose file cannot be written.
fn no_answer(command: String) -> SessionError {
    SessionError::NoExitStatus { command, said: "the fake guest has no answer".into() }
}
