//! What stands in front of a message of the kernel: its time, and what loggers put before it.
//!
//! ```text
//! [   12.345678] text
//! [   12.345678][ T1234] text
//! [   12.345678] [ T1234] text                        util-linux's dmesg
//! [ T1234] text                                       with printk.time=0
//! <4>[   12.345678] text
//! [Sat Nov 28 09:20:11 2026] [ T1234] text
//! Nov 28 09:20:11 host kernel: [   12.345678] text
//! [   12.345678] host kernel: text                    journalctl -o short-monotonic
//! kernel: text
//! kern  :warn  : [   12.345678] text                  dmesg -x
//! [  +0.000003] text                                  dmesg --time-format reltime, -H
//! [Nov28 09:20] text
//! [Nov 8 09:20] text
//! [<    0.000003>] text                               dmesg --time-format delta
//! [   12.345678 <    0.000003>] text                  dmesg -d
//! [   12.345678 <    0.000003 >] host kernel: text    journalctl -o short-delta
//! [   12.345678 / 11-28 09:20:11.345][1] text         LG
//! [   12.345678,1] text                               Motorola
//! [   12.345678][0]text                               AVM
//! 2026-11-28T09:20:11,345678+00:00 text               dmesg --time-format iso, and what runs tests
//! 4,1234,12345678,-,caller=T93;text                   /dev/kmsg, netconsole
//! 6.12.0,4,1234,12345678,-;text                       netconsole with the kernel's release
//! <4>1 2026-11-28T09:20:11+00:00 host kernel - - - text    syslog of RFC 5424
//! Nov 28 09:20:11 host 4,1234,12345678,-;text         netconsole behind a syslog's own time
//! host: kern: warning: [2026-11-28T09:20:11.34567Z]: text    talosctl dmesg
//!   [   12.345678] text                               indented
//!  kernel:[   12.345678] text                         what syslogd writes to every terminal
//! 11-28 09:20:11.345     0     0 W kernel  : text     logcat of Android
//! W/kernel  (    0): text
//! console.log:12:[   12.345678] text                  grep
//! host kernel: message repeated 2 times: [ text]      rsyslogd
//! ```
//!
//! Each of these may stand in front of any other, once (`dmesg -xT`). What is no part of any message is taken
//! away first (`plain.rs`). What quotes a line stands before all prefixes (`quote.rs`), who printed it behind
//! the time (`printer.rs`).

mod plain; // a line as a terminal shows it
mod printer; // who printed a message
mod quote; // what quotes a line

pub(crate) use plain::plain;
pub(super) use printer::behind as behind_printer;
pub(crate) use quote::said;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::stack::lines::split_at;
use quote::unquoted;

/// The longest prefix of one kind, in bytes.
const LONGEST: usize = 100;

/// A message, and who printed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The thread or CPU, where the kernel says (`CONFIG_PRINTK_CALLER`): `T1234`, `C0`; or else who is
    /// quoted.
    pub(super) caller: &'a [u8],
    /// The text, with its own blanks.
    pub(super) text: &'a [u8],
    /// Whether something stands in front of it that only loggers and the kernel put there.
    pub(super) is_stamped: bool,
}

/// The kinds of prefixes. A line has each once, at most.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Level,
    Date,
    Seconds,
    Logger,
    Repeated,
    Caller,
}

/// The prefixes that a line has had so far, as bits.
#[derive(Clone, Copy, Default)]
struct Had(u8);

impl<'a> Message<'a> {
    /// The message in a line.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let (caller, text) = unquoted(line);
        let (mut message, mut had) = (Self { caller, text, is_stamped: false }, Had::default());
        while let Some((prefix, behind)) = message.behind_prefix(had) {
            message = Self { is_stamped: true, ..behind };
            had.add(prefix);
        }
        message
    }

    /// The prefix that the text begins with, and the message behind it.
    fn behind_prefix(self, had: Had) -> Option<(Prefix, Self)> {
        let text = self.text;
        let is_timed = had.has(Prefix::Seconds);
        let may_be_date = !is_timed && !had.has(Prefix::Date);
        let behind = |prefix: Prefix, text: &'a [u8]| (prefix, Self { text, ..self });
        let said = |prefix: Prefix, (caller, text)| (prefix, Self { caller, text, ..self });
        let (prefix, message) = match text.first()? {
            b'<' => behind(Prefix::Level, level(text)?),
            b'[' => {
                let of_caller = || printer::of(text).map(|printed| said(Prefix::Caller, printed));
                let date = || Some(behind(Prefix::Date, date(text).filter(|_| may_be_date)?));
                match seconds(text) {
                    Some(text) => behind(Prefix::Seconds, text),
                    // What stands behind a time is most of a log.
                    None if is_timed => of_caller()?,
                    None => of_caller().or_else(date)?,
                }
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if is_timed => {
                let of_vendor = || printer::of_vendor(text).map(|printed| said(Prefix::Caller, printed));
                let host = || host(text).map(|text| behind(Prefix::Logger, text));
                host().or_else(of_vendor)?
            }
            b' ' | b'.' | b'-' | b'(' if is_timed => said(Prefix::Caller, printer::of_vendor(text)?),
            b' ' | b'\t' => {
                let logger = match text.trim_ascii_start().first()? {
                    b'k' => spoken(text),
                    b'0'..=b'9' => numbered(text),
                    b'[' | b'<' => indented(text),
                    _ => None,
                };
                behind(Prefix::Logger, logger?)
            }
            b'.' | b'/' => behind(Prefix::Logger, grepped(text)?),
            first @ (b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                let date = || iso_time(text).filter(|_| may_be_date).map(|text| behind(Prefix::Date, text));
                let record = || record(text).map(|recorded| said(Prefix::Seconds, recorded));
                let logger = || {
                    let others = || numbered(text).or_else(|| relayed(text));
                    let text = logger(text).or_else(|| grepped(text)).or_else(others)?;
                    Some(behind(Prefix::Logger, text))
                };
                match first {
                    b'0'..=b'9' => date().or_else(record).or_else(logger)?,
                    b'm' if had.has(Prefix::Logger) => behind(Prefix::Repeated, repeated(text)?),
                    _ => facility(text).map(|text| behind(Prefix::Level, text)).or_else(logger)?,
                }
            }
            // Frames, which are most lines, begin with what no prefix begins with.
            _ => return None,
        };
        (!had.has(prefix)).then_some((prefix, message))
    }
}

impl Had {
    fn has(self, prefix: Prefix) -> bool {
        self.0 & 1 << prefix as u8 != 0
    }

    fn add(&mut self, prefix: Prefix) {
        self.0 |= 1 << prefix as u8;
    }
}

/// What stands behind `[   12.345678] `, `[  +0.000003] `, `[<    0.000003>] ` or
/// `[   12.345678 <    0.000003>] `; kernels of vendors also print `[   12.345678@0] `, `[   12.345678,0] `,
/// `[   12.345678s]`, `[   12.345678 / 11-28 09:20:11.345]`, and the CPU right behind it, `[   12.345678][0]`.
fn seconds(text: &[u8]) -> Option<&[u8]> {
    let whole = text.strip_prefix(b"[")?.trim_ascii_start();
    let behind = match behind_number(whole.strip_prefix(b"+").unwrap_or(whole)) {
        Some(behind) => {
            let of_vendor = || match behind {
                [b'@' | b',', cpu @ ..] => behind_digits(cpu)?.strip_prefix(b"]"),
                [b' ', b'/', b' ', b'0'..=b'9', time @ ..] => {
                    let end = time.iter().take(LONGEST).position(|&byte| byte == b']')?;
                    Some(&time[end + 1..])
                }
                _ => behind.strip_prefix(b"s]"),
            };
            let of_dmesg = || delta(behind.strip_prefix(b" ")?);
            behind.strip_prefix(b"]").or_else(of_dmesg).or_else(of_vendor)?
        }
        None => delta(whole)?,
    };
    Some(behind_blank(behind_cpu(behind).unwrap_or(behind)))
}

/// What stands behind `[1]`.
fn behind_cpu(text: &[u8]) -> Option<&[u8]> {
    behind_digits(text.strip_prefix(b"[")?)?.strip_prefix(b"]")
}

/// What stands behind `<    0.000003>]`.
fn delta(text: &[u8]) -> Option<&[u8]> {
    let behind = behind_number(text.strip_prefix(b"<")?.trim_ascii_start())?;
    behind.strip_prefix(b" ").unwrap_or(behind).strip_prefix(b">]")
}

/// A text without the blank that parts it from its prefix, or what an editor made of it.
fn behind_blank(text: &[u8]) -> &[u8] {
    match text {
        [b' ' | b'\t', behind @ ..] => behind,
        _ => text,
    }
}

/// What stands behind `12.345678`.
fn behind_number(text: &[u8]) -> Option<&[u8]> {
    behind_digits(behind_digits(text)?.strip_prefix(b".")?)
}

/// What stands behind the digits that a text begins with.
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// Whether it is `T1234` or `C0`.
fn is_caller(word: &[u8]) -> bool {
    let number = word.strip_prefix(b"T").or_else(|| word.strip_prefix(b"C"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// What stands behind `<4>`.
fn level(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"<")?;
    let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=3).contains(&digits).then(|| inner[digits..].strip_prefix(b">"))?
}

/// What stands behind `kern  :warn  : ` (print_record of util-linux's sys-utils/dmesg.c).
fn facility(text: &[u8]) -> Option<&[u8]> {
    let level = text.strip_prefix(b"kern")?.trim_ascii_start().strip_prefix(b":")?;
    let end = level.iter().take("notice:".len()).position(|&byte| byte == b':')?;
    level[end + 1..].strip_prefix(b" ")
}

/// What stands behind `[Sat Nov 28 09:20:11 2026] `, `[Nov28 09:20] ` or `[Nov 8 09:20] `.
fn date(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().take(LONGEST).position(|&byte| byte == b']')?;
    // `[RA: c0153088  SP: c0ceded4]` of crash(8) is none.
    let is_of_time = |part: &&[u8]| part[0].is_ascii_digit() && part[1] == b':' && part[2].is_ascii_digit();
    let colons = inner[..end].windows(3).filter(is_of_time).count();
    let digits = inner[..end].iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_short = end == "Nov28 09:20".len()
        && inner[0].is_ascii_uppercase()
        && colons == 1
        && (5..=6).contains(&digits);
    (colons >= 2 && digits >= 6 || is_short).then(|| behind_blank(&inner[end + 1..]))
}

/// What stands behind `2026-11-28T09:20:11.345678Z ` or `2026-11-28 09:20:11,345 `.
fn iso_time(text: &[u8]) -> Option<&[u8]> {
    let behind = behind_second(text)?;
    let end = behind.iter().take(LONGEST).position(|&byte| byte == b' ')?;
    Some(&behind[end + 1..])
}

/// What stands behind `2026-11-28T09:20:11` or `2026-11-28 09:20:11`.
fn behind_second(text: &[u8]) -> Option<&[u8]> {
    const SHAPE: &[u8] = b"dddd-dd-dd dd:dd:dd";
    let (time, behind) = text.split_at_checked(SHAPE.len())?;
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b'T' | b' '),
        _ => byte == shape,
    };
    time.iter().zip(SHAPE).all(fits).then_some(behind)
}

/// Who printed the message behind `4,1234,12345678,-;` (Documentation/ABI/testing/dev-kmsg), and the message:
/// `caller=T93` may stand among the last fields, and the kernel's release before all
/// (Documentation/networking/netconsole.rst).
fn record(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().take(LONGEST).position(|&byte| byte == b';')?;
    let mut fields = text[..end].split(|&byte| byte == b',').peekable();
    fields.next_if(|release| release.contains(&b'.'));
    let is_number = |field: &[u8]| behind_digits(field).is_some_and(<[u8]>::is_empty);
    if fields.by_ref().take(3).filter(|field| is_number(field)).count() < 3 {
        return None;
    }
    let caller = fields.find_map(|field| field.strip_prefix(b"caller=")).filter(|caller| is_caller(caller));
    Some((caller.unwrap_or_default(), &text[end + 1..]))
}

static KERNEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"kernel"));

/// What stands behind `host kernel: `, `host kernel[0]: `, ` kernel - - - ` or logcat's `0     0 W kernel  : `
/// and `W/kernel  (    0): `.
fn logger(text: &[u8]) -> Option<&[u8]> {
    KERNEL.find_iter(&text[..text.len().min(LONGEST)]).find_map(|at| {
        if !matches!(at.checked_sub(1).map(|before| text[before]), None | Some(b' ' | b'/')) {
            return None;
        }
        let behind = &text[at + b"kernel".len()..];
        if let Some(text) = behind.strip_prefix(b" - - - ") {
            return Some(text);
        }
        let behind = behind.trim_ascii_start();
        let behind =
            behind_number_in(behind, *b"[]").or_else(|| behind_number_in(behind, *b"()")).unwrap_or(behind);
        let text = behind.strip_prefix(b":")?;
        text.strip_prefix(b" ").or_else(|| seconds(text).and(Some(text)))
    })
}

/// The message in `message repeated 2 times: [ text]`.
fn repeated(text: &[u8]) -> Option<&[u8]> {
    let times = behind_digits(text.strip_prefix(b"message repeated ")?)?;
    times.strip_prefix(b" times: [ ")?.strip_suffix(b"]")
}

/// What stands behind the number in brackets that a text begins with: `[0]`, `(    0)`.
fn behind_number_in(text: &[u8], [open, close]: [u8; 2]) -> Option<&[u8]> {
    behind_digits(text.strip_prefix(&[open])?.trim_ascii_start())?.strip_prefix(&[close])
}

/// What stands behind ` kernel:`, as syslogd writes messages to every terminal.
fn spoken(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b" kernel:").filter(|text| seconds(text).is_some())
}

/// What stands behind the number of a line (`cat -n`), where a time follows.
fn numbered(text: &[u8]) -> Option<&[u8]> {
    let behind = behind_digits(text.trim_ascii_start())?;
    let text = behind.trim_ascii_start();
    let has_time = || seconds(level(text).unwrap_or(text)).is_some();
    (text.len() < behind.len() && has_time()).then_some(text)
}

/// What stands behind blanks in front of a time.
fn indented(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii_start();
    seconds(level(text).unwrap_or(text)).and(Some(text))
}

/// What stands behind what others put in front of a record of netconsole, `Nov 28 09:20:11 host ` of a syslog,
/// or in front of a message, `host: kern: warning: [2026-11-28T09:20:11.345678901Z]: ` of Talos.
fn relayed(text: &[u8]) -> Option<&[u8]> {
    let mark = memchr::memchr2(b';', b'[', &text[..text.len().min(LONGEST)])?;
    let before = &text[..mark];
    if text[mark] == b';' {
        let text = &text[memchr::memrchr(b' ', before)? + 1..];
        return record(text).and(Some(text));
    }
    let is_kernels = before.ends_with(b": ") && split_at(before, b"kern: ").is_some();
    let behind = is_kernels.then(|| behind_second(&text[mark + 1..]))??;
    let (fraction, message) = split_at(behind, b"Z]: ")?;
    fraction.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.').then_some(message)
}

/// What stands behind the `console.log:12:` or `console.log-12-` of grep, where a time follows.
fn grepped(text: &[u8]) -> Option<&[u8]> {
    let is_of_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"._/+-".contains(byte);
    let mark = memchr::memchr2(b':', b'[', &text[..text.len().min(LONGEST)])?;
    let (path, behind) = text.split_at(mark);
    let behind = if text[mark] == b':' { &behind[1..] } else { behind };
    let begins = matches!(behind.first()?, b'[' | b'<' | b'0'..=b'9');
    let is_path = text[mark] == b':' || path.ends_with(b"-");
    if !begins || !is_path || !path.iter().all(is_of_path) {
        return None;
    }
    let behind = behind_digits(behind).and_then(|behind| behind.strip_prefix(b":")).unwrap_or(behind);
    seconds(level(behind).unwrap_or(behind)).and(Some(behind))
}

/// What stands behind `host kernel: `, where a time stands before it.
fn host(text: &[u8]) -> Option<&[u8]> {
    const KERNEL: &[u8] = b"kernel: ";
    let blank = memchr::memchr(b' ', &text[..text.len().min(LONGEST)])?;
    text[blank + 1..].strip_prefix(KERNEL).or_else(|| text.strip_prefix(KERNEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_behind_what_loggers_put_before_it() {
        let cases = [
            ("[   12.345678] text", "", "text"),
            ("[   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[   12.345678][ T1234]  text", "T1234", " text"),
            ("[   12.345678] [    C0]  text", "C0", " text"),
            ("[    T93]  f+0x1/0x2", "T93", " f+0x1/0x2"),
            ("[Sat Nov 28 09:20:11 2026] [   T3919]  f+0x1/0x2", "T3919", " f+0x1/0x2"),
            ("2026-11-28T09:20:11,345678+00:00 [   T3919] text", "T3919", "text"),
            ("[   12.345678] [ Cat] text", "", "[ Cat] text"),
            ("[   12.345678] [drm:f:123456] text", "", "[drm:f:123456] text"),
            ("[   12.345678] [   12.345679] text", "", "[   12.345679] text"),
            ("<4>[   12.345678] text", "", "text"),
            ("[Sat Nov 28 09:20:11 2026] text", "", "text"),
            ("Nov 28 09:20:11 host kernel: [   12.345678][    C1] text", "C1", "text"),
            ("Nov 28 09:20:11 host kernel:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("Nov 28 09:20:11 host kernel: <4>[   12.345678] [    C1] text", "C1", "text"),
            ("kern  :warn  : [   12.345678] text", "", "text"),
            ("kern  :notice: [Sat Nov 28 09:20:11 2026] [   T3919]  f+0x1/0x2", "T3919", " f+0x1/0x2"),
            ("kern  :warn  : 2026-11-28T09:20:11,345678+00:00  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[   12.345680] host kernel:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[   12.345678 / 11-28 09:20:11.345][1]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[   12.345678,1]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[   12.345678][0]text", "", "text"),
            ("[   12.345678] [0]text", "", "[0]text"),
            ("[   12.345678]\t f+0x1/0x2", "", " f+0x1/0x2"),
            (
                "Nov 28 09:20:11 host kernel: message repeated 2 times: [ [   12.3]  f+0x1/0x2]",
                "",
                " f+0x1/0x2",
            ),
            ("message repeated 2 times: [ f+0x1/0x2]", "", "message repeated 2 times: [ f+0x1/0x2]"),
            ("MESSAGE= f+0x1/0x2", "MESSAGE", " f+0x1/0x2"),
            ("JD> [   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("<4>[   12.345678] [K] text", "", "text"),
            ("<4>[   12.345678] -(0)[1:swapper/0][name:traps&] f+0x1/0x2", "1:swapper/0", "f+0x1/0x2"),
            ("[12345.68 <    0.000003>] host kernel:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[ 12345.68 <    0.000003 >] host kernel:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("Nov 28 09:20:11 host 4,1234,12345678,-,caller=T93; f+0x1/0x2", "T93", " f+0x1/0x2"),
            ("2026-11-28T09:20:11+00:00 host 6.12.0,4,1234,12345678,-; f+0x1/0x2", "", " f+0x1/0x2"),
            ("a host; f+0x1/0x2", "", "a host; f+0x1/0x2"),
            ("host: kern: warning: [2026-11-28T09:20:11.3456789Z]:  f+0x1/0x2", "", " f+0x1/0x2"),
            (
                "host: daemon: info: [2026-11-28T09:20:11Z]: a",
                "",
                "host: daemon: info: [2026-11-28T09:20:11Z]: a",
            ),
            ("  [   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("\t<4>[   12.345678][  T93] text", "T93", "text"),
            ("   [12] text", "", "   [12] text"),
            ("19:20:00  f+0x1/0x2", "", " f+0x1/0x2"),
            ("19:20:00 host kernel: [   12.345678] text", "", "text"),
            ("19:20:00.123  f+0x1/0x2", "", " f+0x1/0x2"),
            ("19:20 text", "", "19:20 text"),
            ("    [RA: c0153088  SP: c0ceded4]", "", "    [RA: c0153088  SP: c0ceded4]"),
            ("[   12.345678] c0 text", "c0", "text"),
            (">>> [   12.345678] text", "", "text"),
            (">[   12.345678] text", "", "text"),
            (">PID: 1499   TASK: a", "", "PID: 1499   TASK: a"),
            ("[   12.345680] the old kernel: text", "", "the old kernel: text"),
            ("kernel:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[<    0.000003>]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[Nov 8 09:21]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("11-28 09:20:11.345     0     0 W kernel  :  f+0x1/0x2", "", " f+0x1/0x2"),
            ("W/kernel  (    0): [   12.345678] text", "", "text"),
            ("01-28 09:20:11.345 W/kernel  (    0):  f+0x1/0x2", "", " f+0x1/0x2"),
            ("Nov 28 09:20:11 host kernel[0]:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("Nov 28 09:20:11 host thekernel:  f+0x1/0x2", "", "Nov 28 09:20:11 host thekernel:  f+0x1/0x2"),
            ("<4>1 2026-11-28T09:20:11+00:00 host kernel - - -  f+0x1/0x2", "", " f+0x1/0x2"),
            (" kernel:[16704.264129]  f+0x1/0x2", "", " f+0x1/0x2"),
            (" kernel: not a time", "", " kernel: not a time"),
            ("Feb 18 18:13:35 host kernel:[16704.264129]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("console.log:12:[   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("./a/console.log:<4>[   12.345678][    T1]  f+0x1/0x2", "T1", " f+0x1/0x2"),
            ("console.log-12-[   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("    12\t[   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("12  <4>[   12.345678] text", "", "text"),
            ("    12 text", "", "    12 text"),
            ("console.log:12: a list", "", "console.log:12: a list"),
            ("> > [   12.345678] text", "", "text"),
            ("|[   12.345678] text", "", "text"),
            ("> |  f+0x1/0x2", "", " f+0x1/0x2"),
            (">ffff888004d2a000: fa fb", "", ">ffff888004d2a000: fa fb"),
            ("  |  f() {", "", "  |  f() {"),
            ("[  +0.000003]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[Nov28 09:20] text", "", "text"),
            ("[   12.345678 <    0.000003>] text", "", "text"),
            ("2026-11-28T09:20:11,345678+00:00 text", "", "text"),
            ("2026-11-28T09:20:11.3456789Z [   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("2026-11-28T09:20:11+0000 host kernel: text", "", "text"),
            ("2026-11-28 09:20:11,345 text", "", "text"),
            ("4,1234,12345678,-;text", "", "text"),
            ("4,1234,12345678,-,caller=T93; f+0x1/0x2", "T93", " f+0x1/0x2"),
            ("6.12.0-rc1,6,2444,12345678,-;text", "", "text"),
            ("6,416,1758426,-,ncfrag=0/33;text", "", "text"),
            ("6,416,a;text", "", "6,416,a;text"),
            ("[<ffffffff8191c190>] f+0x1/0x2", "", "[<ffffffff8191c190>] f+0x1/0x2"),
            (
                "[c0000000f8a3b7c0] [c000000000a1b2c4] f+0x1/0x2",
                "",
                "[c0000000f8a3b7c0] [c000000000a1b2c4] f+0x1/0x2",
            ),
            (" f+0x1/0x2", "", " f+0x1/0x2"),
            ("", "", ""),
        ];
        for (line, caller, text) in cases {
            let message = Message::of(line.as_bytes());
            assert_eq!((message.caller, message.text), (caller.as_bytes(), text.as_bytes()), "{line}");
        }
    }
}
