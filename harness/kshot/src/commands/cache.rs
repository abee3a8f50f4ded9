//! `kshot cache`: shows and prunes the cache.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use indicatif::HumanBytes;

use super::{CommandError, Format, Streams, workspace};
use crate::report::new_table;
use kshot_guest::host::cache::{Cache, CacheEntry};
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show only these kinds of entries (states, kernels, ...); default: all
    kinds: Vec<String>,
    /// Remove the entries of the given kinds, the least recently used first
    #[arg(long, requires = "kinds")]
    prune: bool,
    /// With --prune: keep at most MIB of the given kinds in total
    #[arg(long, value_name = "MIB", requires = "prune", default_value_t = 0)]
    to: u64,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The entries of one kind, with their total size.
#[derive(serde::Serialize)]
struct KindUsage<'a> {
    kind: &'a str,
    entries: Vec<EntryUsage<'a>>,
    bytes: u64,
}

#[derive(serde::Serialize)]
struct EntryUsage<'a> {
    key: &'a str,
    bytes: u64,
    unused_for_s: u64,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let cache = workspace(None)?.cache;
        let there = cache.kinds()?;
        if let Some(unknown) = self.kinds.iter().find(|kind| !there.contains(kind)) {
            return Err(CommandError::usage(
                format!("the cache has no entries of the kind `{unknown}`"),
                format!("it holds: {}", there.join(", ")),
            ));
        }
        let asked = |kind: &String| self.kinds.is_empty() || self.kinds.contains(kind);
        let held: Vec<CacheEntry> = cache.entries()?.into_iter().filter(|held| asked(&held.kind)).collect();
        if self.prune {
            for kind in there.iter().filter(|kind| asked(kind)) {
                let bytes = cache.remove_abandoned(kind)?;
                if bytes > 0 {
                    let bytes = HumanBytes(bytes);
                    streams
                        .progress
                        .print_line(&format!("removed {bytes} that killed processes left in {kind}"));
                }
            }
        }
        let shown = if self.prune { cache.evict_until(held, self.to.saturating_mul(1 << 20))? } else { held };
        match self.format {
            Format::Json => {
                let word = if self.prune { "removed" } else { "kinds" };
                let document =
                    serde_json::json!({ "cache": cache.root(), word: kinds(&shown).collect::<Vec<_>>() });
                writeln!(streams.out, "{document}")?;
            }
            Format::Table => self.show(&cache, &shown, streams)?,
        }
        Ok(ExitCode::Match)
    }

    fn show(
        &self,
        cache: &Cache,
        held: &[CacheEntry],
        streams: &mut Streams<'_>,
    ) -> Result<(), CommandError> {
        let mut table = new_table();
        table.set_header(["kind", "entries", "on disk", "oldest unused for"]);
        for kind in kinds(held) {
            let oldest = kind.entries.iter().map(|line| line.unused_for_s).max().unwrap_or_default();
            table.add_row([
                kind.kind.to_owned(),
                kind.entries.len().to_string(),
                HumanBytes(kind.bytes).to_string(),
                humantime::format_duration(rounded(oldest)).to_string(),
            ]);
        }
        let total: u64 = held.iter().map(|held| held.bytes).sum();
        let what = if self.prune { "removed from" } else { "in" };
        writeln!(streams.out, "{table}\n{} {what} {}", HumanBytes(total), cache.root().display())?;
        Ok(())
    }
}

fn kinds(held: &[CacheEntry]) -> impl Iterator<Item = KindUsage<'_>> {
    let mut by_kind: BTreeMap<&str, Vec<EntryUsage<'_>>> = BTreeMap::new();
    for one in held {
        let unused_for_s = SystemTime::now().duration_since(one.last_used).unwrap_or_default().as_secs();
        by_kind.entry(&one.kind).or_default().push(EntryUsage {
            key: &one.key,
            bytes: one.bytes,
            unused_for_s,
        });
    }
    by_kind.into_iter().map(|(kind, entries)| KindUsage {
        kind,
        bytes: entries.iter().map(|line| line.bytes).sum(),
        entries,
    })
}

/// Rounds an age for display: to hours after an hour, to days after two days.
fn rounded(seconds: u64) -> Duration {
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;
    let grain = if seconds > 2 * DAY {
        DAY
    } else if seconds > HOUR {
        HOUR
    } else {
        60
    };
    Duration::from_secs(seconds / grain * grain)
}
