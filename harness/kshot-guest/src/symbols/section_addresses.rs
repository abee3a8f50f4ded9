//! The load addresses of a file's sections.

use std::collections::HashMap;
use std::ops::Range;

use object::read::ReadRef;
use object::{File, Object, ObjectSection, SectionIndex, SectionKind};

use super::loaded::{LoadedFile, LoadedModule};

/// The load addresses of a file's sections.
pub(super) enum SectionAddresses {
    /// Of a linked file, which was loaded this many bytes above the addresses that it has.
    Linked(u64),
    /// Of a module.
    Module(HashMap<SectionIndex, u64>),
}

impl SectionAddresses {
    /// The section addresses of a file of a loaded kernel.
    pub(super) fn of<'data, R: ReadRef<'data>>(file: &File<'data, R>, loaded: LoadedFile<'_>) -> Self {
        match loaded {
            LoadedFile::Kernel { offset } => Self::Linked(offset),
            LoadedFile::Module(module) => Self::of_module(file, module),
        }
    }

    /// The section addresses of a loaded module.
    pub(super) fn of_module<'data, R: ReadRef<'data>>(file: &File<'data, R>, module: &LoadedModule) -> Self {
        let base = |section: object::Section<'data, '_, R>| {
            Some((section.index(), *module.sections.get(section.name().ok()?)?))
        };
        Self::Module(file.sections().filter_map(base).collect())
    }

    /// Those that a linked file has.
    pub(super) fn linked() -> Self {
        Self::Linked(0)
    }

    /// Whether a section of a module's file is at an address.
    pub(super) fn hold<'data, R: ReadRef<'data>>(&self, file: &File<'data, R>, address: u64) -> bool {
        file.sections().any(|section| {
            let base = self.at(Some(section.index()));
            base.and_then(|base| address.checked_sub(base)).is_some_and(|offset| offset < section.size())
        })
    }

    /// Where the sections of a module's code are.
    pub(super) fn code<'data, R: ReadRef<'data>>(&self, file: &File<'data, R>) -> Vec<Range<u64>> {
        let text = file.sections().filter(|section| section.kind() == SectionKind::Text);
        text.filter_map(|section| {
            let base = self.at(Some(section.index()))?;
            Some(base..base.saturating_add(section.size()))
        })
        .collect()
    }

    /// The offset to add to an address in this section; `None` for a section that is not loaded.
    pub(super) fn at(&self, section: Option<SectionIndex>) -> Option<u64> {
        match self {
            Self::Linked(offset) => Some(*offset),
            Self::Module(bases) => bases.get(&section?).copied(),
        }
    }
}
