//! Partial loading of DWARF: from a kernel's `.debug_info`, by far its largest section, only the compilation
//! units that contain certain addresses, found with `.debug_aranges` (DWARF 5, section 6.1.2). A module's
//! DWARF is small but has to be relocated, because a module is linked when it is loaded.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use addr2line::Context;
use gimli::{DebugAranges, Dwarf, DwarfSections, EndianSlice, RunTimeEndian, SectionId};
use object::read::ReadRef;
use object::read::elf::FileHeader;
use object::{
    CompressedData, CompressionFormat, Object, ObjectKind, ObjectSection, ObjectSymbol, ReadCache,
    Relocation, RelocationFlags, RelocationKind, RelocationTarget,
};

use super::section_addresses::SectionAddresses;
use crate::host::Compression;
use kshot_stack::arch::{Arch, OwnRelocation, RelocationOperation as Operation};

/// The most bytes of a function that its symbol covers and its DWARF does not: GCC's
/// `-fpatchable-function-entry`, by which arm64's and riscv64's kernels are traced, leaves them in front of
/// what it tells of.
pub(super) const PATCHABLE_BYTES: u64 = 16;

/// The largest compressed section, in bytes: `.debug_info` of Debian's kernels takes 200 MB.
const SECTION_BYTES_MOST: u64 = 4 << 30;

pub(super) type Reader<'a> = EndianSlice<'a, RunTimeEndian>;

/// The DWARF sections of one file, as far as they are needed.
pub(super) struct Sections {
    sections: DwarfSections<Vec<u8>>,
    endian: RunTimeEndian,
}

/// Why DWARF could not be loaded.
pub(super) enum DwarfError {
    Unreadable(io::Error),
    Elf(object::Error),
    Dwarf(gimli::Error),
    /// The unsupported relocation.
    Relocation(String),
}

impl From<io::Error> for DwarfError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<object::Error> for DwarfError {
    fn from(error: object::Error) -> Self {
        Self::Elf(error)
    }
}

impl From<gimli::Error> for DwarfError {
    fn from(error: gimli::Error) -> Self {
        Self::Dwarf(error)
    }
}

impl Sections {
    /// Reads the DWARF of a file for `addresses`; all of it if there is no `.debug_aranges` (clang writes
    /// none). Of the sections `without` nothing is read.
    pub(super) fn read(
        path: &Path,
        bases: &SectionAddresses,
        addresses: &[u64],
        without: &[SectionId],
    ) -> Result<Self, DwarfError> {
        let cache = ReadCache::new(File::open(path)?);
        let endian = endian(&object::File::parse(&cache)?);
        let load = |id: SectionId| -> Result<Vec<u8>, DwarfError> {
            // A cache keeps what was read through it, and a section is some megabytes.
            let cache = ReadCache::new(File::open(path)?);
            let file = object::File::parse(&cache)?;
            let part = match id {
                SectionId::DebugInfo => units(&file, &cache, endian, addresses)?,
                // Locations of variables are not needed.
                SectionId::DebugLoc | SectionId::DebugLocLists => Some(Vec::new()),
                id if without.contains(&id) => Some(Vec::new()),
                id => plain(path, &file, id)?,
            };
            part.map_or_else(|| section(&file, bases, id).map(Cow::into_owned), Ok)
        };
        Ok(Self { sections: DwarfSections::load(load)?, endian })
    }

    /// The DWARF in the sections.
    pub(super) fn dwarf(&self) -> Dwarf<Reader<'_>> {
        self.sections.borrow(|section| EndianSlice::new(section, self.endian))
    }

    /// For looking up addresses.
    pub(super) fn context(&self) -> gimli::Result<Context<Reader<'_>>> {
        Context::from_dwarf(self.dwarf())
    }
}

/// Whether the compiler put the DWARF of a file into others (`-gsplit-dwarf`): its units are skeletons, which
/// name those (DWARF 5, section 3.1.2). Assembly code has none of them.
pub(crate) fn is_split<'data, R: ReadRef<'data>>(file: &object::File<'data, R>) -> bool {
    let read = |id| section(file, &SectionAddresses::linked(), id).ok();
    let sections = read(SectionId::DebugInfo).zip(read(SectionId::DebugAbbrev));
    let Some((info, abbreviations)) = sections else { return false };
    let dwarf = Dwarf::load(|id| {
        let bytes: &[u8] = match id {
            SectionId::DebugInfo => &info,
            SectionId::DebugAbbrev => &abbreviations,
            _ => &[],
        };
        Ok::<_, gimli::Error>(EndianSlice::new(bytes, endian(file)))
    });
    dwarf.and_then(|dwarf| is_skeleton(&dwarf)).unwrap_or(false)
}

/// Whether the first unit of C code is a skeleton.
fn is_skeleton(dwarf: &Dwarf<Reader<'_>>) -> gimli::Result<bool> {
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let abbreviations = dwarf.abbreviations(&header)?;
        let mut entries = header.entries(&abbreviations);
        let Some(root) = entries.next_dfs()? else { continue };
        if [gimli::DW_AT_dwo_name, gimli::DW_AT_GNU_dwo_name]
            .iter()
            .any(|name| root.attr_value(*name).is_some())
        {
            return Ok(true);
        }
        if is_c(root.attr_value(gimli::DW_AT_language)) {
            return Ok(false);
        }
    }
    Ok(false)
}

fn is_c(language: Option<gimli::AttributeValue<Reader<'_>>>) -> bool {
    use gimli::{DW_LANG_C, DW_LANG_C11, DW_LANG_C89, DW_LANG_C99};
    let Some(gimli::AttributeValue::Language(language)) = language else { return false };
    [DW_LANG_C, DW_LANG_C89, DW_LANG_C99, DW_LANG_C11].contains(&language)
}

/// A section that lies in its file just as it has to be read; `None` for others.
fn plain<'data, R: ReadRef<'data>>(
    path: &Path,
    file: &object::File<'data, R>,
    id: SectionId,
) -> Result<Option<Vec<u8>>, DwarfError> {
    let linked = file.kind() != ObjectKind::Relocatable;
    let Some(section) = file.section_by_name(id.name()).filter(|_| linked) else { return Ok(None) };
    let range = section.compressed_file_range()?;
    if range.format != CompressionFormat::None {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let end = range.offset.checked_add(range.uncompressed_size);
    let size = usize::try_from(range.uncompressed_size).ok();
    let size = size.filter(|_| end.zip(file.metadata().ok()).is_some_and(|(end, file)| end <= file.len()));
    let mut bytes = Vec::with_capacity(size.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?);
    file.seek(SeekFrom::Start(range.offset))?;
    file.take(range.uncompressed_size).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The units of `.debug_info` that contain one of `addresses`, concatenated. A unit refers to other sections
/// by their offsets and to itself by offsets from its start, so it can be moved. `None` if the units cannot
/// be separated.
fn units<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    bytes: R,
    endian: RunTimeEndian,
    addresses: &[u64],
) -> Result<Option<Vec<u8>>, DwarfError> {
    if file.kind() == ObjectKind::Relocatable {
        return Ok(None);
    }
    let aranges = section(file, &SectionAddresses::linked(), SectionId::DebugAranges)?;
    let Some(info) = file.section_by_name(SectionId::DebugInfo.name()) else { return Ok(None) };
    if aranges.is_empty() {
        return Ok(None);
    }
    let range = info.compressed_file_range()?;
    let unpacked = match range.format {
        CompressionFormat::None => None,
        _ => Some(unpack(info.compressed_data()?)?),
    };
    let truncated = || DwarfError::Dwarf(gimli::Error::UnexpectedEof(gimli::ReaderOffsetId(0)));
    let read = |offset: u64, size: u64| {
        let end = offset.checked_add(size).filter(|end| *end <= range.uncompressed_size);
        end.ok_or_else(truncated)?;
        match &unpacked {
            Some(unpacked) => unpacked.read_bytes_at(offset, size),
            None => bytes.read_bytes_at(range.offset.checked_add(offset).ok_or_else(truncated)?, size),
        }
        .map_err(|()| truncated())
    };
    let mut wanted = Vec::new();
    let aranges = DebugAranges::new(&aranges, endian);
    let mut headers = aranges.headers();
    while let Some(header) = headers.next()? {
        let mut entries = header.entries();
        while let Some(entry) = entries.next()? {
            let begin = entry.range().begin.saturating_sub(PATCHABLE_BYTES);
            if addresses.iter().any(|at| begin <= *at && *at < entry.range().end) {
                let start = header.debug_info_offset().0 as u64;
                // The unit's length counts from behind itself: 4 bytes, or 12 in 64-bit DWARF.
                let mut head = EndianSlice::new(read(start, 12)?, endian);
                let (length, format) = gimli::Reader::read_initial_length(&mut head)?;
                let size = (length as u64).checked_add(format.initial_length_size().into());
                wanted.extend_from_slice(read(start, size.ok_or_else(truncated)?)?);
                break;
            }
        }
    }
    Ok(Some(wanted))
}

/// The byte order of a file.
pub(super) fn endian<'data, R: ReadRef<'data>>(file: &object::File<'data, R>) -> RunTimeEndian {
    if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big }
}

/// A DWARF section with its relocations applied; empty if the file has no such section.
pub(super) fn section<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    bases: &SectionAddresses,
    id: SectionId,
) -> Result<Cow<'data, [u8]>, DwarfError> {
    let Some(section) = file.section_by_name(id.name()) else { return Ok(Cow::Borrowed(&[])) };
    let data = unpack(section.compressed_data()?)?;
    // A linked file may still have relocation sections.
    if file.kind() != ObjectKind::Relocatable {
        return Ok(data);
    }
    let mut data = data.into_owned();
    for (offset, relocation) in section.relocations() {
        relocate(file, bases, &mut data, offset, &relocation)?;
    }
    Ok(Cow::Owned(data))
}

/// The bytes of a section, which may be compressed (System V ABI, "Section Compression";
/// CONFIG_DEBUG_INFO_COMPRESSED_*).
fn unpack(data: CompressedData<'_>) -> Result<Cow<'_, [u8]>, DwarfError> {
    let compression = match data.format {
        CompressionFormat::None => return Ok(Cow::Borrowed(data.data)),
        CompressionFormat::Zlib => Compression::Zlib,
        CompressionFormat::Zstandard => Compression::ZSTD,
        format => return Err(io::Error::other(format!("a section is compressed with {format:?}")).into()),
    };
    if data.uncompressed_size > SECTION_BYTES_MOST {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    let plain = compression.unpack(data.data, data.uncompressed_size)?;
    match plain.len() as u64 == data.uncompressed_size {
        true => Ok(Cow::Owned(plain)),
        false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// Applies one relocation: writes an address or an offset into a DWARF section. Targets in sections that are
/// not loaded or in other files become offsets from 0; nothing is looked up there.
fn relocate<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    bases: &SectionAddresses,
    data: &mut [u8],
    offset: u64,
    relocation: &Relocation,
) -> Result<(), DwarfError> {
    let unknown = || DwarfError::Relocation(format!("{relocation:?}"));
    let own = own_relocation(file, relocation);
    let (bits, operation) = match (own, relocation.kind()) {
        (Some(own), _) => (own.bits, own.operation),
        (None, RelocationKind::None) => return Ok(()),
        // Of two operations the one that leaves what is there: an addend.
        (None, RelocationKind::Absolute) if relocation.has_implicit_addend() => {
            (relocation.size(), Operation::Add)
        }
        (None, RelocationKind::Absolute) => (relocation.size(), Operation::Set),
        _ => return Err(unknown()),
    };
    let RelocationTarget::Symbol(index) = relocation.target() else { return Err(unknown()) };
    let symbol = file.symbol_by_index(index)?;
    let target = bases.at(symbol.section_index()).unwrap_or_default().wrapping_add(symbol.address());
    let value = target.wrapping_add_signed(relocation.addend());
    let size = usize::from(bits.div_ceil(8));
    let start = usize::try_from(offset).map_err(|_| unknown())?;
    let end = start.checked_add(size).filter(|_| matches!(size, 1 | 2 | 4 | 8)).ok_or_else(unknown)?;
    let field = data.get_mut(start..end).ok_or_else(unknown)?;
    apply(field, file.is_little_endian(), bits, operation, value);
    Ok(())
}

/// Changes the lowest bits of a word of at most 8 bytes.
fn apply(field: &mut [u8], little_endian: bool, bits: u8, operation: Operation, value: u64) {
    let size = field.len();
    let within = if little_endian { 0..size } else { 8 - size..8 };
    let mut word = [0; 8];
    word[within.clone()].copy_from_slice(field);
    let before = if little_endian { u64::from_le_bytes(word) } else { u64::from_be_bytes(word) };
    let after = match operation {
        Operation::Set => value,
        Operation::Add => before.wrapping_add(value),
        Operation::Subtract => before.wrapping_sub(value),
    };
    let mask = u64::MAX >> (64 - u32::from(bits));
    let after = before & !mask | after & mask;
    word = if little_endian { after.to_le_bytes() } else { after.to_be_bytes() };
    field.copy_from_slice(&word[within]);
}

/// What a relocation does that only its architecture knows.
fn own_relocation<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    relocation: &Relocation,
) -> Option<OwnRelocation> {
    let machine = match file {
        object::File::Elf32(file) => file.elf_header().e_machine(file.endian()),
        object::File::Elf64(file) => file.elf_header().e_machine(file.endian()),
        _ => return None,
    };
    let RelocationFlags::Elf { r_type } = relocation.flags() else { return None };
    let row = Arch::of_elf(machine.0, !file.is_little_endian())?.row();
    row.relocations.iter().copied().find(|own| own.number == r_type.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(before: &[u8], little_endian: bool, bits: u8, operation: Operation, value: u64) -> Vec<u8> {
        let mut field = before.to_vec();
        apply(&mut field, little_endian, bits, operation, value);
        field
    }

    #[test]
    fn a_relocation_changes_its_bits_and_no_others() {
        use Operation::{Add, Set, Subtract};
        assert_eq!(applied(&[9; 4], true, 32, Set, 0x8000_1234), [0x34, 0x12, 0, 0x80]);
        assert_eq!(applied(&[9; 4], false, 32, Set, 0x8000_1234), [0x80, 0, 0x12, 0x34]);
        assert_eq!(applied(&[0; 8], true, 64, Subtract, 1), [0xff; 8]);
        assert_eq!(applied(&[0xff, 0], true, 16, Add, 2), [1, 1]);
        // DW_CFA_advance_loc has its delta in the low six bits, below the opcode.
        assert_eq!(applied(&[0x40], true, 6, Set, 0x7e), [0x7e]);
        assert_eq!(applied(&[0x7e], true, 6, Subtract, 0x7f), [0x7f]);
    }
}
