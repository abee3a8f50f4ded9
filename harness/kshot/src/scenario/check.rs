//! Checks a scenario: every rule that the YAML's types cannot express.

use std::collections::HashSet;

use globset::Glob;

use super::raw::{RawBoot, RawScenario};
use super::{BootOptions, Scenario, Step};
use kshot_guest::yaml::{YamlError, YamlSource, closest};
use kshot_stack::arch::Arch;
use kshot_stack::claim::{Claim, ConsoleClaim, KnownFault};

/// The guest's memory by default, in MiB.
pub(super) const DEFAULT_MEMORY_MIB: u32 = 256;
const MAX_REPEAT: u32 = 100_000;

type Result<T> = std::result::Result<T, Box<YamlError>>;

/// The text that is checked, and the names that it may refer to.
pub(super) struct CheckContext<'a> {
    /// The text.
    pub(super) yaml: YamlSource<'a>,
    /// The kernels' names in the catalogue.
    pub(super) kernels: &'a [&'a str],
}

pub(super) fn check_scenario(id: &str, source: &CheckContext<'_>, raw: RawScenario) -> Result<Scenario> {
    if raw.summary.trim().is_empty() || raw.summary.trim().contains('\n') {
        return Err(source.yaml.error(
            "summary",
            "summary",
            "`summary` is one line that says what this shows".into(),
        ));
    }
    check_globs(source, "kernels", &raw.kernels)?;
    for option in &raw.requires {
        if option.starts_with("CONFIG_") {
            let message = format!("`{option}`: an option stands without `CONFIG_` here");
            return Err(source.yaml.error("requires", option, message));
        }
        source.yaml.check_characters("requires", "an option", option, "_")?;
    }
    let boot = boot(source, raw.boot)?;
    let steps = raw
        .steps
        .into_iter()
        .map(|step| {
            if step.run.trim().is_empty() {
                return Err(source.yaml.error("steps", "run", "`run` is empty".into()));
            }
            if !(1..=MAX_REPEAT).contains(&step.repeat) {
                let message = format!("`repeat` is {}, not within 1 and {MAX_REPEAT}", step.repeat);
                return Err(source.yaml.error("steps", "repeat", message));
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
        return Err(source.yaml.error(
            "probes",
            "probes",
            "`probes` is empty: nothing would record a stack".into(),
        ));
    }
    let probes = raw.probes.into_iter().map(|probe| probe.check(&source.yaml)).collect::<Result<Vec<_>>>()?;
    check_unique(source, "probes", probes.iter().map(|probe| probe.name.as_str()))?;

    if probes.iter().filter(|probe| probe.records_truth()).count() > 1 {
        let message = "there are two gdb probes; a machine has one gdb stub".into();
        return Err(source.yaml.error("probes", "gdb", message));
    }

    let claims: Vec<_> = raw
        .claims
        .into_iter()
        .map(|claim| Claim {
            name: claim.name.unwrap_or_else(|| claim.probe.clone()),
            probe: claim.probe,
            through: claim.through.into_iter().map(Into::into).collect(),
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
        return Err(source.yaml.error("console", &empty.name, message));
    }
    for claim in &claims {
        check_name(source, "claims", "probe", &claim.probe, probes.iter().map(|probe| probe.name.as_str()))?;
        for function in &claim.through {
            source.yaml.check_characters("claims", "a function", function, "_.$|")?;
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
            return Err(source.yaml.error(
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

fn check_globs(source: &CheckContext<'_>, section: &str, globs: &[String]) -> Result<()> {
    if globs.is_empty() {
        return Err(source.yaml.error(section, "kernels", "`kernels` is empty".into()));
    }
    globs.iter().try_for_each(|glob| {
        let matcher = match Glob::new(glob) {
            Ok(matcher) => matcher.compile_matcher(),
            Err(error) => {
                return Err(source.yaml.error(
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
