//! Texts that mix formats: a mail or a log may hold an excerpt of ftrace, a call trace of the console and one
//! of perf, one after the other.
//!
//! A section ends before a line that its parser does not know and that begins one of another format. What no
//! format knows belongs to the section that it stands in; where a text mixes formats, that is what people and
//! programs wrote in between.

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::{DetectedFormat, Margin, TextFormat};
use crate::stack::lines::{self, LineParser, Warnings};
use crate::stack::{ParsedCapture, Stack};

/// All that a text holds of one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The format.
    pub format: TextFormat,
    /// The number of the first line of it, from 1.
    pub line: u64,
    /// What was read.
    pub parsed: ParsedCapture,
}

/// The sections of a text as its lines come.
pub(super) struct Sections {
    reading: DetectedFormat,
    parser: Box<dyn LineParser>,
    /// The number of the first line of the section that is open.
    begun: u64,
    /// A line that the parser did not take: the one behind it may tell whose it is.
    left: Option<Left>,
    /// What the sections came to that have ended.
    ended: IndexMap<TextFormat, Ended, RandomState>,
}

/// A line and its number.
struct Left {
    line: Vec<u8>,
    number: u64,
}

/// What all sections of a format came to.
#[derive(Default)]
struct Ended {
    /// The number of the first line.
    line: u64,
    events: u64,
    lost: u64,
    stacks: IndexMap<Stack, u64, RandomState>,
    warnings: Warnings,
}

impl Sections {
    /// None yet, of a text that is first read so.
    pub(super) fn new(reading: DetectedFormat) -> Self {
        let parser = reading.format.parser();
        Self { reading, parser, begun: 1, left: None, ended: IndexMap::default() }
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        if self.reading.is_gap(line) {
            return;
        }
        let memory = self.left.take().map(|left| self.decide(left, line, warnings));
        if !self.parser.line(self.reading.margin.strip(line), warnings) {
            let mut left = Left { line: memory.unwrap_or_default(), number: warnings.line };
            left.line.clear();
            left.line.extend_from_slice(line);
            self.left = Some(left);
        }
    }

    /// What was read: of each format that there is something of, or else of what the text was taken for.
    pub(super) fn finish(mut self, mut warnings: Warnings) -> Vec<Section> {
        if let Some(left) = self.left.take() {
            self.decide(left, b"", &mut warnings);
        }
        self.end(warnings);
        let tells = |ended: &Ended| ended.events > 0 || ended.lost > 0 || ended.warnings.has_own();
        let some = self.ended.values().filter(|ended| tells(ended)).count();
        let sections = self.ended.into_iter().enumerate();
        let sections = sections.filter(|(index, (_, ended))| tells(ended) || some == 0 && *index == 0);
        sections.map(|(_, (format, ended))| ended.into_section(format, some > 1)).collect()
    }

    /// Gives a line to the section that it begins or, where it begins none, to the one that it stands in.
    /// Returns the line's memory.
    fn decide(&mut self, left: Left, next: &[u8], warnings: &mut Warnings) -> Vec<u8> {
        let number = std::mem::replace(&mut warnings.line, left.number);
        // What is the open section's own with its margin begins no other that has none.
        let DetectedFormat { format, margin, .. } = self.reading;
        let goes_on = margin != Margin::default() && format.has(margin.strip(&left.line), margin.strip(next));
        let reading = (!goes_on)
            .then(|| DetectedFormat::of_line(&left.line, next, &TextFormat::ALL, TextFormat::begins))
            .flatten();
        match reading.filter(|reading| *reading != self.reading) {
            Some(reading) => {
                self.end(std::mem::replace(warnings, Warnings::from_line(left.number)));
                (self.reading, self.begun) = (reading, left.number);
                self.parser = reading.format.parser();
                lines::take(&mut *self.parser, reading.margin.strip(&left.line), warnings);
            }
            None => self.parser.other(self.reading.margin.strip(&left.line), warnings),
        }
        warnings.line = number;
        left.line
    }

    /// Ends the section that is open.
    fn end(&mut self, mut warnings: Warnings) {
        let (format, line) = (self.reading.format, self.begun);
        let parsed = std::mem::replace(&mut self.parser, format.parser()).finish(&mut warnings);
        let ended = self.ended.entry(format).or_insert_with(|| Ended { line, ..Ended::default() });
        ended.events = ended.events.saturating_add(parsed.events);
        ended.lost = ended.lost.saturating_add(parsed.lost);
        ended.warnings.add(warnings);
        for (stack, count) in parsed.stacks {
            let all = ended.stacks.entry(stack).or_default();
            *all = all.saturating_add(count);
        }
    }
}

impl Ended {
    /// The section of a text that holds others besides where it `mixes` formats.
    fn into_section(self, format: TextFormat, mixes: bool) -> Section {
        let Self { line, events, lost, stacks, warnings } = self;
        let warnings = if mixes { warnings.without_others() } else { warnings };
        let (stacks, warnings) = (stacks.into_iter().collect(), warnings.into_inner());
        Section {
            format,
            line,
            parsed: ParsedCapture { events, lost, stacks, warnings, ..ParsedCapture::default() },
        }
    }
}

#[cfg(test)]
mod tests;
