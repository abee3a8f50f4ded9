//! Symbolisation: addresses to functions, files, lines and inlined calls by the DWARF of a kernel and its
//! modules, printed as the kernel's `scripts/decode_stacktrace.sh` and `scripts/faddr2line` do.

mod files; // the files that hold a kernel's DWARF
mod build_id; // which build a file or a guest is of
mod loaded; // a kernel as it is loaded in a guest
mod section_addresses; // where a module's sections are
mod functions; // the functions of a symbol table
mod dwarf; // DWARF of a file
mod cursor; // one frame, and the ways out of it that no DWARF tells: exceptions, assembly, other stacks
mod unwind; // the walk from frame to frame, by call frame information
mod layout; // fields, parameters and the banner
mod frames; // source lines and inlined functions of a call stack

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use object::ReadCache;

pub use build_id::{build_id, build_id_of_notes, notes_section};
pub use cursor::Cut;
pub(crate) use dwarf::is_split;
pub use files::{Dwarf, NoDwarf};
pub(crate) use files::{module_name, modules_below};
pub use frames::{LineTables, Lines};
use functions::{Function, function_at, functions, labels, named, start_of};
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::results::ParsedProbe;
use kshot_stack::stack::{Frame, Stack};
pub use layout::{Banner, TypeLayout};
use loaded::LoadedFile;
pub use loaded::{LIST_SECTIONS_COMMAND, LoadedKernel, LoadedModule, SECTIONS};
use section_addresses::SectionAddresses;
pub use unwind::{End, PhysicalFrame, ReturnTrampoline, Unwinder, UnwoundStack};

/// The name of a function is ambiguous: static functions of different files may share a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} functions of the kernel are called `{function}`: at {}", starts.len(), addresses(starts))]
pub struct AmbiguousFunction {
    /// The name.
    pub function: String,
    /// Where the functions start, in order.
    pub starts: Vec<u64>,
}

/// A function whose source file is `init/main.c` in every kernel; its path gives the prefix of the source
/// tree.
const LANDMARK: &str = "start_kernel";
/// The most addresses of functions that share a name in a message.
const ADDRESSES_SHOWN: usize = 4;

/// The symbols of one kernel and its modules.
pub struct Symbols {
    files: Vec<FileSymbols>,
    tables: LineTables,
}

/// The functions of one file.
struct FileSymbols {
    /// The module's name, `None` for the kernel itself.
    module: Option<String>,
    /// Sorted by start address.
    functions: Vec<Function>,
}

/// The location of an address in the kernel's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeLocation {
    /// The function in the symbol table.
    pub function: String,
    /// The offset from the function's start in bytes.
    pub offset: u64,
    /// The function's size in bytes.
    pub size: u64,
    /// The function's module, `None` for the kernel itself.
    pub module: Option<String>,
    /// The source lines from DWARF: the innermost inlined function first, the function itself last.
    pub lines: Vec<SourceLine>,
}

/// A source line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The function's name in DWARF.
    pub function: String,
    /// The file's path, relative to the source tree.
    pub file: String,
    /// The line number, 0 if the compiler gives none.
    pub line: u32,
}

/// Why symbols could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// The file is not ELF.
    #[error("{} is not an ELF file", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: object::Error,
    },
    /// The DWARF is malformed.
    #[error("the DWARF of {} cannot be read", path.display())]
    Dwarf {
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: gimli::Error,
    },
    /// A module's DWARF has an unsupported relocation.
    #[error("the DWARF of {} has a relocation that kshot does not know: {relocation}", path.display())]
    Relocation {
        /// The file.
        path: PathBuf,
        /// The relocation.
        relocation: String,
    },
}

impl SymbolsError {
    fn elf(path: &Path) -> impl Fn(object::Error) -> Self + Copy {
        move |source| Self::Elf { path: path.into(), source }
    }

    fn of(path: &Path) -> impl Fn(dwarf::DwarfError) -> Self + Copy {
        move |fault| match fault {
            dwarf::DwarfError::Unreadable(source) => Self::Unreadable { path: path.into(), source },
            dwarf::DwarfError::Elf(source) => Self::elf(path)(source),
            dwarf::DwarfError::Dwarf(source) => Self::Dwarf { path: path.into(), source },
            dwarf::DwarfError::Relocation(relocation) => Self::Relocation { path: path.into(), relocation },
        }
    }
}

impl Blamed for SymbolsError {
    fn hint(&self) -> Option<String> {
        Some(
            "if the file is in the cache: `kshot cache dwarf --prune`, then `kshot provision --dwarf` with the kernel's name"
                .into(),
        )
    }
}

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbols").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl Symbols {
    /// Reads the symbols for these addresses: all functions, and the DWARF of the compilation units that
    /// contain the addresses. The whole DWARF has some hundred megabytes.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn read(
        loaded: &LoadedKernel,
        addresses: impl IntoIterator<Item = u64>,
    ) -> Result<Self, SymbolsError> {
        let (vmlinux, kernel) = loaded.kernel();
        let mut files = vec![FileSymbols::read(vmlinux, kernel)?];
        for module in &loaded.modules {
            files.push(FileSymbols::read(&module.path, LoadedFile::Module(module))?);
        }
        let start_kernel = files.first().and_then(|kernel| start_of(&kernel.functions, LANDMARK));
        // A return address may be the first address of the next compilation unit.
        let wanted = addresses.into_iter().flat_map(|at| [at, at.wrapping_sub(1)]);
        Ok(Self { tables: LineTables::read(loaded, start_kernel, wanted)?, files })
    }

    /// Reads the symbols for every stack in `recorded`.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn of_recorded(loaded: &LoadedKernel, recorded: &[ParsedProbe]) -> Result<Self, SymbolsError> {
        let stacks = recorded.iter().flat_map(|probe| &probe.parsed.stacks);
        Self::read(loaded, stacks.flat_map(|(stack, _)| &stack.frames).filter_map(|frame| frame.address))
    }

    /// The source lines.
    ///
    /// # Errors
    /// [`SymbolsError::Dwarf`].
    pub fn lines(&self) -> Result<Lines<'_>, SymbolsError> {
        self.tables.lines()
    }

    /// The location of an address, `None` outside of known functions. For a return address (`returns`) the
    /// line is that of the call.
    pub fn place(&self, lines: &Lines<'_>, address: u64, returns: bool) -> Option<CodeLocation> {
        let found = self.files.iter().find_map(|file| Some((file, function_at(&file.functions, address)?)));
        let (file, found) = found?;
        let lines = lines.at(if returns { address.wrapping_sub(1) } else { address });
        let (function, module) = (found.name.to_string(), file.module.clone());
        Some(CodeLocation { function, offset: address - found.start, size: found.size, module, lines })
    }

    /// The distinct stacks of each probe with decoded frames, as text.
    pub fn decode(&self, lines: &Lines<'_>, recorded: &[ParsedProbe]) -> String {
        let mut text = String::new();
        for probe in recorded {
            for (stack, number) in &probe.parsed.stacks {
                let Stack { task, event, .. } = stack;
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}: {number} x {task}, {event}", probe.name);
                for (depth, frame) in physical(stack) {
                    let place = frame.address.and_then(|address| self.place(lines, address, depth > 0));
                    let _ = match (place, frame.address) {
                        (Some(place), _) => writeln!(text, "  {}", place.decoded()),
                        (None, Some(address)) if frame.user || frame.symbol.is_none() => {
                            writeln!(text, "  {address:#x}")
                        }
                        (None, _) => writeln!(text, "  {}", frame.name()),
                    };
                }
                text.push('\n');
            }
        }
        text
    }

    /// Every distinct address of the stacks with its inlined calls, as text.
    pub fn list(&self, lines: &Lines<'_>, recorded: &[ParsedProbe]) -> String {
        let (mut seen, mut text) = (HashSet::new(), String::new());
        for (stack, _) in recorded.iter().flat_map(|probe| &probe.parsed.stacks) {
            for (depth, frame) in physical(stack) {
                let Some(address) = frame.address.filter(|address| seen.insert((*address, depth > 0))) else {
                    continue;
                };
                if let Some(place) =
                    self.place(lines, address, depth > 0).filter(|place| !place.lines.is_empty())
                {
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{}", place.listed());
                }
            }
        }
        text
    }
}

impl FileSymbols {
    fn read(path: &Path, loaded: LoadedFile<'_>) -> Result<Self, SymbolsError> {
        let cache = open(path)?;
        let file = object::File::parse(&cache).map_err(SymbolsError::elf(path))?;
        let bases = SectionAddresses::of(&file, loaded);
        let functions = functions(named(&file, &bases), labels(&file, &bases));
        let module = match loaded {
            LoadedFile::Kernel { .. } => None,
            LoadedFile::Module(module) => Some(module.name.clone()),
        };
        Ok(Self { module, functions })
    }
}

impl AmbiguousFunction {
    /// Refuses the name of a function that starts at several addresses.
    ///
    /// # Errors
    /// [`AmbiguousFunction`] if there are several.
    pub fn check(function: &str, starts: &[u64]) -> Result<(), Self> {
        match starts {
            [] | [_] => Ok(()),
            _ => Err(Self { function: function.into(), starts: starts.into() }),
        }
    }
}

impl Blamed for AmbiguousFunction {
    fn blame(&self) -> Blame {
        Blame::Guest
    }

    fn hint(&self) -> Option<String> {
        Some("probe a function with a unique name: a caller or a callee of the one you mean".into())
    }
}

/// The first of these functions whose name several functions of a kernel's file have; of `a|b`, the first
/// that it has. Modules are not looked at.
///
/// # Errors
/// The file cannot be read.
pub fn ambiguous_function(
    vmlinux: &Path,
    functions: &[&str],
) -> Result<Option<AmbiguousFunction>, SymbolsError> {
    let cache = open(vmlinux)?;
    let file = object::File::parse(&cache).map_err(SymbolsError::elf(vmlinux))?;
    let known = named(&file, &SectionAddresses::linked());
    let starts = |name: &str| {
        let same = known.iter().filter(|function| *function.name == *name);
        Vec::from_iter(same.map(|function| function.start).collect::<BTreeSet<u64>>())
    };
    let ambiguous = |function: &&str| {
        let known = function.split('|').map(|name| (name, starts(name)));
        let (name, starts) = known.into_iter().find(|(_, starts)| !starts.is_empty())?;
        AmbiguousFunction::check(name, &starts).err()
    };
    Ok(functions.iter().find_map(ambiguous))
}

/// Addresses for a message, not more than a line holds.
fn addresses(starts: &[u64]) -> String {
    let first = starts.iter().take(ADDRESSES_SHOWN).map(|start| format!("{start:#x}"));
    let mut text = first.collect::<Vec<_>>().join(", ");
    if starts.len() > ADDRESSES_SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Opens a file for reading small parts of it.
fn open(path: &Path) -> Result<ReadCache<File>, SymbolsError> {
    let unreadable = |source| SymbolsError::Unreadable { path: path.into(), source };
    Ok(ReadCache::new(File::open(path).map_err(unreadable)?))
}

impl CodeLocation {
    /// The location in the format of decode_stacktrace.sh, with offset and size, the module at the end:
    /// `tun_chr_ioctl+0x30/0x9f0 (drivers/net/tun.c:3372) tun`.
    pub fn decoded(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(|line| format!("{}:{}", line.file, line.line)).collect();
        let mut text = self.symbol_and_offset();
        if !lines.is_empty() {
            text.push_str(&format!(" ({})", lines.join(" ")));
        }
        if let Some(module) = &self.module {
            text.push_str(&format!(" {module}"));
        }
        text
    }

    /// The location in the format of faddr2line:
    ///
    /// ```text
    /// tun_chr_ioctl+0xeec/0x15e4:
    /// tun_set_iff at drivers/net/tun.c:2865
    ///  (inlined by) __tun_chr_ioctl at drivers/net/tun.c:3128
    ///  (inlined by) tun_chr_ioctl at drivers/net/tun.c:3415
    /// ```
    pub fn listed(&self) -> String {
        let mut text = format!("{}:\n", self.symbol_and_offset());
        for (depth, SourceLine { function, file, line }) in self.lines.iter().enumerate() {
            let by = if depth == 0 { "" } else { " (inlined by) " };
            text.push_str(&format!("{by}{function} at {file}:{line}\n"));
        }
        text
    }

    fn symbol_and_offset(&self) -> String {
        format!("{}+{:#x}/{:#x}", self.function, self.offset, self.size)
    }
}

/// The physical kernel frames of a stack with their depth. Inlined frames are left out, because kshot's own
/// DWARF reader adds them.
fn physical(stack: &Stack) -> impl Iterator<Item = (usize, &Frame)> {
    let frames = stack.frames.iter().map(AsRef::as_ref);
    frames.filter(|frame: &&Frame| !frame.inlined && !frame.user).enumerate()
}

/// A path relative to the source tree. For assembly files the path includes the build folder, which the
/// compiler was told to omit; if it omitted the whole tree, `/arch/` marks the tree's top.
fn relative_to_source<'a>(path: &'a str, tree: &str) -> &'a str {
    if tree.is_empty() {
        let at = path.find("/arch/").filter(|_| path.starts_with('/') && path.ends_with(".S"));
        return at.map_or(path, |at| &path[at + 1..]);
    }
    let inside = path.strip_prefix(tree).or_else(|| Some(path.split_once(&format!("/{tree}"))?.1));
    inside.unwrap_or(path)
}

/// A path without `.` and `..`.
fn normal_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !last.is_empty() && *last != "..") => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> CodeLocation {
        let line = |function: &str, line| SourceLine {
            function: function.into(),
            file: "drivers/net/tun.c".into(),
            line,
        };
        let lines =
            vec![line("tun_set_iff", 2865), line("__tun_chr_ioctl", 3128), line("tun_chr_ioctl", 3415)];
        CodeLocation { function: "tun_chr_ioctl".into(), offset: 0xeec, size: 0x15e4, module: None, lines }
    }

    #[test]
    fn a_place_reads_as_the_kernels_own_scripts_print_it() {
        assert_eq!(
            place().decoded(),
            "tun_chr_ioctl+0xeec/0x15e4 \
             (drivers/net/tun.c:2865 drivers/net/tun.c:3128 drivers/net/tun.c:3415)"
        );
        assert_eq!(
            place().listed(),
            "tun_chr_ioctl+0xeec/0x15e4:\n\
             tun_set_iff at drivers/net/tun.c:2865\n \
             (inlined by) __tun_chr_ioctl at drivers/net/tun.c:3128\n \
             (inlined by) tun_chr_ioctl at drivers/net/tun.c:3415\n"
        );
        assert_eq!(CodeLocation { lines: vec![], ..place() }.decoded(), "tun_chr_ioctl+0xeec/0x15e4");
        let module =
            CodeLocation { lines: place().lines.split_off(2), module: Some("tun".into()), ..place() };
        assert_eq!(module.decoded(), "tun_chr_ioctl+0xeec/0x15e4 (drivers/net/tun.c:3415) tun");
    }

    #[test]
    fn paths_lose_their_detours_and_nothing_more() {
        assert_eq!(normal_path("/build/obj/../source/net/./core/dev.c"), "/build/source/net/core/dev.c");
        assert_eq!(normal_path("../source/dev.c"), "../source/dev.c");
        assert_eq!(normal_path("/../a"), "/../a");
    }

    #[test]
    fn files_are_named_from_the_top_of_the_tree() {
        assert_eq!(relative_to_source("source/net/core/dev.c", "source/"), "net/core/dev.c");
        assert_eq!(
            relative_to_source("/home/u/source/arch/mips/kernel/entry.S", "source/"),
            "arch/mips/kernel/entry.S"
        );
        assert_eq!(relative_to_source("/usr/include/stdio.h", "source/"), "/usr/include/stdio.h");
        assert_eq!(relative_to_source("/linux/init/main.c", ""), "/linux/init/main.c");
        assert_eq!(
            relative_to_source("/build/linux/arch/mips/kernel/entry.S", ""),
            "arch/mips/kernel/entry.S"
        );
    }

    #[test]
    fn of_several_names_the_first_that_the_kernel_has_must_be_one_functions() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind/same-name.elf");
        let ambiguous = |functions: &[&str]| ambiguous_function(Path::new(file), functions).unwrap();
        for one in ["recursing", "no_such_function", "recursing|middle", "no_such_function|recursing"] {
            assert_eq!(ambiguous(&[one]), None, "{one}");
        }
        let error = ambiguous(&["recursing", "no_such_function|middle"]).unwrap();
        assert_eq!(
            error.to_string(),
            "2 functions of the kernel are called `middle`: at 0xffffffff80100000, 0xffffffff80100054"
        );
        assert_eq!(error.blame(), Blame::Guest);
    }

    #[test]
    fn of_many_addresses_a_message_has_the_first() {
        let error = AmbiguousFunction::check("show", &[1, 2, 3, 4, 5]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "5 functions of the kernel are called `show`: at 0x1, 0x2, 0x3, 0x4, ..."
        );
        assert_eq!(AmbiguousFunction::check("show", &[1]), Ok(()));
    }

    #[test]
    fn what_is_no_vmlinux_is_a_fault_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux.debug");
        let loaded = LoadedKernel { vmlinux: path.clone(), offset: 0, modules: Vec::new() };
        assert!(matches!(Symbols::read(&loaded, []), Err(SymbolsError::Unreadable { .. })));
        std::fs::write(&path, "no ELF").unwrap();
        let error = Symbols::read(&loaded, []).unwrap_err();
        assert!(error.to_string().ends_with("vmlinux.debug is not an ELF file"), "{error}");
    }
}
