//! Frames of architectures, kernels and loggers that print them in a shape of their own.
//!
//! ```text
//! [c182bec8] 0xc0072ce8: show_stack + 0x90                                Hexagon
//! [f0048fdc : show_stack+0x90/0xc0 ]                                      sparc32, several a line before 4.9
//! show_stack+0x90/0xc0 ]                                                  and in two lines since
//! <ffffffff8048e3c4>{schedule_timeout+138}                                x86-64 before 2.6.18
//! <ffffffff880b2a1c>{:jbd:kjournald+193}
//! address : <0x00042a3e> { _do_mmap_pgoff + 0x5e }                        Blackfin
//! frame 1: 0xfffffff7000b1234 panic+0x168/0x398 (sp 0xfffffe01fff0fd10)   tile
//! [<801ecd20>]                                                            without CONFIG_KALLSYMS
//! [cpu_idle+154/188]                                                      named by klogd
//! 0xf75bff34 0xc015667c file_move+0x14 (0xf63080e4, 0xf75bff58)           kdb before 2.6.35: stack and code
//! 0xa0000001001a3b20 [jbd]kjournald+0x80                                  of ia64: code alone
//! ```

use std::ops::RangeInclusive;

use super::{Needs, placed};
use crate::stack::Frame;
use crate::stack::lines::{decimal, hexadecimal, split_at};

/// How many digits an address has.
const ADDRESS_DIGITS: RangeInclusive<usize> = 8..=16;

/// The frame of a line, and what must stand before it.
pub(super) fn frame(text: &str) -> Option<(Frame, Needs)> {
    let text = text.trim();
    match text.as_bytes() {
        [.., b'}'] => Some((in_braces(text).or_else(|| of_blackfin(text))?, Needs::Nothing)),
        [b'[', .., b'>', b']'] => Some((address_alone(text)?, Needs::Stack)),
        [.., b' ', b']'] => {
            let frame = of_sparc32(text)?;
            let needs = if frame.size.is_some() { Needs::Nothing } else { Needs::Stack };
            Some((frame, needs))
        }
        [b'[', .., b']'] => Some((named_by_klogd(text)?, Needs::Stack)),
        [b'[', ..] => Some((of_hexagon(text)?, Needs::Stack)),
        [b'f', b'r', b'a', b'm', b'e', b' ', ..] => Some((of_tile(text)?, Needs::Nothing)),
        [b'0', b'x', ..] => of_kdb(text),
        _ => None,
    }
}

/// Whether a line without `+0x` that ends in `}` may be one of these, and needs nothing before it.
pub(super) fn may_stand_alone(text: &[u8]) -> bool {
    split_at(text, b">{").is_some() || split_at(text, b"> { ").is_some()
}

/// `<ffffffff8048e3c4>{schedule_timeout+138}`.
fn in_braces(text: &str) -> Option<Frame> {
    let (address, place) = text.strip_prefix('<')?.strip_suffix('}')?.split_once(">{")?;
    let (name, offset) = place.rsplit_once('+')?;
    Some(Frame { address: Some(address_of(address)?), offset: Some(decimal_of(offset)?), ..named(name)? })
}

/// `address : <0x00042a3e> { _do_mmap_pgoff + 0x5e }`.
fn of_blackfin(text: &str) -> Option<Frame> {
    let (address, place) = text.strip_prefix("address : <0x")?.strip_suffix(" }")?.split_once("> { ")?;
    let (name, offset) = place.split_once(" + 0x")?;
    let offset = hexadecimal(offset.as_bytes())?;
    Some(Frame { address: Some(address_of(address)?), offset: Some(offset), ..named(name)? })
}

/// `frame 1: 0xfffffff7000b1234 panic+0x168/0x398 (sp 0xfffffe01fff0fd10)`, with `[module]` behind the place
/// of a module's.
fn of_tile(text: &str) -> Option<Frame> {
    let (number, place) = text.strip_prefix("frame ")?.split_once(": 0x")?;
    decimal_of(number)?;
    let (address, place) = place.split_once(' ')?;
    let (place, _) = place.split_once(" (sp 0x")?;
    let (place, module) = match place.strip_suffix(']').and_then(|place| place.split_once(" [")) {
        Some((place, module)) => (place, Some(module.to_owned())),
        None => (place.trim_end(), None),
    };
    let frame = placed(place);
    let is_place = frame.size.is_some() && frame.symbol.as_deref().is_some_and(is_name);
    is_place.then_some(Frame { address: Some(address_of(address)?), module, ..frame })
}

/// `[<801ecd20>]`.
fn address_alone(text: &str) -> Option<Frame> {
    let address = text.strip_prefix("[<")?.strip_suffix(">]")?;
    Some(Frame { address: Some(address_of(address)?), ..Frame::default() })
}

/// `[cpu_idle+154/188]`.
fn named_by_klogd(text: &str) -> Option<Frame> {
    let (name, place) = text.strip_prefix('[')?.strip_suffix(']')?.split_once('+')?;
    let (offset, size) = place.split_once('/')?;
    let (offset, size) = (Some(decimal_of(offset)?), Some(decimal_of(size)?));
    Some(Frame { offset, size, ..named(name)? })
}

/// `0xf75bff34 0xc015667c file_move+0x14 (0xf63080e4, 0xf75bff58)`, `0xa0000001001a3b20 d_free+0x80`.
fn of_kdb(text: &str) -> Option<(Frame, Needs)> {
    let (first, behind) = text.strip_prefix("0x")?.split_once(' ')?;
    let (code, place, needs) = match behind.strip_prefix("0x") {
        Some(code) => {
            let (code, place) = code.split_once(' ')?;
            address_of(first)?;
            (code, place.split(" (").next()?, Needs::Nothing)
        }
        None => (first, behind, Needs::Stack),
    };
    let (name, offset) = match place.split_once("+0x") {
        Some((name, offset)) => (name, Some(hexadecimal(offset.as_bytes())?)),
        None => (place, None),
    };
    let needs = if offset.is_some() { needs } else { Needs::Stack };
    Some((Frame { address: Some(address_of(code)?), offset, ..named(name)? }, needs))
}

/// `[c182bec8] 0xc0072ce8: f + 0x90`.
fn of_hexagon(text: &str) -> Option<Frame> {
    let (address, place) = text.strip_prefix('[')?.split_once("] 0x")?.1.split_once(": ")?;
    let (symbol, offset) = place.split_once(" + ")?;
    let (address, offset) = (hexadecimal(address.as_bytes())?, hexadecimal(offset.as_bytes())?);
    Some(Frame { offset: Some(offset), address: Some(address), ..placed(symbol) })
}

/// `[f0048fdc : f+0x90/0xc0 ]`, or without the address where that has a line of its own.
fn of_sparc32(text: &str) -> Option<Frame> {
    let text = text.strip_suffix(" ]")?;
    let (address, place) = match text.split_once(" : ") {
        Some((address, place)) => (Some(hexadecimal(address.strip_prefix('[')?.as_bytes())?), place),
        None => (None, text),
    };
    let is_place = place.contains("+0x") && !place.contains([' ', '[', '<']);
    is_place.then(|| Frame { address, ..placed(place) })
}

/// A function with the module that it is of in front of it: `f`, `:jbd:f`, `[jbd]f`.
fn named(name: &str) -> Option<Frame> {
    let in_colons = || name.strip_prefix(':')?.split_once(':');
    let in_brackets = || name.strip_prefix('[')?.split_once(']');
    let (module, symbol) = match in_colons().or_else(in_brackets) {
        Some((module, symbol)) => (Some(module.to_owned()), symbol),
        None => (None, name),
    };
    is_name(symbol).then(|| Frame { symbol: Some(symbol.to_owned()), module, ..Frame::default() })
}

fn is_name(symbol: &str) -> bool {
    let begins = symbol.starts_with(|first: char| first.is_ascii_alphabetic() || "_.$".contains(first));
    begins && symbol.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte))
}

fn address_of(digits: &str) -> Option<u64> {
    ADDRESS_DIGITS.contains(&digits.len()).then(|| hexadecimal(digits.as_bytes()))?
}

fn decimal_of(digits: &str) -> Option<u64> {
    decimal(digits.as_bytes()).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_tells_the_address_the_function_and_its_module() {
        let nothing = |address: u64, symbol: &str, offset: u64, module: Option<&str>| {
            let (symbol, module) = (Some(symbol.to_owned()), module.map(str::to_owned));
            Frame { address: Some(address), symbol, offset: Some(offset), module, ..Frame::default() }
        };
        for (text, read) in [
            ("<ffffffff8048e3c4>{f+138}", nothing(0xffff_ffff_8048_e3c4, "f", 138, None)),
            ("  <ffffffff880b2a1c>{:jbd:f+193} ", nothing(0xffff_ffff_880b_2a1c, "f", 193, Some("jbd"))),
            ("    address : <0x00042a3e> { _f + 0x5e }", nothing(0x42a3e, "_f", 0x5e, None)),
            ("    address : <0x00042a3e> { :jbd:_f + 0x5e }", nothing(0x42a3e, "_f", 0x5e, Some("jbd"))),
            ("0xf75bff34 0xc015667c f+0x14 (0xf63080e4, 0x0)", nothing(0xc015_667c, "f", 0x14, None)),
            ("0xf75bff34 0xc015667c [jbd]f+0x14", nothing(0xc015_667c, "f", 0x14, Some("jbd"))),
        ] {
            assert_eq!(frame(text), Some((read, Needs::Nothing)), "{text}");
        }
        let tile = "  frame 1: 0xfffffff7000b1234 f+0x168/0x398 [tun] (sp 0xfffffe01fff0fd10)";
        let (tile, _) = frame(tile).unwrap();
        assert_eq!(
            (tile.symbol.as_deref(), tile.size, tile.module.as_deref()),
            (Some("f"), Some(0x398), Some("tun"))
        );
        for (text, name) in [
            ("[<801ecd20>]", "?"),
            ("[cpu_idle+154/188]", "cpu_idle"),
            ("0xa0000001001a3b20 d_free+0x80", "d_free"),
            ("0xa0000001000feee0 call_rcu", "call_rcu"),
        ] {
            let (frame, needs) = frame(text).unwrap();
            assert_eq!((frame.name().as_str(), needs), (name, Needs::Stack), "{text}");
        }
    }

    #[test]
    fn what_only_begins_so_has_no_such_shape() {
        for text in [
            "if (a) <b>{c+1}",
            "<ffffffff8048e3c4>{return a}",
            "[<80>]",
            "[<801ecd20>",
            "[a+b/c]",
            "[+1/2]",
            "frame 1: f+0x1/0x2",
            "0x1234 f+0x1",
            "0xa0000001001a3b20 is freed+0x80",
            "address : <0x00042a3e> /* kernel dynamic memory */",
        ] {
            assert_eq!(frame(text), None, "{text}");
        }
    }
}
