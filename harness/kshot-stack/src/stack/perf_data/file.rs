//! The layout of a `perf.data` file: a header, the events' attributes, the records, and the feature sections
//! (tools/perf/util/header.h, `struct perf_file_header`; include/uapi/linux/perf_event.h).

use std::collections::HashMap;
use std::io::{self, Read, Take};

use byteorder::{BigEndian, LittleEndian};
use foldhash::fast::RandomState;
use linux_perf_event_reader::{
    Endianness, PerfEventAttr, RawEventRecord, RecordParseInfo, RecordType, SampleFormat,
};

use super::order::{FileEntry, Record};
use super::{Kind, Warnings, printable};

/// The size of `struct perf_file_header`.
const HEADER: u64 = 104;
/// The most bytes before the records: some events' attributes, and an id for each event and CPU.
const BEFORE_MOST: u64 = 4 << 20;
/// The most bytes of the event descriptions.
const NAMES_MOST: u64 = 16 << 20;
/// The most bytes that are allocated before they are read.
const READ_AT_ONCE: usize = 64 << 10;
/// The offset of the flags in `perf_event_attr`.
const FLAGS: usize = 40;
/// The size of `struct perf_file_section`; one follows each attribute and locates the event's ids.
const SECTION: usize = 16;
/// The bit of `HEADER_EVENT_DESC` in the header's features.
const EVENT_DESC: u32 = 12;
/// `PERF_RECORD_FINISHED_ROUND`.
const FINISHED_ROUND: u32 = 68;
/// `PERF_RECORD_AUXTRACE`.
const AUXTRACE: u32 = 71;
/// `PERF_RECORD_COMPRESSED` and its successor.
const COMPRESSED: [u32; 2] = [81, 83];
/// The types of the records that are used: `MMAP`, `LOST`, `COMM`, `FORK`, `SAMPLE`, `LOST_SAMPLES`.
const WANTED: [u32; 6] = [1, 2, 3, 7, 9, 13];

/// A recorded event.
#[derive(Debug)]
pub(super) struct Event {
    /// The layout of its records.
    pub(super) format: RecordParseInfo,
}

/// A `perf.data` file that is read once, from start to end.
#[derive(Debug)]
pub(super) struct Reader<R> {
    /// The input, limited to the records.
    records: Take<R>,
    endian: Endianness,
    events: Vec<Event>,
    /// The index of the event of each id.
    ids: HashMap<u64, usize, RandomState>,
    /// The offset of the end of the records; `None` if perf was killed before it wrote it.
    end: Option<u64>,
    /// A bitmap of the feature sections.
    features: [u64; 4],
}

impl Event {
    /// Whether a record can be given to linux-perf-event-reader, which does not check the length of a call
    /// chain.
    pub(super) fn is_sound(&self, record: &Record) -> bool {
        let format = self.format.sample_format;
        if record.kind != RecordType::SAMPLE {
            return true;
        }
        // Counters precede the call chain, and the crate mixes up their grouped and single forms.
        if format.contains(SampleFormat::READ) {
            return false;
        }
        let before = SampleFormat::IDENTIFIER
            | SampleFormat::IP
            | SampleFormat::TID
            | SampleFormat::TIME
            | SampleFormat::ADDR
            | SampleFormat::ID
            | SampleFormat::STREAM_ID
            | SampleFormat::CPU
            | SampleFormat::PERIOD;
        let at = 8 * format.intersection(before).bits().count_ones() as usize;
        let Some(chain) = record.body.get(at..) else { return false };
        !format.contains(SampleFormat::CALLCHAIN)
            || self.long(chain).is_some_and(|length| length <= (chain.len() as u64 - 8) / 8)
    }

    /// The number at the start of `bytes`, in the byte order of the capture.
    pub(super) fn long(&self, bytes: &[u8]) -> Option<u64> {
        long(self.format.endian, bytes)
    }
}

impl<R: Read> Reader<R> {
    /// Reads everything before the first record. Returns `None`, and notes a warning, if it is unreadable.
    ///
    /// # Errors
    /// The errors of `input`.
    pub(super) fn open(mut input: R, warnings: &mut Warnings) -> io::Result<Option<Self>> {
        let mut before = bytes(&mut input, HEADER)?;
        let mut nothing = |why: &str| {
            warnings.note(Kind::UnreadableRecord, why.as_bytes());
            Ok(None)
        };
        let endian = match before.get(..8) {
            Some(b"PERFILE2") => Endianness::LittleEndian,
            Some(b"2ELIFREP") => Endianness::BigEndian,
            _ => return nothing("this is no perf.data"),
        };
        let word = |bytes: &[u8], at: usize| long(endian, bytes.get(at..).unwrap_or_default());
        let header = [16, 24, 32, 40, 48, 72, 80, 88, 96].map(|at| word(&before, at));
        let [Some(each), Some(attrs), Some(length), Some(start), Some(size), features @ ..] = header else {
            return nothing("the header of perf.data is cut");
        };
        if !(HEADER..=BEFORE_MOST).contains(&start) {
            return nothing("the records of perf.data begin where they cannot");
        }
        before.extend(bytes(&mut input, start - HEADER)?);

        let (mut events, mut ids) = (Vec::new(), HashMap::default());
        let each = usize::try_from(each).unwrap_or(usize::MAX).max(FLAGS + 8 + SECTION);
        for entry in part(&before, Some(attrs), Some(length)).chunks_exact(each) {
            let (attr, section) = entry.split_at(entry.len() - SECTION);
            let Some(format) = format(attr, endian) else {
                return nothing("perf.data has an event whose attributes cannot be read");
            };
            let of_event = part(&before, word(section, 0), word(section, 8)).chunks_exact(8);
            ids.extend(of_event.filter_map(|id| word(id, 0)).map(|id| (id, events.len())));
            events.push(Event { format });
        }
        if events.is_empty() {
            return nothing("perf.data has no events");
        }
        if size == 0 {
            warnings.note(Kind::CutCapture, b"perf was killed: the header of perf.data lacks the size");
        }
        let records = input.take(if size == 0 { u64::MAX } else { size });
        let end = start.checked_add(size).filter(|_| size > 0);
        let features = features.map(Option::unwrap_or_default);
        Ok(Some(Self { records, endian, events, ids, end, features }))
    }

    /// The next record of a used type or end of a round; `None` at the end.
    ///
    /// # Errors
    /// The errors of the input.
    pub(super) fn next(&mut self, warnings: &mut Warnings) -> io::Result<Option<FileEntry>> {
        while self.records.limit() > 0 {
            let header = bytes(&mut self.records, 8)?;
            let endian = self.endian;
            let at = |at: usize| header.get(at..).unwrap_or_default();
            let (Some(kind), Some(misc), Some(size)) =
                (int(endian, at(0)), short(endian, at(4)), short(endian, at(6)))
            else {
                if self.end.is_some() || !header.is_empty() {
                    warnings.note(Kind::CutCapture, b"the records end too early");
                }
                break;
            };
            let Some(length) = size.checked_sub(8) else {
                let line = format!("record of type {kind} of {size} bytes: no more is read");
                warnings.note(Kind::UnreadableRecord, line.as_bytes());
                return Ok(None);
            };
            let body = bytes(&mut self.records, length.into())?;
            if body.len() < length.into() {
                warnings.note(Kind::CutCapture, format!("record of type {kind} of {size} bytes").as_bytes());
                return Ok(None);
            }
            match kind {
                FINISHED_ROUND => return Ok(Some(FileEntry::Round)),
                // Its trace data follows and is not counted in its size.
                AUXTRACE => skip(&mut self.records, long(endian, &body).unwrap_or(0))?,
                _ if COMPRESSED.contains(&kind) => {
                    warnings.note(Kind::UnreadableRecord, b"compressed records");
                }
                _ if WANTED.contains(&kind) => match self.record(RecordType(kind), misc, body) {
                    Some(record) => return Ok(Some(FileEntry::Record(record))),
                    None => warnings.note(Kind::UnreadableRecord, b"sample of an event that is not listed"),
                },
                _ => {}
            }
        }
        Ok(None)
    }

    /// The event of a record.
    pub(super) fn event(&self, record: &Record) -> &Event {
        &self.events[record.event]
    }

    /// Reads the names of the events, which are stored after the records.
    ///
    /// # Errors
    /// The errors of the input.
    pub(super) fn names(mut self) -> io::Result<Vec<String>> {
        skip(&mut self.records, u64::MAX)?;
        self.records.set_limit(u64::MAX);
        // One section per feature, in the order of the bits.
        let has = |bit: &u32| self.features[*bit as usize / 64] >> (bit % 64) & 1 == 1;
        let sections: Vec<u32> = (0..256).filter(has).collect();
        let table = bytes(&mut self.records, (sections.len() * SECTION) as u64)?;
        let place = sections.iter().position(|&bit| bit == EVENT_DESC);
        let section = place.and_then(|place| table.get(place * SECTION..)).unwrap_or_default();
        let word = |at: usize| long(self.endian, section.get(at..)?);
        let gap = || word(0)?.checked_sub(self.end?.checked_add(table.len() as u64)?);
        let (Some(gap), Some(size)) = (gap(), word(8)) else {
            return Ok(Vec::new());
        };
        skip(&mut self.records, gap)?;
        let list = bytes(&mut self.records, size.min(NAMES_MOST))?;
        Ok(names(&list, self.endian))
    }

    fn record(&self, kind: RecordType, misc: u16, body: Vec<u8>) -> Option<Record> {
        let raw = |event: &Event| RawEventRecord::new(kind, misc, body[..].into(), event.format);
        // perf record makes events of different layouts have their ids at the same offset.
        let event = match self.ids.get(&raw(&self.events[0]).id().unwrap_or_default()) {
            _ if self.events.len() == 1 => 0,
            Some(&event) => event,
            None if kind == RecordType::SAMPLE => return None,
            None => 0,
        };
        let time = raw(&self.events[event]).timestamp();
        Some(Record { kind, misc, event, time, body })
    }
}

/// The layout of the records of an event, from its `perf_event_attr`.
fn format(attr: &[u8], endian: Endianness) -> Option<RecordParseInfo> {
    let attr = match endian {
        Endianness::LittleEndian => PerfEventAttr::parse::<_, LittleEndian>(attr).ok()?,
        Endianness::BigEndian => {
            // The flags are a C bit field, which big-endian compilers fill from the most significant bit; the
            // crate expects the little-endian order.
            let mut attr = attr.to_vec();
            let flags: &mut [u8; 8] = attr.get_mut(FLAGS..)?.first_chunk_mut()?;
            *flags = u64::from_be_bytes(*flags).reverse_bits().to_be_bytes();
            PerfEventAttr::parse::<_, BigEndian>(&attr[..]).ok()?
        }
    };
    Some(RecordParseInfo::new(&attr.0, endian))
}

/// Parses the event descriptions (`write_event_desc`): the number of events and the size of an attribute;
/// then for each event its attribute, number of ids, length of the name, name, and ids. Stops where they are
/// cut.
fn names(list: &[u8], endian: Endianness) -> Vec<String> {
    let Some(attr) = list.get(4..).and_then(|rest| int(endian, rest)) else { return Vec::new() };
    let mut list = list.get(8..).unwrap_or_default();
    let mut name = || {
        let ids = int(endian, list.get(attr as usize..)?)?;
        let rest = list.get(attr as usize + 4..)?;
        let length = int(endian, rest)? as usize;
        let (name, rest) = rest[4..].split_at_checked(length)?;
        list = rest.get(8 * ids as usize..)?;
        Some(printable(name.split(|&byte| byte == 0).next()?))
    };
    std::iter::from_fn(&mut name).collect()
}

/// Reads `count` bytes, or fewer at the end of the input.
fn bytes(input: &mut impl Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(READ_AT_ONCE));
    input.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn skip(input: &mut impl Read, count: u64) -> io::Result<()> {
    io::copy(&mut input.take(count), &mut io::sink()).map(drop)
}

/// A section within `before`; empty if it would reach beyond.
fn part(before: &[u8], offset: Option<u64>, size: Option<u64>) -> &[u8] {
    let range = || {
        let offset = usize::try_from(offset?).ok()?;
        Some(offset..offset.checked_add(usize::try_from(size?).ok()?)?)
    };
    range().and_then(|range| before.get(range)).unwrap_or_default()
}

/// The number at the start of `bytes`.
pub(super) fn long(endian: Endianness, bytes: &[u8]) -> Option<u64> {
    let bytes = *bytes.first_chunk()?;
    Some(match endian {
        Endianness::LittleEndian => u64::from_le_bytes(bytes),
        Endianness::BigEndian => u64::from_be_bytes(bytes),
    })
}

fn int(endian: Endianness, bytes: &[u8]) -> Option<u32> {
    let bytes = *bytes.first_chunk()?;
    Some(match endian {
        Endianness::LittleEndian => u32::from_le_bytes(bytes),
        Endianness::BigEndian => u32::from_be_bytes(bytes),
    })
}

fn short(endian: Endianness, bytes: &[u8]) -> Option<u16> {
    let bytes = *bytes.first_chunk()?;
    Some(match endian {
        Endianness::LittleEndian => u16::from_le_bytes(bytes),
        Endianness::BigEndian => u16::from_be_bytes(bytes),
    })
}
