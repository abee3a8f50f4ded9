//! Nights with what stands around them: a browser for the report, hosts to send units to, a bundle elsewhere.
//!
//! Each test is ignored, with its reason, where a program or a kernel is missing; `scripts/test` installs the
//! programs (images/test-packages.txt).

mod browser;
mod bundle;
mod hosts;
mod sshd;

use std::path::Path;

use kshot::workspace::Workspace;
use kshot_guest::kernel::Kernel;
use libtest_mimic::Trial;

/// The kernel that nights of tests run on: Debian's, the first that is there.
pub(crate) const KERNEL: &str = "mips64el-6.1-debian";

pub(crate) fn trials() -> Vec<Trial> {
    let chromium = [("chromium", "chromium")];
    let parallel = [("parallel", "parallel"), ("rsync", "rsync"), ("sshd", "openssh-server")];
    let slurm =
        [("slurmctld", "slurmctld"), ("slurmd", "slurmd"), ("sbatch", "slurm-client"), ("munged", "munge")];
    vec![
        trial("browser::the_page_renders_and_its_filter_filters", &chromium, None, browser::filters),
        trial("browser::it_reads_the_same_without_scripts", &chromium, None, browser::reads_without_scripts),
        trial("browser::a_link_opens_its_pair", &chromium, None, browser::links_open),
        trial(
            "browser::a_hostile_guest_gets_no_script_to_run",
            &chromium,
            None,
            browser::runs_nothing_hostile,
        ),
        trial("browser::it_fits_a_phone", &chromium, None, browser::fits_a_phone),
        trial("bundle::a_run_is_judged_and_made_again_elsewhere", &[], Some(KERNEL), bundle::elsewhere),
        trial("parallel::two_hosts_come_to_what_one_does", &parallel, Some(KERNEL), hosts::parallel),
        trial("parallel::a_host_that_dies_costs_no_result", &parallel, Some(KERNEL), hosts::dying_host),
        trial("slurm::a_job_array_comes_to_what_one_host_does", &slurm, Some(KERNEL), hosts::slurm),
    ]
}

fn trial(name: &str, needs: &[(&str, &str)], kernel: Option<&str>, test: fn()) -> Trial {
    let missing: Vec<&str> =
        needs.iter().filter(|(tool, _)| !is_there(tool)).map(|(_, package)| *package).collect();
    let why = match kernel.filter(|name| !provisioned(name)) {
        _ if !missing.is_empty() => format!("missing: sudo apt-get install {}", missing.join(" ")),
        Some(kernel) => format!("not provisioned: cargo kshot provision {kernel}"),
        None => String::new(),
    };
    let required = std::env::var("KSHOT_REQUIRE").unwrap_or_default();
    let wanted = required == "1" || kernel.is_some_and(|kernel| required.split(',').any(|one| one == kernel));
    // A kernel that is required makes the test fail; a program is not part of kshot.
    let ignored = !missing.is_empty() || (!why.is_empty() && !wanted);
    let run = move || {
        test();
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(ignored).with_kind(why)
}

fn is_there(tool: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|folder| Path::new(folder).join(tool).is_file())
}

fn provisioned(name: &str) -> bool {
    let workspace = Workspace::find(None).unwrap();
    let catalogue = workspace.catalogue().unwrap();
    Kernel::find(catalogue.get(name).unwrap(), &workspace.images(), &workspace.cache).unwrap().is_some()
}
