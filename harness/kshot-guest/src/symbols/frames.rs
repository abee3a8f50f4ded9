//! From physical frames to the frames of a capture: with their lines, and with what the compiler inlined into
//! them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use addr2line::Context;

use super::dwarf::{Reader, Sections};
use super::loaded::LoadedKernel;
use super::section_addresses::SectionAddresses;
use super::{
    LANDMARK, PhysicalFrame, SourceLine, SymbolsError, Unwinder, normal_path, open, relative_to_source,
};
use kshot_stack::stack::fold_suffix;
use kshot_stack::stack::gdb_json::HitFrame;

/// The DWARF of some addresses of a kernel and its modules.
pub struct LineTables {
    /// The kernel's and that of each module with such an address.
    files: Vec<FileDwarf>,
    start_kernel: Option<u64>,
}

/// The DWARF of a file.
struct FileDwarf {
    path: PathBuf,
    /// How far above the addresses in it the file was loaded, in bytes: 0 where it was relocated.
    offset: u64,
    sections: Sections,
}

/// The source lines of those addresses.
pub struct Lines<'a> {
    /// Each with how far above the addresses in it its file was loaded, in bytes.
    contexts: Vec<(Context<Reader<'a>>, u64)>,
    /// The source tree as the compiler saw it, with a final slash.
    tree: String,
}

impl std::fmt::Debug for LineTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineTables").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("tree", &self.tree).finish_non_exhaustive()
    }
}

impl LineTables {
    /// Reads the DWARF of the compilation units that hold these addresses. `start_kernel` is where that
    /// function starts.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub(super) fn read(
        loaded: &LoadedKernel,
        start_kernel: Option<u64>,
        addresses: impl Iterator<Item = u64>,
    ) -> Result<Self, SymbolsError> {
        let addresses: Vec<u64> = addresses.chain(start_kernel).collect();
        let read = |path: &Path, bases: &SectionAddresses, offset: u64| {
            let inside: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(offset)).collect();
            let sections = Sections::read(path, bases, &inside, &[]).map_err(SymbolsError::of(path))?;
            Ok(FileDwarf { path: path.to_owned(), offset, sections })
        };
        let mut files = vec![read(&loaded.vmlinux, &SectionAddresses::linked(), loaded.offset)?];
        for module in &loaded.modules {
            let bases = {
                let cache = open(&module.path)?;
                let file = object::File::parse(&cache).map_err(SymbolsError::elf(&module.path))?;
                let bases = SectionAddresses::of_module(&file, module);
                addresses.iter().any(|address| bases.hold(&file, *address)).then_some(bases)
            };
            files.extend(bases.map(|bases| read(&module.path, &bases, 0)).transpose()?);
        }
        Ok(Self { files, start_kernel })
    }

    /// The source lines in it.
    ///
    /// # Errors
    /// [`SymbolsError::Dwarf`].
    pub fn lines(&self) -> Result<Lines<'_>, SymbolsError> {
        let mut lines = Lines { contexts: Vec::new(), tree: String::new() };
        for FileDwarf { path, offset, sections } in &self.files {
            let context = sections.context();
            let context = context.map_err(|source| SymbolsError::Dwarf { path: path.clone(), source })?;
            lines.contexts.push((context, *offset));
        }
        // Found as faddr2line does: `start_kernel` is in `init/main.c`.
        let main = self.start_kernel.and_then(|start| lines.at(start).pop()).map(|line| line.file);
        lines.tree =
            main.and_then(|main| Some(main.strip_suffix("init/main.c")?.to_owned())).unwrap_or_default();
        Ok(lines)
    }
}

impl Lines<'_> {
    /// The source lines of an address: of the innermost function that is inlined there first, of the function
    /// itself last.
    pub(super) fn at(&self, address: u64) -> Vec<SourceLine> {
        let lines = self
            .contexts
            .iter()
            .map(|(context, offset)| lines(context, address.wrapping_sub(*offset), &self.tree));
        lines.into_iter().find(|lines| !lines.is_empty()).unwrap_or_default()
    }
}

impl Unwinder {
    /// The DWARF of the addresses of these frames.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn line_tables<'a>(
        &self,
        loaded: &LoadedKernel,
        frames: impl Iterator<Item = &'a PhysicalFrame>,
    ) -> Result<LineTables, SymbolsError> {
        let start_kernel = self.starts(LANDMARK).first().copied();
        LineTables::read(loaded, start_kernel, frames.map(PhysicalFrame::inside))
    }

    /// The frames of a stack, each behind those of the functions that were inlined into it. `lines` are those
    /// of their addresses.
    pub fn frames(&self, stack: &[PhysicalFrame], lines: &Lines<'_>) -> Vec<HitFrame> {
        stack.iter().flat_map(|physical| self.frames_of(physical, lines)).collect()
    }

    fn frames_of(&self, physical: &PhysicalFrame, lines: &Lines<'_>) -> Vec<HitFrame> {
        let frame = &physical.frame;
        let (pc, inside) = (frame.address.unwrap_or_default(), physical.inside());
        let mut lines = if frame.user { Vec::new() } else { lines.at(inside) };
        if frame.offset == Some(0) && !physical.is_return_address {
            // At its first byte a function has not entered what was inlined there.
            lines.drain(..lines.len().saturating_sub(1));
        }
        let known = !lines.is_empty();
        let line = |line: SourceLine| HitFrame {
            pc: format!("{pc:#x}"),
            function: Some(line.function).filter(|name| !name.is_empty()),
            start: None,
            size: None,
            file: Some(line.file),
            line: Some(line.line).filter(|line| *line > 0),
            inlined: true,
            user: false,
        };
        let mut frames: Vec<HitFrame> = lines.into_iter().map(line).collect();
        if !known {
            let (function, file, line) = (None, None, None);
            let pc = format!("{pc:#x}");
            let (start, size, inlined, user) = (None, None, true, frame.user);
            frames.push(HitFrame { pc, function, start, size, file, line, inlined, user });
        }
        if let Some(outermost) = frames.last_mut() {
            outermost.inlined = false;
            let name = outermost.function.take().or_else(|| frame.symbol.clone());
            let bounds = name.as_deref().and_then(|name| self.bounds(physical, name, inside));
            outermost.start = bounds.map(|(start, _)| format!("{start:#x}"));
            outermost.size = bounds.map(|(_, size)| size).filter(|size| *size > 0);
            outermost.function = name;
        }
        frames
    }

    /// Start and size of the function that DWARF gives this name to, around an address.
    fn bounds(&self, physical: &PhysicalFrame, name: &str, address: u64) -> Option<(u64, u64)> {
        let frame = &physical.frame;
        let nearest = frame.address.zip(frame.offset).and_then(|(pc, offset)| pc.checked_sub(offset));
        let same = frame.symbol.as_deref().is_some_and(|symbol| fold_suffix(symbol) == fold_suffix(name));
        // A label within the function may be nearer.
        let named = || self.named(name).filter(|(start, _)| *start <= address).max();
        nearest.zip(frame.size).filter(|_| same).or_else(named)
    }
}

/// The source lines of an address in one file. `tree` is the prefix of the source tree.
fn lines(context: &Context<Reader<'_>>, address: u64, tree: &str) -> Vec<SourceLine> {
    let mut lines = Vec::new();
    // addr2line adds 1 to the address. Nothing of a kernel is there.
    if address == u64::MAX {
        return lines;
    }
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return lines };
    while let Ok(Some(frame)) = frames.next() {
        let name = frame.function.as_ref().and_then(|function| function.raw_name().ok().map(Cow::into_owned));
        let (file, line) = frame.location.map_or((None, None), |location| (location.file, location.line));
        let Some(file) = file else { continue };
        let file = relative_to_source(&normal_path(file), tree).to_owned();
        lines.push(SourceLine { function: name.unwrap_or_default(), file, line: line.unwrap_or(0) });
    }
    lines
}

#[cfg(test)]
mod tests {
    use gimli::{EndianSlice, RunTimeEndian};

    use super::*;

    #[test]
    fn the_last_address_of_all_has_no_lines() {
        let dwarf = gimli::Dwarf::load(|_| Ok::<_, gimli::Error>(EndianSlice::new(&[], RunTimeEndian::Big)));
        let context = Context::from_dwarf(dwarf.unwrap()).unwrap();
        assert!(lines(&context, u64::MAX, "").is_empty());
        assert!(lines(&context, u64::MAX - 1, "").is_empty());
    }
}
