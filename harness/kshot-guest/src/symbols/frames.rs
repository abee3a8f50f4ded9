//! From physical frames to the frames of a capture: with their lines, and with what the compiler inlined into them.

use addr2line::Context;

use super::dwarf::{self, Reader};
use super::loaded::LoadedKernel;
use super::section_addresses::SectionAddresses;
use super::{LANDMARK, Physical, SourceLine, SymbolsError, Unwinder, open};
use kshot_stack::stack::fold_suffix;
use kshot_stack::stack::gdb_json::RawFrame;

/// The lines of some addresses of a kernel and its modules.
pub struct Lines {
    parts: Vec<Context<Reader>>,
    /// The source tree as the compiler saw it, with a final slash.
    tree: String,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("files", &self.parts.len()).field("tree", &self.tree).finish()
    }
}

impl Lines {
    /// Reads the DWARF of the compilation units that hold these addresses.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn read(
        loaded: &LoadedKernel,
        unwinder: &Unwinder,
        addresses: impl Iterator<Item = u64>,
    ) -> Result<Self, SymbolsError> {
        let start_kernel = unwinder.starts(LANDMARK);
        let addresses: Vec<u64> = addresses.chain(start_kernel.iter().copied()).collect();
        let files = [(&loaded.vmlinux, None)].into_iter();
        let files = files.chain(loaded.modules.iter().map(|module| (&module.path, Some(module))));
        let mut parts = Vec::new();
        for (path, module) in files {
            let cache = open(path)?;
            let file = object::File::parse(&cache).map_err(SymbolsError::elf(path))?;
            let bases = module
                .map_or_else(SectionAddresses::linked, |module| SectionAddresses::of_module(&file, module));
            if module.is_some() && !addresses.iter().any(|address| bases.hold(&file, *address)) {
                continue;
            }
            parts.push(dwarf::of(&file, &cache, &bases, &addresses).map_err(SymbolsError::of(path))?);
        }
        let start_kernel = parts.first().zip(start_kernel.first());
        let tree = start_kernel.and_then(|(kernel, &start)| super::tree(kernel, start)).unwrap_or_default();
        Ok(Self { parts, tree })
    }

    fn at(&self, address: u64) -> Vec<SourceLine> {
        let lines = self.parts.iter().map(|part| super::lines(part, address, &self.tree));
        lines.into_iter().find(|lines| !lines.is_empty()).unwrap_or_default()
    }
}

impl Unwinder {
    /// The frames of a stack, each behind those of the functions that were inlined into it. `lines` are those of their
    /// addresses.
    pub fn frames(&self, stack: &[Physical], lines: &Lines) -> Vec<RawFrame> {
        stack.iter().flat_map(|physical| self.frames_of(physical, lines)).collect()
    }

    fn frames_of(&self, physical: &Physical, lines: &Lines) -> Vec<RawFrame> {
        let frame = &physical.frame;
        let (pc, inside) = (frame.address.unwrap_or_default(), physical.inside());
        let mut lines = lines.at(inside);
        if frame.offset == Some(0) && !physical.returns {
            // At its first byte a function has not entered what was inlined there.
            lines.drain(..lines.len().saturating_sub(1));
        }
        let known = !lines.is_empty();
        let line = |line: SourceLine| RawFrame {
            pc: format!("{pc:#x}"),
            function: Some(line.function).filter(|name| !name.is_empty()),
            start: None,
            size: None,
            file: Some(line.file),
            line: Some(line.line).filter(|line| *line > 0),
            inlined: true,
        };
        let mut frames: Vec<RawFrame> = lines.into_iter().map(line).collect();
        if !known {
            let (function, file, line) = (None, None, None);
            let pc = format!("{pc:#x}");
            frames.push(RawFrame { pc, function, start: None, size: None, file, line, inlined: true });
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
    fn bounds(&self, physical: &Physical, name: &str, address: u64) -> Option<(u64, u64)> {
        let frame = &physical.frame;
        let nearest = frame.address.zip(frame.offset).and_then(|(pc, offset)| pc.checked_sub(offset));
        let same = frame.symbol.as_deref().is_some_and(|symbol| fold_suffix(symbol) == fold_suffix(name));
        // A label within the function may be nearer.
        let named = || self.named(name).filter(|(start, _)| *start <= address).max();
        nearest.zip(frame.size).filter(|_| same).or_else(named)
    }
}
