//! Boot and phase timings over the nights, a chart a kernel.

use std::collections::BTreeMap;

use super::duration_text;
use kshot_stack::document::Timings;
use kshot_stack::night::report::NightReport;

/// The width and height of a chart, in SVG units.
const WIDTH: u64 = 300;
const HEIGHT: u64 = 90;
/// Reads the duration of one phase.
type PhaseDuration = fn(&Timings) -> u64;

/// The phases, in the order of the walk, as they are drawn.
const PHASES: [(&str, PhaseDuration); 4] = [
    ("boot", |timings| timings.boot),
    ("ssh", |timings| timings.ssh),
    ("steps", |timings| timings.steps),
    ("collect", |timings| timings.collect),
];

/// The phases of a kernel's runs, night by night: the middle of all its scenarios.
pub(super) struct TimingChart {
    pub(super) kernel: String,
    pub(super) bars: Vec<ChartBar>,
    /// The highest bar, for people.
    pub(super) top: String,
    pub(super) nights: Vec<NightDurations>,
}

/// The bar of one phase of one night.
pub(super) struct ChartBar {
    pub(super) phase: &'static str,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) words: String,
}

/// The numbers of one night, for the table below the chart.
pub(super) struct NightDurations {
    pub(super) night: String,
    pub(super) phases: Vec<String>,
}

/// The charts of all kernels that ran.
pub(super) fn all(report: &NightReport) -> Vec<TimingChart> {
    let kernels = report.night.kernels.iter().map(|kernel| kernel.name.as_str());
    kernels.filter_map(|kernel| of_kernel(report, kernel)).collect()
}

fn of_kernel(report: &NightReport, kernel: &str) -> Option<TimingChart> {
    let mut nights: BTreeMap<&str, Vec<Timings>> = BTreeMap::new();
    for pair in report.night.pairs.iter().filter(|pair| pair.kernel == kernel) {
        if let Some(run) = pair.run() {
            nights.entry(&report.night.name).or_default().push(run.timings_ms);
        }
        for past in report.past(pair) {
            if let Some(run) = &past.run {
                nights.entry(&past.night).or_default().push(run.timings_ms);
            }
        }
    }
    let middles = nights.iter().map(|(night, all)| (*night, PHASES.map(|(_, of)| median(all, of))));
    let middles: Vec<(&str, [u64; 4])> = middles.collect();
    let top = middles.iter().map(|(_, phases)| phases.iter().sum::<u64>()).max()?.max(1);
    let step = (WIDTH / middles.len() as u64).clamp(1, 24);
    let mut bars = Vec::new();
    for (index, (night, phases)) in middles.iter().enumerate() {
        let mut below = 0;
        for ((phase, _), took) in PHASES.iter().zip(phases) {
            let (from, to) = (HEIGHT * below / top, HEIGHT * (below + took) / top);
            below += took;
            bars.push(ChartBar {
                phase,
                x: index as u64 * step,
                y: HEIGHT - to,
                width: step.saturating_sub(2).max(1),
                height: to - from,
                words: format!("{night}, {phase}: {}", duration_text(*took)),
            });
        }
    }
    let line = |(night, phases): &(&str, [u64; 4])| NightDurations {
        night: (*night).into(),
        phases: phases.iter().map(|ms| duration_text(*ms)).collect(),
    };
    Some(TimingChart {
        kernel: kernel.into(),
        bars,
        top: duration_text(top),
        nights: middles.iter().map(line).collect(),
    })
}

fn median(all: &[Timings], of: PhaseDuration) -> u64 {
    let mut values: Vec<u64> = all.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
