//! Sorts records by time. perf writes the buffers of all CPUs one after the other, which is a round, and
//! marks the end of each round. The records of a round are older than all records two rounds later
//! (tools/perf/util/ordered-events.c).

use std::io;

use linux_perf_event_reader::RecordType;

/// The most bytes of records that are held back; perf's own buffers are far smaller. With more, records are
/// passed on without waiting for the end of the round.
const WAITING_MOST: usize = 64 << 20;

/// A record of the kernel.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: RecordType,
    pub(super) misc: u16,
    /// The index of its event in the capture.
    pub(super) event: usize,
    /// The time in nanoseconds, if the record has one.
    pub(super) time: Option<u64>,
    pub(super) body: Vec<u8>,
}

/// An entry of a capture's data section.
#[derive(Debug)]
pub(super) enum FileEntry {
    /// A record.
    Record(Record),
    /// The end of a round.
    Round,
}

/// The records that are held back because older ones may still come.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The records with their times.
    waiting: Vec<(u64, Record)>,
    bytes: usize,
    /// The newest time of the rounds that have ended.
    ended: u64,
    /// The newest time of all records.
    newest: u64,
}

impl Rounds {
    /// Adds an entry, and passes on the records that are older than all that may still come.
    pub(super) fn add(
        &mut self,
        entry: FileEntry,
        mut take: impl FnMut(Record) -> io::Result<()>,
    ) -> io::Result<()> {
        match entry {
            FileEntry::Record(record) => match record.time {
                // Synthesized by perf for the tasks and maps that existed before.
                None | Some(0 | u64::MAX) => take(record),
                Some(time) => {
                    self.newest = self.newest.max(time);
                    self.bytes += size_of::<(u64, Record)>() + record.body.capacity();
                    self.waiting.push((time, record));
                    if self.bytes <= WAITING_MOST {
                        return Ok(());
                    }
                    self.pass_on(self.newest, take)
                }
            },
            FileEntry::Round => {
                self.pass_on(self.ended, take)?;
                self.ended = self.newest;
                Ok(())
            }
        }
    }

    /// Passes on the remaining records.
    pub(super) fn finish(mut self, take: impl FnMut(Record) -> io::Result<()>) -> io::Result<()> {
        self.pass_on(u64::MAX, take)
    }

    fn pass_on(&mut self, until: u64, mut take: impl FnMut(Record) -> io::Result<()>) -> io::Result<()> {
        // Records of one time keep their order.
        self.waiting.sort_by_key(|(time, _)| *time);
        let due = self.waiting.partition_point(|(time, _)| *time <= until);
        for (_, record) in self.waiting.drain(..due) {
            self.bytes -= size_of::<(u64, Record)>() + record.body.capacity();
            take(record)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: u64, bytes: usize) -> FileEntry {
        let (kind, body) = (RecordType::SAMPLE, vec![0; bytes]);
        FileEntry::Record(Record { kind, misc: 0, event: 0, time: Some(time), body })
    }

    fn push(order: &mut Vec<Option<u64>>, record: &Record) -> io::Result<()> {
        order.push(record.time);
        Ok(())
    }

    fn order(entries: impl IntoIterator<Item = FileEntry>) -> Vec<Option<u64>> {
        let (mut rounds, mut order) = (Rounds::default(), Vec::new());
        for entry in entries {
            rounds.add(entry, |record| push(&mut order, &record)).unwrap();
        }
        rounds.finish(|record| push(&mut order, &record)).unwrap();
        order
    }

    #[test]
    fn two_buffers_become_one_order() {
        let rounds =
            [&[1, 3, 2, 4][..], &[5, 7, 4, 6], &[8]].map(|times| times.iter().map(|&time| record(time, 0)));
        let entries = rounds.into_iter().flat_map(|round| round.chain([FileEntry::Round]));
        assert_eq!(order(entries), [1, 2, 3, 4, 4, 5, 6, 7, 8].map(Some));
    }

    #[test]
    fn what_has_no_time_comes_at_once() {
        assert_eq!(order([record(2, 0), record(0, 0), record(1, 0)]), [0, 1, 2].map(Some));
    }

    #[test]
    fn a_capture_without_rounds_takes_bounded_memory() {
        let mut rounds = Rounds::default();
        for time in (1..3000).rev() {
            rounds.add(record(time, 64 << 10), |_| Ok(())).unwrap();
            assert!(rounds.bytes <= WAITING_MOST, "{}", rounds.bytes);
        }
    }
}
