//! The same night on this host, through GNU parallel on two loopback hosts, and through Slurm.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kshot_stack::night::results::Night;

use super::KERNEL;
use super::sshd::{Sshd, WAIT_LIMIT};
use crate::live::common::{Ended, Replica};
use crate::live::wait::until;

const SCENARIOS: [&str; 3] = ["tunsetiff/perf_probe", "tunsetiff/leaf", "kprobe/options_stacktrace"];

fn nightly(replica: &Replica, out: &str, more: &[&str]) -> Command {
    let mut words =
        vec!["nightly", "--out", out, "--history", "history.sqlite", "--kernels", KERNEL, "--scenarios"];
    words.extend(SCENARIOS);
    words.extend(more);
    replica.kshot(&words)
}

fn night(replica: &Replica, out: &str) -> Night {
    serde_json::from_slice(&fs::read(replica.path(out).join("results.json")).unwrap()).unwrap()
}

/// What each pair came to: its verdict, its reasons, and what its probes recorded.
fn results(replica: &Replica, out: &str) -> BTreeMap<String, serde_json::Value> {
    let of = |pair: &kshot_stack::night::results::Pair| {
        let run = pair.run().unwrap_or_else(|| panic!("no verdict: {pair:?}"));
        let path = replica.path(out).join(&run.folder).join("run.json");
        let document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        (pair.anchor(), serde_json::json!([document["verdict"], document["why"], document["probes"]]))
    };
    night(replica, out).pairs.iter().map(of).collect()
}

/// On this host, to compare with.
fn here(replica: &Replica) -> BTreeMap<String, serde_json::Value> {
    Ended::of(nightly(replica, "here", &["--jobs", "1"]).output().unwrap()).expect(0, &["report: "]);
    let results = results(replica, "here");
    assert_eq!(results.len(), SCENARIOS.len());
    results
}

fn hosts_file(replica: &Replica, hosts: &[&Sshd], more: &str) {
    let lines: String = hosts.iter().map(|host| host.line() + "\n").collect();
    fs::write(replica.path("hosts"), format!("# two\n{lines}{more}")).unwrap();
}

pub(crate) fn parallel() {
    let replica = Replica::new();
    let (one, two) = (Sshd::start(&replica.path(""), "one"), Sshd::start(&replica.path(""), "two"));
    // The third does not answer.
    hosts_file(&replica, &[&one, &two], "ssh -o BatchMode=yes -p 1 127.0.0.1\n");
    let output = nightly(&replica, "there", &["--engine", "parallel", "--hosts", "hosts"]).output().unwrap();
    Ended::of(output).expect(0, &["note: host ssh -o BatchMode=yes -p 1 127.0.0.1 was taken out"]);
    assert_eq!(results(&replica, "there"), here(&replica));
    let night = night(&replica, "there");
    assert_eq!(night.engine, "parallel");
    let hosts: std::collections::BTreeSet<_> =
        night.pairs.iter().map(|pair| &pair.attempts[0].host).collect();
    assert_eq!(hosts.len(), 2, "both had something to do: {hosts:?}");
    assert!(!replica.path("there/units").exists());
}

pub(crate) fn dying_host() {
    let replica = Replica::new();
    let (mut one, two) = (Sshd::start(&replica.path(""), "one"), Sshd::start(&replica.path(""), "two"));
    hosts_file(&replica, &[&one, &two], "");
    let mut kshot = nightly(&replica, "there", &["--engine", "parallel", "--hosts", "hosts"]);
    let kshot = kshot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    one.die_at_work();
    let ended = Ended::of(kshot.wait_with_output().unwrap());
    ended.expect(0, &["note: host", "was taken out"]);
    assert_eq!(results(&replica, "there"), here(&replica), "complete all the same");
    let night = night(&replica, "there");
    let lost: Vec<_> = night.pairs.iter().filter(|pair| pair.attempts.len() > 1).collect();
    assert!(!lost.is_empty(), "the loss is told: {night:#?}");
    for pair in lost {
        assert!(pair.attempts[0].error.is_some() && pair.attempts[0].host.contains("one.sh"), "{pair:#?}");
        assert!(pair.attempts[1].host.contains("two.sh"), "{pair:#?}");
    }
}

pub(crate) fn slurm() {
    let replica = Replica::new();
    let _cluster = Cluster::start(&replica.path("slurm"));
    let mut command = nightly(&replica, "there", &["--engine", "slurm"]);
    let output = command.env("SLURM_CONF", replica.path("slurm/slurm.conf")).output().unwrap();
    Ended::of(output).expect(0, &["report: "]);
    assert_eq!(results(&replica, "there"), here(&replica));
    assert_eq!(night(&replica, "there").engine, "slurm");
}

/// munged, slurmctld and one slurmd. Dropping it ends them.
struct Cluster(Vec<Child>);

impl Cluster {
    fn start(folder: &Path) -> Self {
        for name in ["state", "spool"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let run = |program: &str, args: &[&str]| {
            let log = fs::File::create(folder.join(format!("{}.out", program.rsplit('/').next().unwrap())))
                .unwrap();
            let mut command = Command::new(program);
            command.args(args).env("SLURM_CONF", folder.join("slurm.conf")).stdin(Stdio::null());
            command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
        };
        let key: Vec<u8> = (0..1024_u32).map(|n| (n * 7 % 251) as u8).collect();
        fs::write(folder.join("munge.key"), key).unwrap();
        assert!(
            Command::new("chmod").args(["700", &path("munge.key"), &path("")]).status().unwrap().success()
        );
        let munge = [
            "--foreground".to_owned(),
            "--force".to_owned(),
            format!("--key-file={}", path("munge.key")),
            format!("--socket={}", path("munge.sock")),
            format!("--pid-file={}", path("munged.pid")),
            format!("--log-file={}", path("munged.log")),
            format!("--seed-file={}", path("munged.seed")),
        ];
        let mut cluster = Self(vec![run("/usr/sbin/munged", &munge.each_ref().map(String::as_str))]);
        until("munge's socket", WAIT_LIMIT, || folder.join("munge.sock").exists().then_some(()));
        let (controller, node) = (free_port(), free_port());
        let conf = format!(
            "ClusterName=kshot\nSlurmctldHost=localhost\nSlurmctldPort={controller}\nSlurmdPort={node}\n\
             AuthType=auth/munge\nAuthInfo=socket={}\nCredType=cred/munge\nSlurmUser=root\nSlurmdUser=root\n\
             StateSaveLocation={}\nSlurmdSpoolDir={}\nSlurmctldPidFile={}\nSlurmdPidFile={}\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSwitchType=switch/none\nMpiDefault=none\n\
             ReturnToService=2\nSelectType=select/cons_tres\nSchedulerType=sched/builtin\nJobAcctGatherType=jobacct_gather/none\n\
             NodeName=localhost CPUs=2 RealMemory=1000 State=UNKNOWN\n\
             PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES\n",
            path("munge.sock"),
            path("state"),
            path("spool"),
            path("slurmctld.pid"),
            path("slurmd.pid"),
        );
        fs::write(folder.join("slurm.conf"), conf).unwrap();
        cluster.0.push(run("/usr/sbin/slurmctld", &["-D", "-i"]));
        cluster.0.push(run("/usr/sbin/slurmd", &["-D", "-N", "localhost"]));
        until("an idle node", WAIT_LIMIT, || {
            let said = Command::new("sinfo")
                .args(["-h", "-o", "%t"])
                .env("SLURM_CONF", folder.join("slurm.conf"))
                .output();
            (String::from_utf8_lossy(&said.unwrap().stdout).trim() == "idle").then_some(())
        });
        cluster
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            drop(Command::new("kill").arg(child.id().to_string()).status());
            drop(child.wait());
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
