//! Slurm: a job array, a task a unit (sbatch(1)). The nodes see the result folder under the same path.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use duct::cmd;

use super::{
    Completion, DispatchedUnit, EngineError, EngineProgram, ProgramResult, RoundFolder, UnitStatus,
    round_timeout, run_program,
};
use kshot_guest::host::{FileError, OnInterrupt};

/// The job's name; the round's key is appended, to tell our jobs apart.
const JOB_NAME: &str = "kshot-nightly";
/// The time limit of a request to the controller.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The script of each task of the array. The health check comes first, so that a bad node is reported and
/// excluded.
const TASK_SCRIPT: &str = "#!/bin/sh\n\
    unit=$(printf 'unit-%03d' \"$SLURM_ARRAY_TASK_ID\")\n\
    echo \"$SLURMD_NODENAME\" >\"$unit.host\"\n\
    KSHOT_ROOT=\"$PWD/files\" files/kshot doctor --to-run >\"$unit.check\" 2>&1 || { echo 131 >\"$unit.status\"; exit 131; }\n\
    sh \"files/units/$unit.sh\"\n\
    echo $? >\"$unit.status\"\n";

/// Each node of the cluster with its error, if any; `sinfo` prints a node's name and state.
pub(super) fn check_hosts() -> Result<Vec<(String, Option<String>)>, EngineError> {
    let expression = cmd!("sinfo", "--noheader", "--Node", "--format", "%N %t");
    let finished =
        run_program(EngineProgram::Sinfo, &expression, Path::new("/"), REQUEST_TIMEOUT, OnInterrupt::GoOn)?;
    // Nothing interrupts it.
    let Some(finished) = finished else { return Ok(Vec::new()) };
    if finished.code != Some(0) {
        return Err(EngineError::Failed { program: EngineProgram::Sinfo, said: finished.err.trim().into() });
    }
    Ok(nodes(&finished.out))
}

fn nodes(said: &str) -> Vec<(String, Option<String>)> {
    let mut nodes: Vec<(String, Option<String>)> = Vec::new();
    for (node, state) in said.lines().filter_map(|line| line.trim().split_once(' ')) {
        // sinfo prints a node once for each partition.
        if nodes.iter().any(|(name, _)| name == node) {
            continue;
        }
        // A star: the node does not answer.
        let bad = state.ends_with('*')
            || ["down", "drain", "fail", "maint", "unk"].iter().any(|s| state.starts_with(s));
        nodes.push((node.into(), bad.then(|| format!("Slurm says {state}"))));
    }
    nodes
}

/// Submits the array, and waits for all of its tasks.
pub(super) fn dispatch(
    round: &RoundFolder,
    sent: &[DispatchedUnit],
    out: &HashSet<String>,
) -> Result<Completion, EngineError> {
    let task = round.path.join("files/task.sh");
    fs::write(&task, TASK_SCRIPT).map_err(FileError::on("write", &task))?;
    let name = format!("{JOB_NAME}-{}", round.remote.rsplit('/').next().unwrap_or_default());
    let mut words: Vec<String> = vec![
        "--wait".into(),
        "--parsable".into(),
        format!("--array=1-{}", sent.len()),
        format!("--job-name={name}"),
        "--ntasks=1".into(),
        // A node that dies loses its unit to the next round, where another node gets it.
        "--no-requeue".into(),
        "--output=task-%a.log".into(),
        format!("--chdir={}", round.path.display()),
    ];
    if !out.is_empty() {
        let mut nodes: Vec<_> = out.iter().cloned().collect();
        nodes.sort();
        words.push(format!("--exclude={}", nodes.join(",")));
    }
    words.push("files/task.sh".into());
    let finished = run_program(
        EngineProgram::Sbatch,
        &cmd("sbatch", words),
        &round.path,
        round_timeout(sent),
        OnInterrupt::Kill,
    );
    if !matches!(&finished, Ok(Some(ProgramResult { code: Some(_), .. }))) {
        // sbatch has ended, so the tasks must not go on without it.
        let cancel = cmd!("scancel", "--name", &name);
        drop(run_program(EngineProgram::Scancel, &cancel, &round.path, REQUEST_TIMEOUT, OnInterrupt::GoOn));
    }
    let Some(finished) = finished? else { return Ok(Completion::Interrupted) };
    // sbatch exits with the highest status of its tasks; it refused the job only if it tells no number of it.
    if !is_job(&finished.out) {
        return Err(EngineError::Failed { program: EngineProgram::Sbatch, said: finished.err.trim().into() });
    }
    Ok(Completion::Done)
}

/// Whether sbatch tells a job's number, `--parsable`: `17`, or `17;cluster`.
fn is_job(out: &str) -> bool {
    let number = out.trim().split(';').next().unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The status of a unit from the files that its task left.
pub(super) fn unit_status(round: &RoundFolder, unit: &str) -> UnitStatus {
    let read = |suffix: &str| fs::read_to_string(round.path.join(format!("{unit}.{suffix}"))).ok();
    let host = read("host").map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    let error = match (read("status").as_deref().map(str::trim), &host) {
        (Some("0"), _) => None,
        (Some(status), _) => Some(format!("it ended with status {status}")),
        (None, Some(_)) => Some("the node was lost".into()),
        (None, None) => Some("no node took it".into()),
    };
    UnitStatus { host, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submitted_job_has_a_number() {
        assert!(is_job("17\n") && is_job("17;cluster\n"));
        assert!(!is_job("") && !is_job("sbatch: error: 17\n"));
    }

    #[test]
    fn a_node_that_is_down_drained_or_silent_takes_no_part() {
        let said = "a idle\nb mix\na idle\nc down\nd drng\ne idle*\nf drain\n";
        let bad: Vec<_> = nodes(said).into_iter().map(|(node, error)| (node, error.is_some())).collect();
        let expected = [("a", false), ("b", false), ("c", true), ("d", false), ("e", true), ("f", true)];
        assert_eq!(bad, expected.map(|(node, bad)| (node.to_owned(), bad)));
    }
}
