//! `index.html`: a night on one page, without network access and readable without scripts. Pure.
//!
//! The templates beside this file hold the markup; what they show is worked out here.

mod chart; // timings over the nights
mod stacks; // stacks beside each other
mod view; // the data of the templates

use std::fmt::{self, Write};

use askama::Template;

use super::ReportError;
use chart::TimingChart;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::ChangeKind;
use kshot_stack::night::results::PairStatus;
use kshot_stack::text::count_noun;
use view::{ChangeCard, MatrixCell, PairDetails, ReasonGroup};

/// The page of a night.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    report: &'a NightReport,
    headline: String,
    tiles: Vec<SummaryTile>,
    sections: Vec<ChangeSection>,
    rows: Vec<MatrixRow<'a>>,
    details: Vec<PairDetails>,
    charts: Vec<TimingChart>,
    /// `28 pairs`.
    pairs: String,
    took: String,
}

/// A number of the summary, with its link.
struct SummaryTile {
    number: usize,
    word: &'static str,
    class: &'static str,
    link: String,
}

/// The changes of one kind.
struct ChangeSection {
    kind: ChangeKind,
    class: &'static str,
    advice: &'static str,
    number: usize,
    /// The changes that are shown one by one.
    cards: Vec<ChangeCard>,
    /// The other changes, grouped by reason.
    groups: Vec<ReasonGroup>,
}

/// A row of the matrix: one scenario.
struct MatrixRow<'a> {
    id: &'a str,
    summary: &'a str,
    /// The cells, one a kernel; `None` if the scenario is not meant for that kernel.
    cells: Vec<Option<MatrixCell>>,
}

/// Renders the page.
///
/// # Errors
/// [`ReportError::Template`].
pub(super) fn page(report: &NightReport) -> Result<String, ReportError> {
    let night = &report.night;
    let sections = ChangeKind::ALL.iter().filter_map(|kind| {
        let cards: Vec<ChangeCard> =
            report.changes_of_kind(*kind).filter_map(|change| ChangeCard::of(report, change)).collect();
        let (class, advice) = section_appearance(*kind);
        let number = cards.len();
        let (cards, groups) = match kind {
            ChangeKind::StillBroken | ChangeKind::CannotTell => (Vec::new(), ReasonGroup::of(cards)),
            _ => (cards, Vec::new()),
        };
        (number > 0).then_some(ChangeSection { kind: *kind, class, advice, number, cards, groups })
    });
    let sections: Vec<ChangeSection> = sections.collect();
    let mut tiles: Vec<SummaryTile> = sections
        .iter()
        .map(|section| SummaryTile {
            number: section.number,
            word: section.kind.name(),
            class: section.class,
            link: format!("#{}", section.class),
        })
        .collect();
    let matching = night.count(PairStatus::Match);
    tiles.push(SummaryTile { number: matching, word: "match", class: "match", link: "#matrix".into() });
    let rows = night.scenarios.iter().map(|scenario| {
        let cell = |kernel: &str| Some(MatrixCell::of(report, night.pair(&scenario.id, kernel)?));
        let cells = night.kernels.iter().map(|kernel| cell(&kernel.name)).collect();
        MatrixRow { id: &scenario.id, summary: &scenario.summary, cells }
    });
    let page = Page {
        report,
        headline: report.headline(),
        tiles,
        sections,
        rows: rows.collect(),
        details: night.pairs.iter().map(|pair| PairDetails::of(report, pair)).collect(),
        charts: chart::all(report),
        pairs: count_noun(night.pairs.len() as u64, "pair"),
        took: duration_text(night.wall_ms),
    };
    Ok(page.render()?)
}

/// The class of a kind of change, and what to do about it.
fn section_appearance(kind: ChangeKind) -> (&'static str, &'static str) {
    match kind {
        ChangeKind::NewDrift => ("new-drift", "Look at these first: their stacks changed."),
        ChangeKind::Unstable => {
            ("unstable", "The runs of one night disagree: run the pair again with --repeat.")
        }
        ChangeKind::Mended => {
            ("mended", "A fault is gone. Remove it from the scenario's `known` and accept the new snapshot.")
        }
        ChangeKind::StillBroken => ("still-broken", "Nothing new: these have drifted since the given night."),
        ChangeKind::CannotTell => (
            "cannot-tell",
            "No verdict: nothing is said for or against the kernel. The same command retries \
              what was never reached.",
        ),
        ChangeKind::Accepted => (
            "accepted",
            "These match, but their stacks differ from the earlier ones: a new snapshot was accepted.",
        ),
    }
}

/// A duration in words: `1 h 02 min`, `3 min 05 s`, `4.1 s`.
fn duration_text(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        s if s >= 3600 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        s if s >= 60 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{:.1} s", milliseconds as f64 / 1000.0),
    }
}

/// A path as a link, percent-encoded (RFC 3986, section 2.1).
fn href(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Escapes for HTML and XML, and shows what would be invisible or change how its surroundings read: control
/// characters, and the marks that turn the direction of text (UAX #9). A guest chooses its own task names.
#[derive(Clone, Copy, Default)]
pub(crate) struct VisibleEscaper;

impl askama::filters::Escaper for VisibleEscaper {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '<' => into.write_str("&lt;")?,
                '>' => into.write_str("&gt;")?,
                '&' => into.write_str("&amp;")?,
                '"' => into.write_str("&quot;")?,
                '\'' => into.write_str("&apos;")?,
                '\n' | '\t' => into.write_char(c)?,
                '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                // No characters of XML (section 2.2).
                | '\u{fffe}' | '\u{ffff}' => {
                    write!(into, "\\u{{{:x}}}", u32::from(c))?;
                }
                c if c.is_control() => write!(into, "\\u{{{:x}}}", u32::from(c))?,
                c => into.write_char(c)?,
            }
        }
        Ok(())
    }
}
