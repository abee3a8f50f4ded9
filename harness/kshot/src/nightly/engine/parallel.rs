//! GNU parallel over SSH (parallel(1)).

use std::fs;
use std::path::Path;
use std::time::Duration;

use duct::cmd;

use super::{
    CHECK_LIMIT, Completion, DispatchedUnit, EngineError, EngineProgram, ProgramResult, RoundFolder,
    UnitStatus, round_timeout, run_program,
};
use kshot_guest::host::{FileError, OnInterrupt};

/// parallel's log of a round, in the round's folder.
const JOB_LOG: &str = "parallel.log";
/// The SSH command for hosts whose line does not name one: it never prompts, and it notices a host that is
/// gone.
const SSH: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=3";

/// The options for all hosts of a round, in whose folder their list lies.
const HOSTS_OF_ROUND: [&str; 2] = ["--sshloginfile", "hosts"];

/// Checks each host of the file: it gets the files and runs `kshot doctor`. Returns each host's error, if
/// any.
pub(super) fn check_hosts(
    round: &RoundFolder,
    file: &Path,
) -> Result<Vec<(String, Option<String>)>, EngineError> {
    let file = std::path::absolute(file).map_err(FileError::on("find", file))?;
    let text = fs::read_to_string(&file).map_err(FileError::on("read", &file))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut hosts: Vec<(String, Option<String>)> = Vec::new();
    for line in lines {
        let check = [
            "--nonall",
            "--workdir",
            &round.remote,
            "--basefile",
            "files",
            "KSHOT_ROOT=$PWD/files files/kshot doctor --to-run",
        ];
        let answer = parallel(round, ["--sshlogin", line], &check, CHECK_LIMIT, OnInterrupt::Kill);
        let error = match answer {
            Ok(None | Some(ProgramResult { code: Some(0), .. })) => None,
            Ok(Some(ProgramResult { out, err, .. })) => Some(last_line(&(out + &err), "no answer")),
            // A host that does not answer is reported; a missing parallel is our own error.
            Err(EngineError::TimedOut(timed_out)) => Some(timed_out.to_string()),
            Err(error) => return Err(error),
        };
        hosts.push((line.into(), error));
    }
    Ok(hosts)
}

/// Sends the units, and waits for all of them.
pub(super) fn dispatch(
    round: &RoundFolder,
    sent: &[DispatchedUnit],
    hosts: &[String],
) -> Result<Completion, EngineError> {
    let file = round.path.join("hosts");
    fs::write(&file, hosts.join("\n") + "\n").map_err(FileError::on("write", &file))?;
    let mut words = vec![
        "--joblog",
        JOB_LOG,
        "--workdir",
        &round.remote,
        "--basefile",
        "files",
        "--return",
        "{}.tar",
        "--cleanup",
        "sh files/units/{}.sh",
        ":::",
    ];
    words.extend(sent.iter().map(|one| one.name.as_str()));
    let finished = parallel(round, HOSTS_OF_ROUND, &words, round_timeout(sent), OnInterrupt::Kill)?;
    // The results of the units are in the log; here it only has to exist.
    let Some(finished) = finished else { return Ok(Completion::Interrupted) };
    if !round.path.join(JOB_LOG).is_file() {
        let said = last_line(&finished.err, "it left no log");
        return Err(EngineError::Failed { program: EngineProgram::Parallel, said });
    }
    Ok(Completion::Done)
}

/// Removes from the hosts of a round what they were sent.
pub(super) fn remove_remote_files(round: &RoundFolder) {
    // A host that died in the round keeps what it has.
    let remove = ["--nonall", "rm", "-rf", &round.remote];
    drop(parallel(round, HOSTS_OF_ROUND, &remove, CHECK_LIMIT, OnInterrupt::GoOn));
}

/// Runs parallel for the hosts that an option with its value names.
fn parallel(
    round: &RoundFolder,
    hosts: [&str; 2],
    words: &[&str],
    limit: Duration,
    on_interrupt: OnInterrupt,
) -> Result<Option<ProgramResult>, EngineError> {
    let words = [&["--plain", "--will-cite", "--ssh", SSH][..], &hosts, words].concat();
    run_program(EngineProgram::Parallel, &cmd("parallel", words), &round.path, limit, on_interrupt)
}

/// The status of a unit from parallel's log: `Seq Host Starttime JobRuntime Send Receive Exitval Signal
/// Command`.
pub(super) fn unit_status(round: &RoundFolder, unit: &str) -> UnitStatus {
    let log = fs::read_to_string(round.path.join(JOB_LOG)).unwrap_or_default();
    status_from_log(&log, unit)
}

fn status_from_log(log: &str, unit: &str) -> UnitStatus {
    let command = format!("sh files/units/{unit}.sh");
    let fields = log.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let Some(fields) = fields.into_iter().find(|fields| fields.get(8) == Some(&command.as_str())) else {
        return UnitStatus { host: None, error: Some("it was not sent".into()) };
    };
    let (exit, signal) = (fields[6], fields[7]);
    let error = match (exit, signal) {
        ("0", "0") => None,
        ("255", "0") => Some("the connection broke".into()),
        (exit, "0") => Some(format!("it ended with status {exit}")),
        (_, signal) => Some(format!("it was ended by signal {signal}")),
    };
    UnitStatus { host: Some(fields[1].into()), error }
}

fn last_line(text: &str, otherwise: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(otherwise);
    kshot_stack::text::printable(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n\
        2\tssh -p 2202 b\t1795574928.138\t     3.750\t0\t75\t0\t0\tsh files/units/unit-002.sh\n\
        1\ta\t1795574928.086\t     3.996\t0\t75\t255\t0\tsh files/units/unit-001.sh\n\
        3\ta\t1795574928.086\t     3.996\t0\t75\t131\t0\tsh files/units/unit-003.sh\n\
        4\ta\t1795574928.086\t     3.996\t0\t75\t0\t15\tsh files/units/unit-004.sh\n";

    #[test]
    fn the_log_says_which_host_had_a_unit_and_how_it_ended() {
        let status = |unit| {
            let UnitStatus { host, error } = status_from_log(LOG, unit);
            (host.unwrap_or_default(), error.unwrap_or_default())
        };
        assert_eq!(status("unit-002"), ("ssh -p 2202 b".into(), String::new()));
        assert_eq!(status("unit-001"), ("a".into(), "the connection broke".into()));
        assert_eq!(status("unit-003"), ("a".into(), "it ended with status 131".into()));
        assert_eq!(status("unit-004"), ("a".into(), "it was ended by signal 15".into()));
        assert_eq!(status("unit-009"), (String::new(), "it was not sent".into()));
    }
}
