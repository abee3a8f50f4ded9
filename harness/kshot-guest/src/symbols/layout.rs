//! The parts of a kernel's DWARF that are needed to find data in its memory: fields, parameters, and the
//! banner.

use std::path::PathBuf;

use gimli::{AttributeValue, DwTag, SectionId, UnitOffset};
use object::{Object, ObjectSection, ObjectSymbol};

use super::dwarf::{Reader, Sections};
use super::loaded::LoadedKernel;
use super::section_addresses::SectionAddresses;
use super::{LANDMARK, SymbolsError, Unwinder, open};

/// The kernel's text that names its build (`init/version.c`).
const BANNER: &str = "linux_banner";
/// The DWARF sections about code addresses, which are not needed here.
const CODE: [SectionId; 2] = [SectionId::DebugRanges, SectionId::DebugRngLists];
/// How deep structures without a name may lie in one another.
const NESTED_MOST: usize = 8;
/// The longest banner, in bytes; a kernel's is far shorter.
const LONGEST_BANNER: u64 = 1024;

/// The types and functions of one part of a kernel.
pub struct TypeLayout {
    path: PathBuf,
    /// How far above the addresses that it is linked to the kernel was loaded, in bytes.
    offset: u64,
    sections: Sections,
    banner: Option<Banner>,
}

/// A text in the kernel's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// The address of the text.
    pub address: u64,
    /// The text with its end.
    pub text: Vec<u8>,
}

/// One child of an entry of DWARF.
struct Child {
    /// The size of the structure that it belongs to, in bytes.
    parent_size: Option<u64>,
    /// How many of its kind come before it.
    index: usize,
}

impl std::fmt::Debug for TypeLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The tag and the name by which a DIE is looked up (DWARF 5, section 2.2).
#[derive(Clone, Copy)]
struct Die<'a> {
    tag: DwTag,
    name: &'a str,
}

impl TypeLayout {
    /// Reads the part of a kernel that holds these addresses and `start_kernel`, whose file defines `struct
    /// task_struct`.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn read(loaded: &LoadedKernel, unwinder: &Unwinder, addresses: &[u64]) -> Result<Self, SymbolsError> {
        let LoadedKernel { vmlinux, offset, .. } = loaded;
        let cache = open(vmlinux)?;
        let file = object::File::parse(&cache).map_err(SymbolsError::elf(vmlinux))?;
        let addresses = [addresses, &unwinder.starts(LANDMARK)].concat();
        let addresses: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(*offset)).collect();
        let sections = Sections::read(vmlinux, &SectionAddresses::linked(), &addresses, &CODE)
            .map_err(SymbolsError::of(vmlinux))?;
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(BANNER));
        let banner = symbol.and_then(|symbol| {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            let (address, size) = (symbol.address(), symbol.size().min(LONGEST_BANNER));
            let text = section.data_range(address, size).ok()??;
            Some(Banner { address: address.wrapping_add(*offset), text: text.to_vec() })
        });
        Ok(Self { path: vmlinux.into(), offset: *offset, sections, banner })
    }

    /// The address and the text of the kernel's banner.
    pub fn banner(&self) -> Option<&Banner> {
        self.banner.as_ref()
    }

    /// The address of the first of these variables that the kernel has; for a per-CPU variable, the address
    /// that the per-CPU offsets are added to.
    ///
    /// # Errors
    /// [`SymbolsError`].
    pub fn variable(&self, names: &[&str]) -> Result<Option<u64>, SymbolsError> {
        let cache = open(&self.path)?;
        let file = object::File::parse(&cache).map_err(SymbolsError::elf(&self.path))?;
        let find = |name: &&str| file.symbols().find(|symbol| symbol.name() == Ok(*name));
        Ok(names.iter().find_map(find).map(|symbol| symbol.address().wrapping_add(self.offset)))
    }

    /// Where a field lies in a structure, in bytes, or in a structure without a name inside of it; `None` where
    /// there is no such structure or field.
    ///
    /// # Errors
    /// [`SymbolsError::Dwarf`].
    pub fn field(&self, structure: &str, field: &str) -> Result<Option<u64>, SymbolsError> {
        self.find_field(structure, field)
            .map_err(|source| SymbolsError::Dwarf { path: self.path.clone(), source })
    }

    /// The size of the structure that has this field, in bytes; `None` where there is no such structure or
    /// field.
    ///
    /// # Errors
    /// [`SymbolsError::Dwarf`].
    pub fn size(&self, structure: &str, field: &str) -> Result<Option<u64>, SymbolsError> {
        let parent = Die { tag: gimli::DW_TAG_structure_type, name: structure };
        let child = self.child(parent, Die { tag: gimli::DW_TAG_member, name: field })?;
        Ok(child.and_then(|child| child.parent_size))
    }

    /// Which of a function's parameters has this name, from 0.
    ///
    /// # Errors
    /// [`SymbolsError::Dwarf`].
    pub fn parameter(&self, function: &str, name: &str) -> Result<Option<usize>, SymbolsError> {
        let parent = Die { tag: gimli::DW_TAG_subprogram, name: function };
        let child = self.child(parent, Die { tag: gimli::DW_TAG_formal_parameter, name })?;
        Ok(child.map(|child| child.index))
    }

    fn child(&self, parent: Die<'_>, child: Die<'_>) -> Result<Option<Child>, SymbolsError> {
        self.find(parent, child).map_err(|source| SymbolsError::Dwarf { path: self.path.clone(), source })
    }

    fn find_field(&self, structure: &str, field: &str) -> gimli::Result<Option<u64>> {
        let dwarf = self.sections.dwarf();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = dwarf.unit(header)?;
            let mut entries = unit.entries();
            while let Some(entry) = entries.next_dfs()? {
                let name = entry.attr_value(gimli::DW_AT_name);
                if entry.tag() == gimli::DW_TAG_structure_type
                    && name.is_some_and(|name| is_name(&dwarf, &unit, name, structure))
                    && let Some(offset) = field_in(&dwarf, &unit, entry.offset(), field, NESTED_MOST)?
                {
                    return Ok(Some(offset));
                }
            }
        }
        Ok(None)
    }

    fn find(&self, parent: Die<'_>, child: Die<'_>) -> gimli::Result<Option<Child>> {
        let dwarf = self.sections.dwarf();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = dwarf.unit(header)?;
            let is_named = |value: Option<AttributeValue<Reader<'_>>>, wanted: &str| {
                value.is_some_and(|value| is_name(&dwarf, &unit, value, wanted))
            };
            // The depth and size of the parent that the cursor is in, and how many such children it has had.
            let mut inside: Option<(isize, Option<u64>, usize)> = None;
            let mut entries = unit.entries();
            while let Some(entry) = entries.next_dfs()? {
                inside = inside.filter(|(depth, ..)| entry.depth() > *depth);
                match &mut inside {
                    Some((depth, parent_size, index))
                        if entry.tag() == child.tag && entry.depth() == *depth + 1 =>
                    {
                        if is_named(entry.attr_value(gimli::DW_AT_name), child.name) {
                            return Ok(Some(Child { parent_size: *parent_size, index: *index }));
                        }
                        *index += 1;
                    }
                    Some(_) => {}
                    None if entry.tag() == parent.tag
                        && is_named(entry.attr_value(gimli::DW_AT_name), parent.name) =>
                    {
                        let size = entry.attr_value(gimli::DW_AT_byte_size);
                        inside = Some((entry.depth(), size.and_then(|size| size.udata_value()), 0));
                    }
                    None => {}
                }
            }
        }
        Ok(None)
    }
}

fn is_name<'a>(
    dwarf: &gimli::Dwarf<Reader<'a>>,
    unit: &gimli::Unit<Reader<'a>>,
    value: AttributeValue<Reader<'a>>,
    wanted: &str,
) -> bool {
    dwarf.attr_string(unit, value).is_ok_and(|name| name.slice() == wanted.as_bytes())
}

/// Where a field lies in the structure or union at `at`, whose members without a name are looked through
/// `levels` deep.
fn field_in<'a>(
    dwarf: &gimli::Dwarf<Reader<'a>>,
    unit: &gimli::Unit<Reader<'a>>,
    at: UnitOffset,
    field: &str,
    levels: usize,
) -> gimli::Result<Option<u64>> {
    let mut tree = unit.entries_tree(Some(at))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
        if entry.tag() != gimli::DW_TAG_member {
            continue;
        }
        // A union's member has none.
        let offset = entry.attr_value(gimli::DW_AT_data_member_location);
        let offset = offset.and_then(|offset| offset.udata_value()).unwrap_or_default();
        match (entry.attr_value(gimli::DW_AT_name), entry.attr_value(gimli::DW_AT_type)) {
            (Some(name), _) if is_name(dwarf, unit, name, field) => return Ok(Some(offset)),
            (None, Some(AttributeValue::UnitRef(inner))) if levels > 0 => {
                if let Some(inner) = field_in(dwarf, unit, inner, field, levels - 1)? {
                    return Ok(Some(offset.wrapping_add(inner)));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}
