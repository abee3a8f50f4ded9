//! The options for the question and for the kernel configuration, shared by the commands that bisect.

use super::CommandError;
use super::select::Selector;
use crate::bisect::{BuildTemplate, Question};
use crate::scenario::Scenario;
use kshot_guest::kernel::KernelSource;

/// The question; by default whether the scenario's claims hold.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct QuestionArgs {
    /// Judge only this claim; can be given more than once
    #[arg(long, value_name = "CLAIM", group = "question")]
    claim: Vec<String>,
    /// Judge any difference of the stacks, of one probe or of all; `kshot bisect` alone has two kernels to
    /// compare
    #[arg(long, value_name = "PROBE", num_args = 0..=1, group = "question")]
    drift: Option<Option<String>>,
    /// Judge whether a probe's stacks hold this share of their reference: ftrace=80%
    #[arg(long, value_name = "PROBE=PERCENT", value_parser = percent, group = "question")]
    fidelity: Option<(String, u32)>,
    /// Judge whether the raw text of a capture matches a regular expression
    #[arg(long, value_name = "REGEX", groups = ["question", "matched"])]
    text: Option<String>,
    /// Judge whether the console log matches a regular expression
    #[arg(long, value_name = "REGEX", groups = ["question", "matched"])]
    console: Option<String>,
    /// Judge by a shell command that runs in the guest after the steps: 0 is good, 125 means skip, the rest
    /// is bad
    #[arg(long, value_name = "COMMAND", group = "question")]
    shell: Option<String>,
    /// Judge by the verdict, with the snapshots and known faults of this catalogue kernel
    #[arg(long = "as", value_name = "KERNEL", group = "question")]
    verdict: Option<String>,
}

/// The configuration of built kernels.
#[derive(Debug, clap::Args)]
pub(super) struct BuildArgs {
    /// The catalogue kernel whose architecture and configuration are used; default: the scenario's first
    /// kernel that is built from source
    #[arg(long, value_name = "KERNEL")]
    like: Option<String>,
    /// A further configuration fragment of images/config; lean.config halves the build time
    #[arg(long, value_name = "FRAGMENT")]
    config: Vec<String>,
    /// A Kconfig symbol that must be set; others that a version lacks are only reported
    #[arg(long, value_name = "SYMBOL")]
    require: Vec<String>,
}

impl QuestionArgs {
    pub(super) fn question(self, select: &Selector) -> Result<Question, CommandError> {
        Ok(match self {
            Self { drift: Some(probe), .. } => Question::Drift(probe),
            Self { fidelity: Some((probe, percent)), .. } => Question::Fidelity { probe, percent },
            Self { text: Some(text), .. } => Question::Text(text),
            Self { console: Some(text), .. } => Question::Console(text),
            Self { shell: Some(command), .. } => Question::Shell(command),
            Self { verdict: Some(name), .. } => Question::Verdict(select.single_kernel_name(&name)?),
            Self { claim, .. } => Question::Claims(claim),
        })
    }
}

impl BuildArgs {
    /// The configuration that is asked for; by default, that of the scenario's first kernel that is built
    /// from source.
    pub(super) fn resolve(self, select: &Selector, scenario: &Scenario) -> Result<BuildChoice, CommandError> {
        let configuration_of = match self.like {
            Some(name) => select.single_kernel_name(&name)?,
            None => {
                let names = select.kernel_names(&scenario.kernels)?;
                let built = names.into_iter().find(|name| template(select, name, &[], &[]).is_ok());
                built.ok_or_else(|| {
                    CommandError::usage(
                        format!("no kernel of {} is built from source", scenario.id),
                        "choose the kernel whose configuration is used: --like mips64-6.1",
                    )
                })?
            }
        };
        template(select, &configuration_of, &self.config, &self.require)?;
        Ok(BuildChoice { configuration_of, config: self.config, require: self.require })
    }
}

/// The configuration that kernels are built with.
pub(super) struct BuildChoice {
    /// The kernel of the catalogue whose configuration is used.
    pub(super) configuration_of: String,
    /// Further configuration fragments.
    pub(super) config: Vec<String>,
    /// The symbols that must survive.
    pub(super) require: Vec<String>,
}

/// The build template of a catalogue kernel, with more fragments.
pub(super) fn template(
    select: &Selector,
    configuration_of: &str,
    config: &[String],
    require: &[String],
) -> Result<BuildTemplate, CommandError> {
    let fragments = select.workspace.images().config_fragments()?;
    let prebuilt = |what: &str| {
        CommandError::usage(
            format!("`{configuration_of}` {what}, so no configuration can be taken from it"),
            "name one that is built from source: --like mips64-6.1",
        )
    };
    let entry = select.catalogue.get(configuration_of).ok_or_else(|| prebuilt("is not in the catalogue"))?;
    match entry.source {
        KernelSource::DebianPackage(_) => return Err(prebuilt("is a prebuilt package")),
        KernelSource::Built(_) => return Err(prebuilt("is built by its user")),
        _ => {}
    }
    for fragment in config {
        if !fragments.contains(fragment) {
            return Err(CommandError::usage(
                format!("images/config has no fragment `{}`", fragment.escape_debug()),
                format!("it has {}", fragments.join(", ")),
            ));
        }
    }
    Ok(BuildTemplate {
        arch: entry.arch,
        config: entry.config.iter().chain(config).cloned().collect(),
        patches: entry.patches.clone(),
        objects: entry.objects,
        required: require.to_vec(),
    })
}

fn percent(text: &str) -> Result<(String, u32), String> {
    let parsed = text.split_once('=').and_then(|(probe, percent)| {
        let percent: u32 = percent.trim_end_matches('%').parse().ok()?;
        (percent <= 100 && !probe.is_empty()).then(|| (probe.to_owned(), percent))
    });
    parsed.ok_or_else(|| "write a probe and a percentage: ftrace=80%".into())
}
