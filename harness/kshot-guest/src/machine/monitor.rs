//! A small QMP client (docs/interop/qmp-spec.txt): sends one command at a time and passes events to a
//! callback, which ignores unknown ones.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deadline::{Deadline, PollResult, TimedOut};

/// The longest accepted QMP message in bytes; a longer one closes the connection.
const MESSAGE_LIMIT: u64 = 16 << 20;

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: UnixStream,
    answers: Receiver<Value>,
}

/// Why a command on QEMU's monitor failed.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The connection broke.
    #[error("the connection to QEMU's monitor broke")]
    Broken(#[source] Option<io::Error>),
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {why}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's reason.
        why: String,
    },
    /// QEMU did not answer in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

impl Monitor {
    /// Negotiates capabilities on a new connection. `event` is called with the name and data of each event,
    /// on another thread.
    pub(super) fn open(
        stream: UnixStream,
        event: impl FnMut(&str, &Value) + Send + 'static,
        deadline: &Deadline,
    ) -> Result<Self, MonitorError> {
        let broken = |error| MonitorError::Broken(Some(error));
        let reader = stream.try_clone().map_err(broken)?;
        let (sender, answers) = sync_channel(16);
        thread::Builder::new()
            .name("monitor".into())
            .spawn(move || listen(reader, &sender, event))
            .map_err(broken)?;
        let monitor = Self { stream, answers };
        monitor.execute("qmp_capabilities", json!({}), deadline)?;
        Ok(monitor)
    }

    /// Executes a command and returns its result.
    pub(super) fn execute(
        &self,
        command: &str,
        arguments: Value,
        deadline: &Deadline,
    ) -> Result<Value, MonitorError> {
        self.send(command, arguments)?;
        let answer = deadline.poll(|slice: Duration| match self.answers.recv_timeout(slice) {
            Ok(answer) => Ok(PollResult::Done(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(PollResult::Pending(None)),
            Err(RecvTimeoutError::Disconnected) => Err(MonitorError::Broken(None)),
        })?;
        match answer.get("error") {
            None => Ok(answer["return"].clone()),
            Some(error) => Err(MonitorError::Refused {
                command: command.to_owned(),
                why: error["desc"].as_str().unwrap_or("no reason given").to_owned(),
            }),
        }
    }

    /// Sends a command without waiting for its answer.
    pub(super) fn send(&self, command: &str, arguments: Value) -> Result<(), MonitorError> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        (&self.stream).write_all(line.as_bytes()).map_err(|error| MonitorError::Broken(Some(error)))
    }

    /// Executes a command of the human monitor. Its errors are returned as text, too.
    pub(super) fn human(&self, command: &str, deadline: &Deadline) -> Result<String, MonitorError> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command }), deadline)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Its thread still reads; QEMU takes the next connection only after this one's end.
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

/// The host's port that leads to the guest's port 22, out of `info usernet`:
///
/// ```text
/// Hub -1 (#net064):
///   Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
///   TCP[HOST_FORWARD]  11       127.0.0.1 40713       10.0.2.15    22     0     0
/// ```
pub(super) fn forwarded_port(usernet: &str) -> Option<u16> {
    usernet.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["TCP[HOST_FORWARD]", _, _, port, _, "22", ..] => port.parse().ok().filter(|port| *port != 0),
            _ => None,
        }
    })
}

fn listen(stream: impl Read, answers: &SyncSender<Value>, mut event: impl FnMut(&str, &Value)) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stream).take(MESSAGE_LIMIT).read_until(b'\n', &mut line) {
            Ok(count) if count > 0 && line.ends_with(b"\n") => {}
            _ => return,
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else { return };
        if let Some(name) = message["event"].as_str() {
            event(name, &message["data"]);
        } else if message.get("return").is_some() || message.get("error").is_some() {
            // Nobody reads the answer to a command that was only sent, so never wait here.
            drop(answers.try_send(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_port_is_read_from_what_qemu_says() {
        let usernet = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  TCP[HOST_FORWARD]   8       127.0.0.1 39175       10.0.2.15    22     0     0\r\n";
        assert_eq!(forwarded_port(usernet), Some(39175));
        assert_eq!(forwarded_port("Hub -1 (net0):\r\n  Protocol[State] FD\r\n"), None);
    }

    #[test]
    fn unknown_events_between_command_and_answer_are_heard_and_do_no_harm() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(
                b"{\"QMP\": {\"version\": {}}}\n{\"return\": {}}\n{\"event\": \"NEW_IN_99\", \"data\": {\"a\": 1}}\n\
                  {\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\n{\"return\": \"text\"}\n",
            )
            .unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let deadline = Deadline::new("an answer", Duration::from_secs(5));
        let record = move |name: &str, _: &Value| ear.lock().unwrap().push(name.to_owned());
        let monitor = Monitor::open(ours, record, &deadline).unwrap();
        assert_eq!(monitor.human("info usernet", &deadline).unwrap(), "text");
        assert_eq!(*heard.lock().unwrap(), ["NEW_IN_99", "SHUTDOWN"]);
    }

    #[test]
    fn a_refused_command_says_why() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(b"{\"return\": {}}\n{\"error\": {\"class\": \"X\", \"desc\": \"no such thing\"}}\n")
            .unwrap();
        let deadline = Deadline::new("an answer", Duration::from_secs(5));
        let monitor = Monitor::open(ours, |_, _| {}, &deadline).unwrap();
        let error = monitor.execute("inject-nmi", json!({}), &deadline).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused inject-nmi: no such thing");
    }

    #[test]
    fn a_monitor_that_hangs_up_or_stays_silent_ends_the_wait() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let deadline = Deadline::new("QEMU's answer", Duration::from_millis(100));
        let error = Monitor::open(ours, |_, _| {}, &deadline).unwrap_err();
        assert!(matches!(error, MonitorError::TimedOut(_)), "{error}");
        drop(theirs);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let error = Monitor::open(ours, |_, _| {}, &Deadline::new("x", Duration::from_secs(5))).unwrap_err();
        assert!(matches!(error, MonitorError::Broken(_)), "{error}");
    }
}
