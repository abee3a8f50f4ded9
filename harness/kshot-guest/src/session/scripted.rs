//! A guest for tests: it answers from a script and keeps what it was asked.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use super::{Guest, Output};
use kshot_stack::fault::{Blame, Fault};

/// A guest whose answers are given beforehand, in order.
#[derive(Debug, Default)]
pub struct ScriptedGuest {
    /// What it answers to the next calls of `run` and `fetch`: status and text, the file's bytes for `fetch`.
    pub answers: VecDeque<(i32, Vec<u8>)>,
    /// The scripts it ran and the paths it gave out, the latter after `fetch `.
    pub asked: Vec<String>,
}

/// It was asked for more than it has, or for a file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the scripted guest says no to {0}")]
pub struct No(String);

impl Fault for No {
    fn blame(&self) -> Blame {
        Blame::Guest
    }
}

impl ScriptedGuest {
    /// A guest that answers each script with the next exit status and output.
    pub fn answering(answers: &[(i32, &str)]) -> Self {
        Self {
            answers: answers.iter().map(|(status, text)| (*status, text.as_bytes().into())).collect(),
            asked: vec![],
        }
    }

    fn next(&mut self, asked: String) -> Result<(i32, Vec<u8>), No> {
        self.asked.push(asked.clone());
        self.answers.pop_front().ok_or(No(asked))
    }
}

impl Guest for ScriptedGuest {
    type Error = No;

    fn run(&mut self, script: &str, _: Duration) -> Result<Output, No> {
        self.next(script.to_owned()).map(|(status, text)| Output { status, text })
    }

    fn fetch(&mut self, from: &str, to: &Path, _: Duration) -> Result<u64, No> {
        let (status, bytes) = self.next(format!("fetch {from}"))?;
        if status != 0 || std::fs::write(to, &bytes).is_err() {
            return Err(No(from.to_owned()));
        }
        Ok(bytes.len() as u64)
    }
}
