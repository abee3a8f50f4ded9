//! `/proc/kallsyms` (kernel/kallsyms.c, `s_show`): the symbols of a running kernel and of its modules, after
//! a tab.
//!
//! ```text
//! ffffffff80412780 T register_netdevice
//! ffffffffc0003e54 t tun_chr_ioctl    [tun]
//! ffffffff80114740 t syscall_common
//! ```
//!
//! The file has no sizes: a symbol ends where the next one begins, as for perf (tools/perf/util/symbol.c,
//! `symbols__fixup_end`). Of several symbols at one address the last is used.

use std::io::{self, BufRead};
use std::ops::Range;

use super::lines::{self, Warnings, hexadecimal};

/// The most of a file that is read, in bytes: the largest kernels have some ten megabytes of symbols.
const LONGEST_FILE: u64 = 128 << 20;
/// The size of a page: the last symbol before a gap is taken to end with the page after its own.
const PAGE: u64 = 4096;

/// The symbols of a kernel and its modules, sorted by address.
#[derive(Debug, Default)]
pub struct Kallsyms {
    symbols: Vec<Symbol>,
    /// The names of all symbols and modules, one after the other.
    names: String,
    /// The symbols around the code that boots the kernel, `_sinittext` and `_einittext`.
    init_code: (Option<u64>, Option<u64>),
}

#[derive(Debug)]
struct Symbol {
    start: u64,
    /// The start of its name in `names`.
    name: u32,
    /// The end of its name, and the start of its module's name, which is empty in the kernel itself.
    module: u32,
    /// The end of its module's name.
    end: u32,
    is_code: bool,
}

/// An address as symbol and offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) symbol: &'a str,
    pub(super) offset: u64,
    pub(super) module: Option<&'a str>,
}

impl Kallsyms {
    /// Reads the text of `/proc/kallsyms`. Unreadable lines are skipped.
    ///
    /// # Errors
    /// The errors of `input`.
    pub fn read(input: impl BufRead) -> io::Result<Self> {
        let mut table = Self::default();
        let input = input.take(LONGEST_FILE);
        lines::each(input, &mut Warnings::default(), |line, _| {
            let symbol = table.symbol(line);
            table.symbols.extend(symbol);
        })?;
        // Modules come last in the file, whatever their addresses. The sort is stable, so aliases keep their
        // order.
        table.symbols.sort_by_key(|symbol| symbol.start);
        Ok(table)
    }

    fn symbol(&mut self, line: &[u8]) -> Option<Symbol> {
        let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let start = hexadecimal(words.next()?)?;
        let kind = words.next()?.first()?.to_ascii_uppercase();
        let name = lines::symbol(words.next()?)?;
        // perf takes text, weak, data and bss symbols, without the mapping symbols of Arm's assembler.
        if !b"TWDB".contains(&kind) || name.starts_with('$') {
            return None;
        }
        match name {
            "_sinittext" => self.init_code.0 = Some(start),
            "_einittext" => self.init_code.1 = Some(start),
            _ => {}
        }
        let module =
            words.next().and_then(|word| lines::symbol(word.strip_prefix(b"[")?.strip_suffix(b"]")?));
        let at = |names: &String| u32::try_from(names.len()).ok();
        let begin = at(&self.names)?;
        self.names.push_str(name);
        let middle = at(&self.names)?;
        self.names.push_str(module.unwrap_or_default());
        let end = at(&self.names)?;
        let is_code = kind == b'T' || kind == b'W';
        Some(Symbol { start, name: begin, module: middle, end, is_code })
    }

    /// The functions by name and start, in the order of their addresses.
    pub fn functions(&self) -> impl Iterator<Item = (&str, u64)> {
        let functions = self.symbols.iter().filter(|symbol| symbol.is_code);
        functions.map(|symbol| (&self.names[symbol.name as usize..symbol.module as usize], symbol.start))
    }

    /// The code that only boots the kernel and is freed then (include/asm-generic/vmlinux.lds.h,
    /// `INIT_TEXT_SECTION`): the stack of the idle task begins in it.
    pub(super) fn init_code(&self) -> Option<Range<u64>> {
        self.init_code.0.zip(self.init_code.1).map(|(start, end)| start..end)
    }

    /// Where the functions of a name start, in order.
    pub fn starts(&self, name: &str) -> Vec<u64> {
        let mut starts: Vec<u64> =
            self.functions().filter(|(other, _)| *other == name).map(|(_, start)| start).collect();
        starts.dedup();
        starts
    }

    /// The symbol of an address; `None` outside of code.
    pub(super) fn place(&self, address: u64) -> Option<Place<'_>> {
        let next = self.symbols.partition_point(|symbol| symbol.start <= address);
        let symbol = &self.symbols[next.checked_sub(1)?];
        let of_module = |symbol: &Symbol| symbol.module < symbol.end;
        // A gap lies between the kernel and its modules.
        let bordered = match self.symbols.get(next) {
            Some(next) => of_module(next) != of_module(symbol),
            None => true,
        };
        let offset = address - symbol.start;
        if !symbol.is_code || bordered && address >= end_of_page(symbol.start) {
            return None;
        }
        let text = |from: u32, to: u32| &self.names[from as usize..to as usize];
        let module = of_module(symbol).then(|| text(symbol.module, symbol.end));
        Some(Place { symbol: text(symbol.name, symbol.module), offset, module })
    }
}

/// The end of the page behind the one that `start` lies in.
fn end_of_page(start: u64) -> u64 {
    (start | (PAGE - 1)).saturating_add(1 + PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff80100000 T _text
ffffffff80114740 t handle_sys
ffffffff80114740 t syscall_common
ffffffff80412780 T register_netdevice
ffffffff80412784 t $d
ffffffff80412790 r some.constant
ffffffff80500000 D init_task
ffffffffc0003e54 t tun_chr_ioctl\t[tun]
ffffffffc0000000 t tun_get\t[tun]
not a line
";

    fn place(table: &Kallsyms, address: u64) -> Option<(&str, u64, Option<&str>)> {
        table.place(address).map(|place| (place.symbol, place.offset, place.module))
    }

    #[test]
    fn an_address_lies_in_the_last_symbol_before_it() {
        let table = Kallsyms::read(TEXT.as_bytes()).unwrap();
        assert_eq!(place(&table, 0xffff_ffff_8011_4774), Some(("syscall_common", 0x34, None)));
        assert_eq!(place(&table, 0xffff_ffff_8041_2794), Some(("register_netdevice", 0x14, None)));
        assert_eq!(place(&table, 0xffff_ffff_c000_0010), Some(("tun_get", 0x10, Some("tun"))));
        assert_eq!(place(&table, 0xffff_ffff_c000_3e58), Some(("tun_chr_ioctl", 4, Some("tun"))));
    }

    #[test]
    fn static_functions_and_those_of_modules_may_share_a_name() {
        let text = format!("{TEXT}ffffffffc0008000 t tun_get\t[tap]\nffffffffc0009000 d tun_get\t[veth]\n");
        let table = Kallsyms::read(text.as_bytes()).unwrap();
        assert_eq!(table.starts("tun_get"), [0xffff_ffff_c000_0000, 0xffff_ffff_c000_8000]);
        assert_eq!(table.starts("handle_sys"), [0xffff_ffff_8011_4740]);
        assert!(table.starts("tun").is_empty());
    }

    #[test]
    fn the_code_that_boots_the_kernel_has_two_symbols_around_it() {
        let init_code = |text: &str| Kallsyms::read(text.as_bytes()).unwrap().init_code();
        assert_eq!(init_code(TEXT), None);
        let text = "0000000000f09000 T _sinittext\n0000000000f0d508 T arch_call_rest_init\n0000000000f48000 T _einittext\n";
        assert_eq!(init_code(text), Some(0xf0_9000..0xf4_8000));
    }

    #[test]
    fn data_and_what_lies_outside_have_no_name() {
        let table = Kallsyms::read(TEXT.as_bytes()).unwrap();
        for address in [0, 0xffff_ffff_8010_0000 - 1, 0xffff_ffff_8050_0000, 0xffff_ffff_c000_5000, u64::MAX]
        {
            assert_eq!(table.place(address), None, "{address:x}");
        }
        assert_eq!(Kallsyms::default().place(1), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_read_without_a_fault(bytes: Vec<u8>, address: u64) {
            Kallsyms::read(&bytes[..]).unwrap().place(address);
        }
    }
}
