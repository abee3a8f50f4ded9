//! Checks a scenario: every rule that the YAML's types cannot express.

use std::collections::HashSet;

use globset::Glob;

use super::raw::{RawBoot, RawGdb, RawPerf, RawProbe, RawScenario};
use super::{Boot, Scenario, Step};
use kshot_guest::probe::{KprobeEvent, PerfEvent, ProbeKind, ProbeSpec};
use kshot_guest::yaml::{YamlError, closest};
use kshot_stack::arch::Arch;
use kshot_stack::claim::{Claim, ConsoleClaim, KnownFault};

/// The guest's memory by default, in MiB.
pub(super) const MEMORY_MIB: u32 = 256;
const REPEAT_MOST: u32 = 100_000;
const HITS_MOST: u32 = 100_000;

type Result<T> = std::result::Result<T, Box<YamlError>>;

/// The text that is checked, and the names that it may refer to.
pub(super) struct Source<'a> {
    /// The file's name in error messages.
    pub(super) file: &'a str,
    /// The file's text, for error messages.
    pub(super) text: &'a str,
    /// The kernels' names in the catalogue.
    pub(super) kernels: &'a [&'a str],
}

impl Source<'_> {
    fn fault(&self, section: &str, word: &str, message: String) -> Box<YamlError> {
        self.fault_with_hint(section, word, message, None)
    }

    fn fault_with_hint(
        &self,
        section: &str,
        word: &str,
        message: String,
        hint: Option<String>,
    ) -> Box<YamlError> {
        YamlError::at_word(self.file, self.text, section, word, message, hint)
    }
}

pub(super) fn check(id: &str, source: &Source<'_>, raw: RawScenario) -> Result<Scenario> {
    if raw.summary.trim().is_empty() || raw.summary.trim().contains('\n') {
        return Err(source.fault(
            "summary",
            "summary",
            "`summary` is one line that says what this shows".into(),
        ));
    }
    globs(source, "kernels", &raw.kernels)?;
    let boot = boot(source, raw.boot)?;
    let steps = raw
        .steps
        .into_iter()
        .map(|step| {
            if step.run.trim().is_empty() {
                return Err(source.fault("steps", "run", "`run` is empty".into()));
            }
            if !(1..=REPEAT_MOST).contains(&step.repeat) {
                let message = format!("`repeat` is {}, not within 1 and {REPEAT_MOST}", step.repeat);
                return Err(source.fault("steps", "repeat", message));
            }
            Ok(Step { run: step.run, repeat: step.repeat, limit: step.timeout, status: step.status })
        })
        .collect::<Result<Vec<_>>>()?;

    if raw.probes.is_empty() {
        return Err(source.fault(
            "probes",
            "probes",
            "`probes` is empty: nothing would record a stack".into(),
        ));
    }
    let probes = raw.probes.into_iter().map(|probe| probe_spec(source, probe)).collect::<Result<Vec<_>>>()?;
    unique(source, "probes", probes.iter().map(|probe| probe.name.as_str()))?;

    if probes.iter().filter(|probe| matches!(probe.kind, ProbeKind::Gdb { .. })).count() > 1 {
        let message = "there are two gdb probes; a machine takes one gdb at a time".into();
        return Err(source.fault("probes", "gdb", message));
    }

    let claims: Vec<_> = raw
        .claims
        .into_iter()
        .map(|claim| Claim {
            name: claim.name.unwrap_or_else(|| claim.probe.clone()),
            probe: claim.probe,
            through: claim.through,
            witness_count: claim.stacks,
            complete: claim.complete,
            exact: claim.exact,
        })
        .collect();
    let console: Vec<_> = raw
        .console
        .into_iter()
        .map(|one| ConsoleClaim { name: one.name, forbidden_text: one.never })
        .collect();
    let promises = claims.iter().map(|claim| &claim.name).chain(console.iter().map(|silence| &silence.name));
    let promises: Vec<&str> = promises.map(String::as_str).collect();
    unique(source, "claims", promises.iter().copied())?;
    if let Some(empty) = console.iter().find(|silence| silence.forbidden_text.trim().is_empty()) {
        let message = "`never` is empty: every report would hold it".into();
        return Err(source.fault("console", &empty.name, message));
    }
    for claim in &claims {
        known_name(source, "claims", "probe", &claim.probe, probes.iter().map(|probe| probe.name.as_str()))?;
        for function in &claim.through {
            word(source, "claims", "a function", function, "_.$|")?;
        }
    }

    let known: Vec<_> = raw
        .known
        .into_iter()
        .map(|known| KnownFault { kernels: known.kernels, claim: known.claim, because: known.because })
        .collect();
    for known in &known {
        globs(source, "known", &known.kernels)?;
        known_name(source, "known", "claim", &known.claim, promises.iter().copied())?;
        if known.because.trim().is_empty() {
            return Err(source.fault(
                "known",
                "because",
                "`because` is empty: a known fault needs its reason".into(),
            ));
        }
    }
    let summary = raw.summary.trim().to_owned();
    let kernels = raw.kernels;
    Ok(Scenario { id: id.into(), summary, kernels, boot, steps, probes, claims, console, known })
}

fn boot(source: &Source<'_>, raw: RawBoot) -> Result<Boot> {
    let ftrace = raw.ftrace;
    let lists = [
        ("ftrace_filter", ftrace.filter, "_.*?[]!:"),
        ("ftrace_notrace", ftrace.notrace, "_.*?[]!"),
        ("ftrace_graph_filter", ftrace.graph_filter, "_.*?[]!"),
        ("trace_options", ftrace.options, "_-"),
        ("trace_event", ftrace.events, "_:*"),
    ];
    let mut cmdline = Vec::new();
    if let Some(tracer) = &ftrace.tracer {
        word(source, "boot", "a tracer", tracer, "_-")?;
        cmdline.push(format!("ftrace={tracer}"));
    }
    for (parameter, items, marks) in lists {
        for item in &items {
            word(source, "boot", &format!("an item of {parameter}="), item, marks)?;
        }
        if !items.is_empty() {
            cmdline.push(format!("{parameter}={}", items.join(",")));
        }
    }
    if let Some(kib) = ftrace.buffer_kib {
        cmdline.push(format!("trace_buf_size={kib}k"));
    }
    for parameter in raw.cmdline {
        let unfit = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
        if parameter.is_empty() || parameter.contains(unfit) {
            let message = format!(
                "`{}` is not one kernel parameter: one an item, ASCII, no spaces",
                parameter.escape_debug()
            );
            return Err(source.fault("boot", "cmdline", message));
        }
        cmdline.push(parameter);
    }
    let memory_mib = raw.memory_mib.unwrap_or(MEMORY_MIB);
    // A scenario runs on kernels of all architectures, so the smallest board counts.
    let most = Arch::all().map(|arch| arch.row().memory_mib_max).min().unwrap_or(MEMORY_MIB);
    if !(64..=most).contains(&memory_mib) {
        let message = format!("`memory-mib` is {memory_mib}, not within 64 and {most}");
        return Err(source.fault("boot", "memory-mib", message));
    }
    Ok(Boot { cmdline, memory_mib, icount: false })
}

fn probe_spec(source: &Source<'_>, raw: RawProbe) -> Result<ProbeSpec> {
    let kind = match (raw.ftrace, raw.perf, raw.kprobe, raw.gdb) {
        (Some(ftrace), None, None, None) => {
            if let Some(instance) = &ftrace.instance {
                word(source, "probes", "an instance", instance, "_-")?;
            }
            for event in &ftrace.only {
                word(source, "probes", "an event", event, "_.$")?;
            }
            ProbeKind::Ftrace { instance: ftrace.instance, only: ftrace.only }
        }
        (None, Some(perf), None, None) => {
            ProbeKind::Perf { event: perf_event(source, &perf)?, call_graph: perf.call_graph }
        }
        (None, None, Some(kprobe), None) => {
            ProbeKind::Kprobe { event: kprobe_event(source, kprobe.event)?, stacktrace: kprobe.stacktrace }
        }
        (None, None, None, Some(gdb)) => gdb_kind(source, gdb)?,
        _ => {
            let message = "a probe has exactly one of the keys `ftrace`, `perf`, `kprobe`, `gdb`".into();
            return Err(source.fault("probes", "probes", message));
        }
    };
    let name = raw.name.unwrap_or_else(|| kind.word().into());
    // It becomes a file name in snapshots and run folders.
    word(source, "probes", "a probe's name", &name, "_-")?;
    Ok(ProbeSpec { name, kind })
}

fn perf_event(source: &Source<'_>, raw: &RawPerf) -> Result<PerfEvent> {
    word(source, "probes", "call-graph", &raw.call_graph, ",_-")?;
    match (&raw.probe, &raw.event) {
        (Some(function), None) => {
            word(source, "probes", "a function", function, "_.$")?;
            Ok(PerfEvent::Probe(function.clone()))
        }
        (None, Some(event)) => {
            word(source, "probes", "an event", event, "_:-.*")?;
            Ok(PerfEvent::Event(event.clone()))
        }
        _ => {
            Err(source.fault("probes", "perf", "`perf` has exactly one of the keys `probe`, `event`".into()))
        }
    }
}

/// `p:GROUP/NAME PLACE ...`, or `r` for a return, with its number of instances: group and name are what the
/// probe is found by.
fn kprobe_event(source: &Source<'_>, definition: String) -> Result<KprobeEvent> {
    let names = definition.split_once(' ').and_then(|(head, place)| {
        let (kind, names) = head.split_once(':')?;
        let returns = kind.strip_prefix('r').is_some_and(|most| most.chars().all(|c| c.is_ascii_digit()));
        let (group, name) = names.split_once('/')?;
        let known = (kind == "p" || returns) && !place.trim().is_empty();
        known.then(|| (group.to_owned(), name.to_owned()))
    });
    let printable = definition.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    let Some((group, name)) = names.filter(|_| printable) else {
        let message = format!("`{}` is no kprobe event with group and name", definition.escape_debug());
        let hint = Some("write it as in kprobe_events: p:probe/rn register_netdevice".into());
        return Err(source.fault_with_hint("probes", &definition, message, hint));
    };
    word(source, "probes", "an event's group", &group, "_")?;
    word(source, "probes", "an event's name", &name, "_")?;
    Ok(KprobeEvent { definition, group, name })
}

fn gdb_kind(source: &Source<'_>, raw: RawGdb) -> Result<ProbeKind> {
    word(source, "probes", "a function", &raw.function, "_.$")?;
    if !(1..=HITS_MOST).contains(&raw.hits) {
        let message = format!("`hits` is {}, not within 1 and {HITS_MOST}", raw.hits);
        return Err(source.fault("probes", "hits", message));
    }
    Ok(ProbeKind::Gdb { function: raw.function, hits: raw.hits, traced: false })
}

fn word(source: &Source<'_>, section: &str, what: &str, value: &str, marks: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    if !value.is_empty() && value.chars().all(fits) {
        return Ok(());
    }
    let message = format!("`{}` cannot be {what}: letters, digits and `{marks}` only", value.escape_debug());
    Err(source.fault(section, value, message))
}

fn globs(source: &Source<'_>, section: &str, globs: &[String]) -> Result<()> {
    if globs.is_empty() {
        return Err(source.fault(section, "kernels", "`kernels` is empty".into()));
    }
    globs.iter().try_for_each(|glob| {
        let matcher = match Glob::new(glob) {
            Ok(matcher) => matcher.compile_matcher(),
            Err(error) => {
                return Err(source.fault(section, glob, format!("`{glob}` is no glob: {}", error.kind())));
            }
        };
        if source.kernels.iter().any(|name| matcher.is_match(name)) {
            return Ok(());
        }
        let hint =
            closest(glob, source.kernels.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let message = format!("no kernel of images/kernels.yaml matches `{glob}`");
        Err(source.fault_with_hint(section, glob, message, hint))
    })
}

fn unique<'a>(source: &Source<'_>, section: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let hint = Some("give one of them another `name`".into());
            return Err(source.fault_with_hint(
                section,
                name,
                format!("two {section} are called `{name}`"),
                hint,
            ));
        }
    }
    Ok(())
}

fn known_name<'a>(
    source: &Source<'_>,
    section: &str,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<()> {
    if known.clone().any(|one| one == name) {
        return Ok(());
    }
    let hint = closest(name, known.clone()).map(|one| format!("did you mean `{one}`?"));
    let names = known.map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { "none".into() } else { names };
    Err(source.fault_with_hint(
        section,
        name,
        format!("no {what} is called `{name}`; there are: {names}"),
        hint,
    ))
}
