//! Lines of a text that nothing tells to be of its format: what people wrote around an excerpt, or a damaged
//! part of it.

use std::ops::RangeInclusive;

use super::Warning;

/// Runs of such lines that are told apart, at most: what comes later counts with the last of them.
const MOST_RUNS: usize = 4096;

/// Such lines by runs of those that follow each other.
#[derive(Debug, Default)]
pub(super) struct OtherLines {
    runs: Vec<Run>,
}

/// Lines that follow each other.
#[derive(Debug)]
struct Run {
    first: u64,
    last: u64,
    count: u64,
    /// What the first says.
    example: String,
}

impl OtherLines {
    /// Adds the line of this number. One that was kept until others showed what it is comes late.
    pub(super) fn push(&mut self, number: u64, shown: impl FnOnce() -> String) {
        let is_full = self.runs.len() >= MOST_RUNS;
        match self.runs.last_mut() {
            Some(run) if is_full || run.last == number || run.last + 1 == number => {
                run.last = run.last.max(number);
                run.count += 1;
            }
            _ => self.runs.push(Run { first: number, last: number, count: 1, example: shown() }),
        }
    }

    /// Keeps the runs that lie in one of these ranges of lines.
    pub(super) fn keep(&mut self, ranges: &[RangeInclusive<u64>]) {
        let is_in = |run: &Run| {
            let next = ranges.partition_point(|range| *range.end() < run.first);
            ranges.get(next).is_some_and(|range| range.contains(&run.first) && range.contains(&run.last))
        };
        self.runs.retain(is_in);
    }

    /// Adds those of a later part of the text.
    pub(super) fn add(&mut self, later: Self) {
        self.runs.extend(later.runs);
    }

    /// One warning of this kind for all.
    pub(super) fn warning(&mut self, kind: &str) -> Option<Warning> {
        let count = self.runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.count));
        let first = self.runs.drain(..).min_by_key(|run| run.first)?;
        let line = (first.first > 0).then_some(first.first);
        Some(Warning { kind: kind.into(), count, example: first.example, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_in_a_range_are_kept_and_the_first_of_them_is_shown() {
        let lines = || {
            let mut lines = OtherLines::default();
            for number in [1, 2, 5, 8, 9] {
                lines.push(number, || format!("line {number}"));
            }
            lines
        };
        let told = |mut lines: OtherLines| lines.warning("a").map(|it| (it.count, it.example, it.line));
        assert_eq!(told(lines()), Some((5, "line 1".into(), Some(1))));
        let mut kept = lines();
        kept.keep(&[5..=5, 8..=8, 9..=10]);
        assert_eq!(told(kept), Some((1, "line 5".into(), Some(5))));
        let mut none = lines();
        none.keep(&[]);
        assert_eq!(told(none), None);
    }
}
