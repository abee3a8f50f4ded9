//! The load addresses of a file's sections.

use std::collections::HashMap;
use std::ops::Range;

use object::read::ReadRef;
use object::{File, Object, ObjectSection, SectionIndex, SectionKind};

use super::loaded::LoadedModule;

/// The load addresses of a file's sections, empty for a linked file.
pub(super) struct SectionAddresses(Option<HashMap<SectionIndex, u64>>);

impl SectionAddresses {
    /// The section addresses of a module, or of the kernel itself.
    pub(super) fn of<'data, R: ReadRef<'data>>(file: &File<'data, R>, module: Option<&LoadedModule>) -> Self {
        module.map_or_else(Self::linked, |module| Self::of_module(file, module))
    }

    /// The section addresses of a loaded module.
    pub(super) fn of_module<'data, R: ReadRef<'data>>(file: &File<'data, R>, module: &LoadedModule) -> Self {
        let base = |section: object::Section<'data, '_, R>| {
            Some((section.index(), *module.sections.get(section.name().ok()?)?))
        };
        Self(Some(file.sections().filter_map(base).collect()))
    }

    /// Empty, for a kernel, which is linked at fixed addresses.
    pub(super) fn linked() -> Self {
        Self(None)
    }

    /// Whether a section of a module's file is at an address.
    pub(super) fn hold<'data, R: ReadRef<'data>>(&self, file: &File<'data, R>, address: u64) -> bool {
        file.sections().any(|section| {
            let base = self.0.as_ref().and_then(|bases| bases.get(&section.index()));
            base.and_then(|base| address.checked_sub(*base)).is_some_and(|offset| offset < section.size())
        })
    }

    /// Where the sections of a module's code are.
    pub(super) fn code<'data, R: ReadRef<'data>>(&self, file: &File<'data, R>) -> Vec<Range<u64>> {
        let text = file.sections().filter(|section| section.kind() == SectionKind::Text);
        text.filter_map(|section| {
            let base = *self.0.as_ref()?.get(&section.index())?;
            Some(base..base.saturating_add(section.size()))
        })
        .collect()
    }

    /// The offset to add to an address in this section; `None` for a section that is not loaded.
    pub(super) fn at(&self, section: Option<SectionIndex>) -> Option<u64> {
        match &self.0 {
            None => Some(0),
            Some(bases) => bases.get(&section?).copied(),
        }
    }
}
