//! The stacks of a text that says neither of which task nor of which event they are.

use std::sync::Arc;

use super::fold::{Fold, Numbers, Texts};
use super::lines::{DEEPEST_STACK, Kind, Warnings};
use super::{Frame, NAMELESS, ParsedCapture};

/// Such stacks as they come, the last of them open.
#[derive(Debug)]
pub(super) struct AnonymousStacks {
    open: Numbers,
    ended: u64,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
}

impl AnonymousStacks {
    /// None yet; `event` stands for the event that the text does not name.
    pub(super) fn new(event: &str) -> Self {
        let mut words = Texts::default();
        let open = Numbers {
            task: words.word(NAMELESS.as_bytes()),
            event: words.word(event.as_bytes()),
            frames: Vec::new(),
        };
        Self { open, ended: 0, stacks: Fold::default(), words, frames: Texts::default() }
    }

    /// The number of the frame in `text`, see [`Texts::frame`].
    pub(super) fn number(
        &mut self,
        text: &[u8],
        line: &[u8],
        warnings: &mut Warnings,
        read: impl FnOnce(&[u8]) -> Option<Frame>,
    ) -> usize {
        self.frames.frame(text, line, warnings, read)
    }

    /// The frame of this number.
    pub(super) fn frame(&self, number: usize) -> &Frame {
        self.frames.get(number)
    }

    /// Adds a frame to the open stack. Returns whether the stack had room for it.
    pub(super) fn push(&mut self, number: usize, line: &[u8], warnings: &mut Warnings) -> bool {
        let has_room = self.open.frames.len() < DEEPEST_STACK;
        if has_room {
            self.open.frames.push(number);
        } else {
            warnings.note(Kind::DeepStack, line);
        }
        has_room
    }

    /// Ends the open stack. Without frames it is one only where it was announced.
    pub(super) fn end(&mut self, announced: bool) {
        if announced || !self.open.frames.is_empty() {
            self.stacks.add(&self.open, self.ended);
            self.ended += 1;
        }
        self.open.frames.clear();
    }

    /// What was read, but for the warnings; each stack is one event.
    pub(super) fn finish(self) -> ParsedCapture {
        let stacks = self.stacks.into_stacks(&self.words, &self.frames);
        ParsedCapture { events: self.ended, stacks, ..ParsedCapture::default() }
    }
}
