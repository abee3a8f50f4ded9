//! The build id that tells two builds of the same kernel apart.

use object::elf::{self, FileHeader64};
use object::read::elf::NoteIterator;
use object::{Endianness, Object, ObjectSection, ReadRef};

/// The GNU build id of an ELF file, `None` if it has none.
///
/// # Errors
/// The data is not an ELF file.
pub fn build_id<'data>(elf: impl ReadRef<'data>) -> Result<Option<Vec<u8>>, object::Error> {
    Ok(object::File::parse(elf)?.build_id()?.map(<[u8]>::to_vec))
}

/// Where a kernel has its notes, among them its build id, in its memory: address and size in bytes. `None` if
/// the ELF file has none.
///
/// # Errors
/// The data is not an ELF file.
pub fn notes_section<'data>(elf: impl ReadRef<'data>) -> Result<Option<(u64, u64)>, object::Error> {
    let section =
        object::File::parse(elf)?.section_by_name(".notes").map(|notes| (notes.address(), notes.size()));
    Ok(section)
}

/// The build id in `notes`, the notes of a running kernel, in the byte order of the ELF file `elf`.
/// Parsing ends at the first invalid note.
///
/// # Errors
/// `elf` is not an ELF file.
pub fn build_id_of_notes<'data>(
    elf: impl ReadRef<'data>,
    notes: &[u8],
) -> Result<Option<Vec<u8>>, object::Error> {
    let endian = object::File::parse(elf)?.endianness();
    let mut notes = NoteIterator::<FileHeader64<Endianness>>::new(endian, 4, notes)?;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return Ok(Some(note.desc().to_vec()));
        }
    }
    Ok(None)
}
