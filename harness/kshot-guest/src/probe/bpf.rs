//! The BPF probe: the stack that a BPF program gets at an event, as bpftrace's `kstack` shows it.
//! `bpf_stacks` of `images/guest` loads the program and writes down what it gets; addresses are symbolised on
//! the host.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capture::{Capture, CaptureContent, ProbeFiles};
use super::guest::{
    CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, END_AS_IT_ENDED, GuestFolder, ProbeGuest, Wanted,
    in_background,
};
use super::kernel_symbols::{self, KALLSYMS};
use super::{Armed, Probe, ProbeError, TruthContext};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::ParsedCapture;
use kshot_stack::stack::bpf_stacks::{self, BpfEvent};
use kshot_stack::text::quote;

/// The suffix of the stacks, as [`kshot_stack::stack::bpf_stacks`] reads them.
pub const STACKS: &str = "bpf.txt";
/// The suffix of the symbols of BPF's own code, as `/proc/kallsyms` has them.
pub const BPF_KALLSYMS: &str = "bpf-kallsyms.txt";

/// A BPF program at an event.
#[derive(Clone, Debug, Serialize)]
pub struct BpfProbe {
    /// What calls the program.
    pub hook: BpfHook,
    /// The function, or the tracepoint as `GROUP:NAME`.
    pub target: String,
    /// What the program asks for the stack.
    pub helper: BpfHelper,
}

/// What calls a BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BpfHook {
    /// A kprobe at a function's entry.
    Kprobe,
    /// A kretprobe at its return.
    Kretprobe,
    /// BPF's own trampoline at a function's entry.
    Fentry,
    /// BPF's own trampoline at its return.
    Fexit,
    /// A tracepoint.
    Tracepoint,
}

/// The helper that gives a BPF program the stack (bpf-helpers(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BpfHelper {
    /// `bpf_get_stack()`, which fills a buffer.
    #[default]
    #[serde(rename = "bpf_get_stack")]
    GetStack,
    /// `bpf_get_stackid()`, which stores the stack in a map and returns its number.
    #[serde(rename = "bpf_get_stackid")]
    GetStackId,
}

/// A BPF program that asks for the stack: exactly one of `kprobe`, `kretprobe`, `fentry`, `fexit` and
/// `tracepoint`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBpf {
    /// The function at whose entry it is, by a kprobe.
    #[serde(default)]
    pub kprobe: Option<String>,
    /// The function at whose return it is, by a kretprobe.
    #[serde(default)]
    pub kretprobe: Option<String>,
    /// The function at whose entry it is, by BPF's own trampoline; not on every architecture, and not in
    /// modules.
    #[serde(default)]
    pub fentry: Option<String>,
    /// The function at whose return it is, by BPF's own trampoline.
    #[serde(default)]
    pub fexit: Option<String>,
    /// The tracepoint: `oom:oom_score_adj_update`.
    #[serde(default)]
    pub tracepoint: Option<String>,
    /// What the program asks for the stack; default: `bpf_get_stack`.
    #[serde(default)]
    pub helper: BpfHelper,
}

/// A `bpf_stacks` in the background of the guest.
#[derive(Debug)]
struct BpfRecord {
    /// The probe's folder in the guest: the pipe `said`, which tells how far the program is; `pid`, its
    /// process; `stacks` and `bpf-kallsyms`, written by it; `status` and `log` of its end; `kallsyms` and
    /// `modules`, the kernel's symbols and modules at the start.
    folder: GuestFolder,
    has_own_code: bool,
}

impl RawBpf {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<BpfProbe, Box<YamlError>> {
        let hooks = [
            (BpfHook::Kprobe, self.kprobe),
            (BpfHook::Kretprobe, self.kretprobe),
            (BpfHook::Fentry, self.fentry),
            (BpfHook::Fexit, self.fexit),
            (BpfHook::Tracepoint, self.tracepoint),
        ];
        let keys = hooks.map(|(hook, target)| (hook.name(), target.map(|target| (hook, target))));
        let (hook, target) = source.exactly_one("probes", "`bpf`", keys)?;
        if hook == BpfHook::Tracepoint {
            source.check_characters("probes", "a tracepoint", &target, "_:-")?;
            let names = target.split_once(':').map(|(group, name)| [group, name]);
            if !names.is_some_and(|names| names.iter().all(|name| !name.is_empty() && !name.contains(':'))) {
                let message = format!("`{target}` is not a tracepoint; write GROUP:NAME");
                return Err(source.error("probes", &target, message));
            }
        } else {
            source.check_characters("probes", "a function", &target, "_.$")?;
        }
        Ok(BpfProbe { hook, target, helper: self.helper })
    }
}

impl BpfHook {
    /// The word for `bpf_stacks`, which is also the key in scenarios.
    fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// Whether the kernel generates a trampoline for this hook, in which the stacks then begin.
    fn has_own_code(self) -> bool {
        matches!(self, Self::Fentry | Self::Fexit)
    }
}

impl BpfHelper {
    fn name(self) -> &'static str {
        match self {
            Self::GetStack => "bpf_get_stack",
            Self::GetStackId => "bpf_get_stackid",
        }
    }
}

impl BpfProbe {
    fn record(&self, probe: &str) -> BpfRecord {
        BpfRecord { folder: GuestFolder::of(probe), has_own_code: self.hook.has_own_code() }
    }

    /// The event that the stacks belong to.
    fn event(&self) -> BpfEvent {
        // A kprobe's stack starts at the registers of the probed function.
        let function = (self.hook == BpfHook::Kprobe).then(|| self.target.clone());
        BpfEvent { name: self.target.clone(), function }
    }
}

impl Probe for BpfProbe {
    fn further_needs(&self) -> &'static [&'static str] {
        match self.hook {
            BpfHook::Kprobe => &["bpf kprobe"],
            BpfHook::Kretprobe => &["bpf kprobe", "bpf kretprobe"],
            BpfHook::Fentry | BpfHook::Fexit => &["bpf trampoline"],
            BpfHook::Tracepoint => &[],
        }
    }

    fn function(&self) -> Option<&str> {
        (self.hook != BpfHook::Tracepoint).then_some(&*self.target)
    }

    /// Saves and fetches the kernel's symbols.
    fn prepare(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        let record = self.record(fetcher.guest.probe);
        fetcher.guest.run("saving the symbols", &record.prepare_script(), COMMAND_LIMIT)?;
        kernel_symbols::fetch(fetcher, &record.folder)?;
        kernel_symbols::check_function(fetcher, self.function())
    }

    fn preparation(&self, probe: &str) -> Option<String> {
        Some(self.record(probe).prepare_script())
    }

    fn prepared_files(&self) -> &'static [&'static str] {
        &[KALLSYMS]
    }

    fn arm(
        &self,
        guest: &mut ProbeGuest<'_>,
        _: Option<TruthContext<'_>>,
    ) -> Result<Box<dyn Armed>, ProbeError> {
        let record = self.record(guest.probe);
        // Without it /proc/kallsyms does not list BPF's own code (Documentation/admin-guide/sysctl/net.rst).
        let list_own = if record.has_own_code { "echo 1 > /proc/sys/net/core/bpf_jit_kallsyms" } else { ":" };
        let (hook, target, helper) = (self.hook.name(), quote(&self.target), self.helper.name());
        let program = format!("bpf_stacks {hook} {target} {helper} . >&3 2> log");
        // The pipe is opened for reading and writing, so that neither side blocks in open. If the program
        // ends instead of arming, the surrounding shell says so, and one blocking read tells which.
        let script = format!(
            "cd {folder} && mkfifo said && {list_own} || exit
             exec 3<>said
             {program}
             read -r answer pid <&3
             [ \"$answer\" = armed ] && echo $pid > pid && exit
             cat log; exit 1",
            folder = record.folder.quoted(),
            program = in_background(&program, 3),
        );
        guest.run(&format!("{hook} of {}", self.target), &script, COMMAND_LIMIT)?;
        Ok(Box::new(record))
    }

    fn capture_suffix(&self, _: ProbeFiles<'_>) -> &'static str {
        STACKS
    }

    fn guest_file(&self, probe: &str) -> Option<String> {
        Some(self.record(probe).folder.path("stacks"))
    }

    fn parse(&self, capture: &Capture, _: &ArchRow) -> io::Result<ParsedCapture> {
        let own: Box<dyn BufRead> = if self.hook.has_own_code() {
            Box::new(BufReader::new(File::open(capture.beside(BPF_KALLSYMS))?))
        } else {
            Box::new(io::empty())
        };
        bpf_stacks::parse(capture.open()?, &kernel_symbols::of(capture, own)?, &self.event())
    }
}

impl BpfRecord {
    fn prepare_script(&self) -> String {
        format!(
            "mkdir -p {folder} && cd {folder} && rm -f * || exit
             {}",
            kernel_symbols::save(),
            folder = self.folder.quoted(),
        )
    }
}

impl Armed for BpfRecord {
    fn stop(&self, guest: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        // The pipe is open before `status` is looked for, so the end is never missed. The script contains no
        // `&`, so it needs no channel of its own.
        let script = format!(
            "cd {folder} || exit
             exec 3<>said
             if [ ! -e status ]; then
                 kill $(cat pid)
                 read -r answer < said
             fi
             {END_AS_IT_ENDED}",
            folder = self.folder.quoted(),
        );
        guest.run("its BPF program", &script, CAPTURE_LIMIT).map(drop)
    }

    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        kernel_symbols::refresh(fetcher, &self.folder)?;
        let (stacks, own) = (self.folder.path("stacks"), self.folder.path("bpf-kallsyms"));
        let mut wanted = vec![Wanted { from: &stacks, suffix: STACKS, content: CaptureContent::Stacks }];
        if self.has_own_code {
            wanted.push(Wanted { from: &own, suffix: BPF_KALLSYMS, content: CaptureContent::Supplement });
        }
        fetcher.fetch_as(&wanted)
    }
}
