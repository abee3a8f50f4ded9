//! Checks a scenario: every rule that the YAML's types cannot express.

use std::collections::HashSet;

use globset::Glob;

use super::raw::{RawBoot, RawGdb, RawPerf, RawProbe, RawScenario, RawText};
use super::{BootOptions, Scenario, Step};
use kshot_guest::probe::{KprobeEvent, PerfEvent, ProbeKind, ProbeSpec, TextSource};
use kshot_guest::yaml::{YamlError, closest};
use kshot_stack::arch::Arch;
use kshot_stack::claim::{Claim, ConsoleClaim, KnownFault};

/// The guest's memory by default, in MiB.
pub(super) const DEFAULT_MEMORY_MIB: u32 = 256;
const MAX_REPEAT: u32 = 100_000;
const MAX_HITS: u32 = 100_000;

type Result<T> = std::result::Result<T, Box<YamlError>>;

/// The text that is checked, and the names that it may refer to.
pub(super) struct CheckContext<'a> {
    /// The file's name in error messages.
    pub(super) file: &'a str,
    /// The file's text, for error messages.
    pub(super) text: &'a str,
    /// The kernels' names in the catalogue.
    pub(super) kernels: &'a [&'a str],
}

impl CheckContext<'_> {
    fn error(&self, section: &str, word: &str, message: String) -> Box<YamlError> {
        self.error_with_hint(section, word, message, None)
    }

    fn error_with_hint(
        &self,
        section: &str,
        word: &str,
        message: String,
        hint: Option<String>,
    ) -> Box<YamlError> {
        YamlError::at_word(self.file, self.text, section, word, message, hint)
    }
}

pub(super) fn check_scenario(id: &str, source: &CheckContext<'_>, raw: RawScenario) -> Result<Scenario> {
    if raw.summary.trim().is_empty() || raw.summary.trim().contains('\n') {
        return Err(source.error(
            "summary",
            "summary",
            "`summary` is one line that says what this shows".into(),
        ));
    }
    check_globs(source, "kernels", &raw.kernels)?;
    for option in &raw.requires {
        if option.starts_with("CONFIG_") {
            let message = format!("`{option}`: an option stands without `CONFIG_` here");
            return Err(source.error("requires", option, message));
        }
        check_characters(source, "requires", "an option", option, "_")?;
    }
    let boot = boot(source, raw.boot)?;
    let steps = raw
        .steps
        .into_iter()
        .map(|step| {
            if step.run.trim().is_empty() {
                return Err(source.error("steps", "run", "`run` is empty".into()));
            }
            if !(1..=MAX_REPEAT).contains(&step.repeat) {
                let message = format!("`repeat` is {}, not within 1 and {MAX_REPEAT}", step.repeat);
                return Err(source.error("steps", "repeat", message));
            }
            Ok(Step {
                script: step.run,
                repeat: step.repeat,
                timeout: step.timeout,
                expected_status: step.status,
            })
        })
        .collect::<Result<Vec<_>>>()?;

    if raw.probes.is_empty() {
        return Err(source.error(
            "probes",
            "probes",
            "`probes` is empty: nothing would record a stack".into(),
        ));
    }
    let probes = raw.probes.into_iter().map(|probe| probe_spec(source, probe)).collect::<Result<Vec<_>>>()?;
    check_unique(source, "probes", probes.iter().map(|probe| probe.name.as_str()))?;

    if probes.iter().filter(|probe| matches!(probe.kind, ProbeKind::Gdb { .. })).count() > 1 {
        let message = "there are two gdb probes; a machine has one gdb stub".into();
        return Err(source.error("probes", "gdb", message));
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
            whole: claim.whole,
        })
        .collect();
    let console: Vec<_> = raw
        .console
        .into_iter()
        .map(|one| ConsoleClaim { name: one.name, forbidden_text: one.never })
        .collect();
    let claim_names =
        claims.iter().map(|claim| &claim.name).chain(console.iter().map(|silence| &silence.name));
    let promises: Vec<&str> = claim_names.map(String::as_str).collect();
    check_unique(source, "claims", promises.iter().copied())?;
    if let Some(empty) = console.iter().find(|silence| silence.forbidden_text.trim().is_empty()) {
        let message = "`never` is empty: every report would hold it".into();
        return Err(source.error("console", &empty.name, message));
    }
    for claim in &claims {
        check_name(source, "claims", "probe", &claim.probe, probes.iter().map(|probe| probe.name.as_str()))?;
        for function in &claim.through {
            check_characters(source, "claims", "a function", function, "_.$|")?;
        }
    }

    let known: Vec<_> = raw
        .known
        .into_iter()
        .map(|known| KnownFault { kernels: known.kernels, claim: known.claim, because: known.because })
        .collect();
    for known in &known {
        check_globs(source, "known", &known.kernels)?;
        check_name(source, "known", "claim", &known.claim, promises.iter().copied())?;
        if known.because.trim().is_empty() {
            return Err(source.error(
                "known",
                "because",
                "`because` is empty: a known fault needs its reason".into(),
            ));
        }
    }
    let summary = raw.summary.trim().to_owned();
    let kernels = raw.kernels;
    Ok(Scenario {
        id: id.into(),
        summary,
        kernels,
        requires: raw.requires,
        boot,
        steps,
        probes,
        claims,
        console_claims: console,
        known_faults: known,
    })
}

fn boot(source: &CheckContext<'_>, raw: RawBoot) -> Result<BootOptions> {
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
        check_characters(source, "boot", "a tracer", tracer, "_-")?;
        cmdline.push(format!("ftrace={tracer}"));
    }
    for (parameter, items, marks) in lists {
        for item in &items {
            check_characters(source, "boot", &format!("an item of {parameter}="), item, marks)?;
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
            return Err(source.error("boot", "cmdline", message));
        }
        cmdline.push(parameter);
    }
    let memory_mib = raw.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
    // A scenario runs on kernels of all architectures, so the smallest board counts.
    let most = Arch::all().map(|arch| arch.row().memory_mib_max).min().unwrap_or(DEFAULT_MEMORY_MIB);
    if !(64..=most).contains(&memory_mib) {
        let message = format!("`memory-mib` is {memory_mib}, not within 64 and {most}");
        return Err(source.error("boot", "memory-mib", message));
    }
    Ok(BootOptions { cmdline, memory_mib, icount: false })
}

fn probe_spec(source: &CheckContext<'_>, raw: RawProbe) -> Result<ProbeSpec> {
    let kind = match (raw.ftrace, raw.perf, raw.kprobe, raw.gdb, raw.text) {
        (Some(ftrace), None, None, None, None) => {
            if let Some(instance) = &ftrace.instance {
                check_characters(source, "probes", "an instance", instance, "_-")?;
            }
            for event in &ftrace.only {
                check_characters(source, "probes", "an event", event, "_.$")?;
            }
            ProbeKind::Ftrace { instance: ftrace.instance, only: ftrace.only }
        }
        (None, Some(perf), None, None, None) => {
            ProbeKind::Perf { event: perf_event(source, &perf)?, call_graph: perf.call_graph }
        }
        (None, None, Some(kprobe), None, None) => {
            ProbeKind::Kprobe { event: kprobe_event(source, kprobe.event)?, stacktrace: kprobe.stacktrace }
        }
        (None, None, None, Some(gdb), None) => gdb_kind(source, gdb)?,
        (None, None, None, None, Some(text)) => {
            ProbeKind::Text { format: text.format, source: text_source(source, text)? }
        }
        _ => {
            let message =
                "a probe has exactly one of the keys `ftrace`, `perf`, `kprobe`, `gdb`, `text`".into();
            return Err(source.error("probes", "probes", message));
        }
    };
    let name = raw.name.unwrap_or_else(|| kind.word().into());
    // It becomes a file name in snapshots and run folders.
    check_characters(source, "probes", "a probe's name", &name, "_-")?;
    Ok(ProbeSpec { name, kind })
}

fn perf_event(source: &CheckContext<'_>, raw: &RawPerf) -> Result<PerfEvent> {
    check_characters(source, "probes", "call-graph", &raw.call_graph, ",_-")?;
    match (&raw.probe, &raw.event) {
        (Some(function), None) => {
            check_characters(source, "probes", "a function", function, "_.$")?;
            Ok(PerfEvent::Probe(function.clone()))
        }
        (None, Some(event)) => {
            check_characters(source, "probes", "an event", event, "_:-.*")?;
            Ok(PerfEvent::Event(event.clone()))
        }
        _ => {
            Err(source.error("probes", "perf", "`perf` has exactly one of the keys `probe`, `event`".into()))
        }
    }
}

/// `p:GROUP/NAME PLACE ...`, or `r` for a return, with its number of instances: group and name are what the
/// probe is found by.
fn kprobe_event(source: &CheckContext<'_>, definition: String) -> Result<KprobeEvent> {
    let names = definition.split_once(' ').and_then(|(head, place)| {
        let (kind, names) = head.split_once(':')?;
        let returns = kind.strip_prefix('r').is_some_and(|most| most.chars().all(|c| c.is_ascii_digit()));
        let (group, name) = names.split_once('/')?;
        let known = (kind == "p" || returns) && !place.trim().is_empty();
        known.then(|| (group.to_owned(), name.to_owned()))
    });
    let printable = definition.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    let Some((group, name)) = names.filter(|_| printable) else {
        let message = format!("`{}` is not a kprobe event with group and name", definition.escape_debug());
        let hint = Some("write it as in kprobe_events: p:probe/rn register_netdevice".into());
        return Err(source.error_with_hint("probes", &definition, message, hint));
    };
    check_characters(source, "probes", "an event's group", &group, "_")?;
    check_characters(source, "probes", "an event's name", &name, "_")?;
    Ok(KprobeEvent { definition, group, name })
}

fn gdb_kind(source: &CheckContext<'_>, raw: RawGdb) -> Result<ProbeKind> {
    check_characters(source, "probes", "a function", &raw.function, "_.$")?;
    if !(1..=MAX_HITS).contains(&raw.hits) {
        let message = format!("`hits` is {}, not within 1 and {MAX_HITS}", raw.hits);
        return Err(source.error("probes", "hits", message));
    }
    Ok(ProbeKind::Gdb { function: raw.function, hits: raw.hits, traced: false })
}

fn text_source(source: &CheckContext<'_>, raw: RawText) -> Result<TextSource> {
    let text = match (raw.run, raw.file, raw.from) {
        (Some(script), None, None) => TextSource::Run(script),
        (None, Some(path), None) => TextSource::File(path),
        (None, None, Some(stream)) => TextSource::Of(stream),
        _ => {
            let message = "`text` has exactly one of the keys `run`, `file`, `from`".into();
            return Err(source.error("probes", "text", message));
        }
    };
    match &text {
        TextSource::Run(script) if script.trim().is_empty() => {
            Err(source.error("probes", "run", "`run` is empty".into()))
        }
        TextSource::File(path) if !path.starts_with('/') || path.contains(char::is_control) => {
            let message = format!("`{}` is no absolute path of the guest", path.escape_debug());
            Err(source.error("probes", path, message))
        }
        _ => Ok(text),
    }
}

fn check_characters(
    source: &CheckContext<'_>,
    section: &str,
    what: &str,
    value: &str,
    extra_characters: &str,
) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || extra_characters.contains(c);
    if !value.is_empty() && value.chars().all(fits) {
        return Ok(());
    }
    let message =
        format!("`{}` cannot be {what}: letters, digits and `{extra_characters}` only", value.escape_debug());
    Err(source.error(section, value, message))
}

fn check_globs(source: &CheckContext<'_>, section: &str, globs: &[String]) -> Result<()> {
    if globs.is_empty() {
        return Err(source.error(section, "kernels", "`kernels` is empty".into()));
    }
    globs.iter().try_for_each(|glob| {
        let matcher = match Glob::new(glob) {
            Ok(matcher) => matcher.compile_matcher(),
            Err(error) => {
                return Err(source.error(
                    section,
                    glob,
                    format!("`{glob}` is not a valid glob: {}", error.kind()),
                ));
            }
        };
        if source.kernels.iter().any(|name| matcher.is_match(name)) {
            return Ok(());
        }
        let hint =
            closest(glob, source.kernels.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let message = format!("no kernel of images/kernels.yaml matches `{glob}`");
        Err(source.error_with_hint(section, glob, message, hint))
    })
}

fn check_unique<'a>(
    source: &CheckContext<'_>,
    section: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let hint = Some("give one of them another `name`".into());
            return Err(source.error_with_hint(
                section,
                name,
                format!("two {section} are called `{name}`"),
                hint,
            ));
        }
    }
    Ok(())
}

fn check_name<'a>(
    source: &CheckContext<'_>,
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
    Err(source.error_with_hint(
        section,
        name,
        format!("no {what} is called `{name}`; there are: {names}"),
        hint,
    ))
}
