//! The functions of a file's symbol table.

use std::cmp::Reverse;
use std::rc::Rc;

use object::{Object, ObjectSection, ObjectSymbol, ReadRef, SymbolFlags, SymbolKind};

use super::section_addresses::SectionAddresses;

/// A function of the symbol table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// The function's address.
    pub(super) start: u64,
    /// The function's size in bytes; 0 if the table does not say.
    pub(super) size: u64,
    /// The `st_other` of its symbol in ELF, 0 elsewhere.
    pub(super) st_other: u8,
    pub(super) name: Rc<str>,
}

/// The function that contains an address, or ends just before it.
pub(super) fn function_at(functions: &[Function], address: u64) -> Option<&Function> {
    let after = functions.partition_point(|function| function.start <= address);
    let found = functions.get(after.checked_sub(1)?)?;
    (address - found.start <= found.size).then_some(found)
}

pub(super) fn start_of(functions: &[Function], name: &str) -> Option<u64> {
    functions.iter().find(|function| *function.name == *name).map(|function| function.start)
}

/// One of the [`named`] functions for each address, and the [`labels`] outside of every sized function:
/// assembly code about which the symbol table says nothing else. A symbol without a size extends to the next
/// one.
pub(super) fn functions(named: Vec<Function>, labels: Vec<Function>) -> Vec<Function> {
    let mut functions = named;
    // Of several names at one address the one with a size wins: it is the function's. Without any size it is
    // the one with fewer underscores before it, as in kallsyms: `startup_continue`, not `_stext`
    // (compare_symbols() of scripts/kallsyms.c).
    let rank = |function: &Function| {
        let underscores = match function.size {
            0 => function.name.len() - function.name.trim_start_matches('_').len(),
            _ => 0,
        };
        (function.start, Reverse(function.size), underscores, function.name.clone())
    };
    functions.sort_by_cached_key(rank);
    functions.dedup_by_key(|function| function.start);
    let mut end = 0;
    let reach = |function: &Function| {
        end = end.max(function.start.saturating_add(function.size));
        (function.start, end)
    };
    let reach: Vec<(u64, u64)> = functions.iter().map(reach).collect();
    let is_free = |at: u64| match reach.partition_point(|(start, _)| *start <= at).checked_sub(1) {
        Some(before) => reach[before].0 < at && reach[before].1 <= at,
        None => true,
    };
    functions.extend(labels.into_iter().filter(|label| is_free(label.start)));
    functions.sort_by_cached_key(rank);
    functions.dedup_by_key(|function| function.start);
    let starts: Vec<u64> = functions.iter().skip(1).map(|function| function.start).collect();
    for (function, next) in functions.iter_mut().zip(starts) {
        if function.size == 0 {
            function.size = next - function.start;
        }
    }
    functions
}

/// Every function in the symbol table for loaded code, including several names for one address.
pub(super) fn named<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    bases: &SectionAddresses,
) -> Vec<Function> {
    in_code(file, bases, &[SymbolKind::Text, SymbolKind::Label])
}

/// Every symbol of loaded code that is not of function type.
pub(super) fn labels<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    bases: &SectionAddresses,
) -> Vec<Function> {
    in_code(file, bases, &[SymbolKind::Unknown])
}

fn in_code<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    bases: &SectionAddresses,
    kinds: &[SymbolKind],
) -> Vec<Function> {
    let text = |symbol: &object::Symbol<'data, '_, R>| {
        let code = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        code.is_some_and(|section| section.kind() == object::SectionKind::Text)
    };
    let wanted = |symbol: &object::Symbol<'data, '_, R>| kinds.contains(&symbol.kind());
    let named = || {
        let symbols = file.symbols().filter(|symbol| wanted(symbol) && text(symbol));
        symbols.filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| is_listed(name))?;
            let base = bases.at(symbol.section_index())?;
            let start = base.wrapping_add(symbol.address());
            let st_other = match symbol.flags() {
                SymbolFlags::Elf { st_other, .. } => st_other.0,
                _ => 0,
            };
            Some(Function { start, size: symbol.size(), st_other, name: name.into() })
        })
    };
    // Count first, which fills the file's cache; otherwise the list that is kept would lie scattered among
    // the allocations that are freed with the cache.
    let mut functions = Vec::with_capacity(named().count());
    functions.extend(named());
    functions
}

/// Whether the kernel lists a symbol by this name, too (scripts/mksysmap): it leaves out local labels,
/// mapping symbols, and the names that the EFI stub has for the kernel's own code.
fn is_listed(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['.', '$']) && !name.starts_with("__efistub_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_efi_stub_are_not_those_of_the_kernel() {
        let listed = ["_start_kernel", "__efistub__start_kernel", ".Ltmp1", "$x", ""].map(is_listed);
        assert_eq!(listed, [true, false, false, false, false]);
    }
}
