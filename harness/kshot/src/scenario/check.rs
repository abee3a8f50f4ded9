//! Checks a scenario: every rule that the YAML's types cannot express.

use std::collections::HashSet;

use super::raw::{RawBoot, RawClaim, RawConsole, RawKnown, RawScenario, RawStep};
use super::{BootOptions, Scenario, Step};
use kshot_guest::probe::{ProbeSpec, RawProbe};
use kshot_guest::yaml::{YamlError, YamlSource, closest};
use kshot_stack::arch::Arch;
use kshot_stack::claim::{Claim, ConsoleClaim, KnownFault};
use kshot_stack::name;
use kshot_stack::text::is_hidden;

/// The guest's memory by default, in MiB.
pub(super) const DEFAULT_MEMORY_MIB: u32 = 256;
const MAX_REPEAT: u32 = 100_000;
/// The greatest exit status (wait(2)).
const MAX_STATUS: i32 = 255;

type Result<T> = std::result::Result<T, Box<YamlError>>;

/// The text that is checked, and the names that it may refer to.
pub(super) struct CheckContext<'a> {
    /// The text.
    pub(super) yaml: YamlSource<'a>,
    /// The kernels' names in the catalogue.
    pub(super) kernels: &'a [&'a str],
}

pub(super) fn check_scenario(id: &str, source: &CheckContext<'_>, raw: RawScenario) -> Result<Scenario> {
    let summary = raw.summary.trim();
    if summary.is_empty() || summary.contains('\n') {
        let message = "`summary` is one line that says what this shows".into();
        return Err(source.yaml.error("summary", "summary", message));
    }
    check_visible(source, "summary", "summary", summary)?;
    check_globs(source, "kernels", &raw.kernels)?;
    check_options(source, &raw.requires)?;
    let boot = boot(source, raw.boot)?;
    let steps = raw.steps.into_iter().map(|step| check_step(source, step)).collect::<Result<_>>()?;
    let probes = check_probes(source, raw.probes)?;
    let claims: Vec<_> = raw.claims.into_iter().map(claim).collect();
    check_claims(source, &claims, &probes)?;
    let console_claims = raw.console.into_iter().map(|raw| check_console_claim(source, raw));
    let console_claims = console_claims.collect::<Result<Vec<_>>>()?;
    let claim_names = claims.iter().map(|claim| claim.name.as_str());
    let claim_names: Vec<_> =
        claim_names.chain(console_claims.iter().map(|claim| claim.name.as_str())).collect();
    claim_names.iter().try_for_each(|name| check_visible(source, "claims", "a claim's name", name))?;
    check_unique(source, "claims", claim_names.iter().copied())?;
    let known_faults = raw.known.into_iter().map(|raw| check_known_fault(source, raw, &claim_names));
    let known_faults = known_faults.collect::<Result<_>>()?;
    Ok(Scenario {
        id: id.into(),
        summary: summary.to_owned(),
        kernels: raw.kernels,
        requires: raw.requires,
        boot,
        steps,
        probes,
        claims,
        console_claims,
        known_faults,
    })
}

fn check_options(source: &CheckContext<'_>, options: &[String]) -> Result<()> {
    options.iter().try_for_each(|option| {
        if option.starts_with("CONFIG_") {
            let message = format!("`{option}`: write the option without `CONFIG_`");
            return Err(source.yaml.error("requires", option, message));
        }
        source.yaml.check_characters("requires", "an option", option, "_")
    })
}

fn check_step(source: &CheckContext<'_>, raw: RawStep) -> Result<Step> {
    if raw.run.trim().is_empty() {
        return Err(source.yaml.error("steps", "run", "`run` is empty".into()));
    }
    if raw.run.contains('\0') {
        return Err(source.yaml.error("steps", "run", "`run` has a NUL, which no shell takes".into()));
    }
    if !(0..=MAX_STATUS).contains(&raw.status) {
        let message = format!("`status` is {}, not within 0 and {MAX_STATUS}", raw.status);
        return Err(source.yaml.error("steps", "status", message));
    }
    if !(1..=MAX_REPEAT).contains(&raw.repeat) {
        let message = format!("`repeat` is {}, not within 1 and {MAX_REPEAT}", raw.repeat);
        return Err(source.yaml.error("steps", "repeat", message));
    }
    Ok(Step {
        script: raw.run,
        repeat: raw.repeat,
        timeout: raw.timeout,
        expected_status: raw.status,
        nmi: raw.nmi,
    })
}

fn check_probes(source: &CheckContext<'_>, raw: Vec<RawProbe>) -> Result<Vec<ProbeSpec>> {
    if raw.is_empty() {
        let message = "`probes` is empty: nothing would record a stack".into();
        return Err(source.yaml.error("probes", "probes", message));
    }
    let probes = raw.into_iter().map(|probe| probe.check(&source.yaml)).collect::<Result<Vec<_>>>()?;
    if probes.iter().filter(|probe| probe.records_truth()).count() > 1 {
        let message = "there are two gdb probes, but a machine has only one gdb stub".into();
        return Err(source.yaml.error("probes", "gdb", message));
    }
    check_unique(source, "probes", probes.iter().map(|probe| probe.name.as_str()))?;
    Ok(probes)
}

fn claim(raw: RawClaim) -> Claim {
    Claim {
        name: raw.name.unwrap_or_else(|| raw.probe.clone()),
        probe: raw.probe,
        through: raw.through.into_iter().map(Into::into).collect(),
        witness_count: raw.stacks,
        complete: raw.complete,
        exact: raw.exact,
        whole: raw.whole,
    }
}

fn check_claims(source: &CheckContext<'_>, claims: &[Claim], probes: &[ProbeSpec]) -> Result<()> {
    let probes = probes.iter().map(|probe| probe.name.as_str());
    claims.iter().try_for_each(|claim| {
        check_name(source, "claims", "probe", &claim.probe, probes.clone())?;
        let mut functions = claim.through.iter();
        functions.try_for_each(|name| source.yaml.check_characters("claims", "a function", name, "_.$|"))
    })
}

fn check_console_claim(source: &CheckContext<'_>, raw: RawConsole) -> Result<ConsoleClaim> {
    if raw.never.trim().is_empty() {
        let message = "`never` is empty: every report would match".into();
        return Err(source.yaml.error("console", &raw.name, message));
    }
    Ok(ConsoleClaim { name: raw.name, forbidden_text: raw.never })
}

fn check_known_fault(source: &CheckContext<'_>, raw: RawKnown, claim_names: &[&str]) -> Result<KnownFault> {
    check_globs(source, "known", &raw.kernels)?;
    check_name(source, "known", "claim", &raw.claim, claim_names.iter().copied())?;
    if raw.because.trim().is_empty() {
        let message = "`because` is empty: a known fault needs its reason".into();
        return Err(source.yaml.error("known", "because", message));
    }
    // YAML's `|` keeps line ends; the reason is one sentence of many.
    let because = raw.because.split_whitespace().collect::<Vec<_>>().join(" ");
    check_visible(source, "known", "`because`", &because)?;
    Ok(KnownFault { kernels: raw.kernels, claim: raw.claim, because })
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
        source.yaml.check_characters("boot", "a tracer", tracer, "_-")?;
        cmdline.push(format!("ftrace={tracer}"));
    }
    for (parameter, items, marks) in lists {
        for item in &items {
            source.yaml.check_characters("boot", &format!("an item of {parameter}="), item, marks)?;
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
            return Err(source.yaml.error("boot", "cmdline", message));
        }
        cmdline.push(parameter);
    }
    let memory_mib = raw.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
    // A scenario runs on kernels of all architectures, so the smallest board counts.
    let most = Arch::all().map(|arch| arch.row().memory_mib_max).min().unwrap_or(DEFAULT_MEMORY_MIB);
    if !(64..=most).contains(&memory_mib) {
        let message = format!("`memory-mib` is {memory_mib}, not within 64 and {most}");
        return Err(source.yaml.error("boot", "memory-mib", message));
    }
    Ok(BootOptions { cmdline, memory_mib, icount: false })
}

/// Refuses text that is printed, and that would steer a terminal or look like more lines than it is.
fn check_visible(source: &CheckContext<'_>, section: &str, what: &str, text: &str) -> Result<()> {
    match text.chars().find(|character| is_hidden(*character)) {
        None => Ok(()),
        Some(hidden) => {
            let message = format!("{what} has the character U+{:04X}, which cannot be seen", hidden as u32);
            Err(source.yaml.error(section, section, message))
        }
    }
}

fn check_globs(source: &CheckContext<'_>, section: &str, globs: &[String]) -> Result<()> {
    if globs.is_empty() {
        return Err(source.yaml.error(section, "kernels", "`kernels` is empty".into()));
    }
    globs.iter().try_for_each(|glob| {
        let matcher = match name::glob(glob) {
            Ok(matcher) => matcher.compile_matcher(),
            Err(why) => return Err(source.yaml.error(section, glob, why)),
        };
        if source.kernels.iter().any(|name| matcher.is_match(name)) {
            return Ok(());
        }
        let hint =
            closest(glob, source.kernels.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let message = format!("no kernel of the catalogue matches `{glob}`");
        Err(source.yaml.error(section, glob, message).with_hint(hint))
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
            return Err(source
                .yaml
                .error(section, name, format!("two {section} are called `{name}`"))
                .with_hint(hint));
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
    Err(source
        .yaml
        .error(section, name, format!("no {what} is called `{name}`; there are: {names}"))
        .with_hint(hint))
}
