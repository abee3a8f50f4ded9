//! Texts that mix formats: a mail or a log may hold an excerpt of ftrace, a call trace of the console and one
//! of perf, one after the other.
//!
//! A section ends before a line that its parser does not know and that begins one of another format. What no
//! format knows belongs to the section that it stands in; where a text mixes formats, that is what people and
//! programs wrote in between. In a text of one format it is that, too, unless it stands among the lines of an
//! excerpt: then it is a damaged one of these.

use std::ops::RangeInclusive;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::{Margin, Reading, TextFormat};
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
    reading: Reading,
    parser: Box<dyn LineParser>,
    /// The number of the first line of the section that is open.
    begun: u64,
    /// A line that the parser did not take: the one behind it may tell whose it is.
    left: Option<Left>,
    /// Where lines of excerpts may be damaged.
    damage: Damage,
    /// What the sections came to that have ended.
    ended: IndexMap<TextFormat, Ended, RandomState>,
}

/// A line and its number.
struct Left {
    line: Vec<u8>,
    number: u64,
}

/// Lines that no parser knows and that stand between two of an excerpt, with no empty line among them.
#[derive(Default)]
struct Damage {
    /// The number of the last line that is of its format.
    last: u64,
    /// Whether an empty line stands behind it.
    is_parted: bool,
    /// The numbers of such lines.
    ranges: Vec<RangeInclusive<u64>>,
    /// Whether there are others, in front of the first excerpt or behind an empty line.
    has_prose: bool,
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
    pub(super) fn new(reading: Reading) -> Self {
        let parser = reading.format.parser();
        Self { reading, parser, begun: 1, left: None, damage: Damage::default(), ended: IndexMap::default() }
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        if self.reading.is_gap(line) {
            return;
        }
        let memory = self.left.take().map(|left| self.decide(left, line, warnings));
        let text = self.reading.text(line);
        self.damage.is_parted |= text.is_empty();
        if self.parser.line(text, warnings) {
            // `# ./tool`: what a shell is told is a comment for others.
            if !text.is_empty() && !text.starts_with(b"#") {
                self.damage.known(warnings.line);
            }
        } else {
            self.damage.unknown();
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
        let damage = (some > 1).then(Vec::new).or(self.damage.has_prose.then_some(self.damage.ranges));
        sections.map(|(_, (format, ended))| ended.into_section(format, damage.as_deref())).collect()
    }

    /// Gives a line to the section that it begins or, where it begins none, to the one that it stands in.
    /// Returns the line's memory.
    fn decide(&mut self, left: Left, next: &[u8], warnings: &mut Warnings) -> Vec<u8> {
        let number = std::mem::replace(&mut warnings.line, left.number);
        // What is the open section's own with its margin begins no other that has none.
        let Reading { format, margin } = self.reading;
        let goes_on = margin != Margin::default() && format.has(margin.strip(&left.line), margin.strip(next));
        let reading = (!goes_on)
            .then(|| Reading::of_line(&left.line, next, &TextFormat::ALL, TextFormat::begins))
            .flatten();
        match reading.filter(|reading| *reading != self.reading) {
            Some(reading) => {
                self.end(std::mem::replace(warnings, Warnings::from_line(left.number)));
                (self.reading, self.begun) = (reading, left.number);
                self.parser = reading.format.parser();
                lines::take(&mut *self.parser, reading.text(&left.line), warnings);
            }
            None => self.parser.other(self.reading.text(&left.line), warnings),
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

impl Damage {
    /// The most lines that are taken for damaged, and the most places of such.
    const MOST: u64 = 16;
    const MOST_PLACES: usize = 4096;

    /// Takes a line that no parser knows so far.
    fn unknown(&mut self) {
        self.has_prose |= self.is_parted || self.last == 0;
    }

    /// Takes the number of a line that is of its format.
    fn known(&mut self, number: u64) {
        if number == self.last + 1 {
            self.last = number;
            return;
        }
        let between = self.last + 1..=number.saturating_sub(1);
        let is_damage = self.last > 0 && !self.is_parted && !between.is_empty();
        (self.last, self.is_parted) = (number, false);
        if !is_damage || between.end() - between.start() >= Self::MOST {
            return;
        }
        if self.ranges.len() < Self::MOST_PLACES {
            self.ranges.push(between);
        } else if let Some(last) = self.ranges.last_mut() {
            *last = *last.start()..=*between.end();
        }
    }
}

impl Ended {
    /// The section, of a text in which only lines in these ranges are damaged, if there are such ranges.
    fn into_section(self, format: TextFormat, damage: Option<&[RangeInclusive<u64>]>) -> Section {
        let Self { line, events, lost, stacks, warnings } = self;
        let warnings = match damage {
            Some(ranges) => warnings.with_others_in(ranges),
            None => warnings,
        };
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
