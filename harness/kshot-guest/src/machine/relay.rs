//! Stands between gdb and QEMU's stub, so that the guest keeps its pace.
//!
//! Whenever a guest stops at a breakpoint, QEMU throws away all that it has translated of the guest's code, so that
//! each hit costs a fifth of a second (7.2, gdbstub.c, `gdb_vm_state_change`; a hit is two stops, because gdb steps over
//! its breakpoint with another one). It does so only for a gdb that is attached. So while the guest runs, none is: what
//! gdb calls *continue* is detach, which takes the breakpoints out, put them in again, continue. That is one write,
//! which QEMU goes through without a turn of the guest's in between. That the guest has stopped is for the monitor to
//! say then, and whether a breakpoint did it; after that we attach again, and gdb notices nothing.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::monitor::{Monitor, MonitorError};
use super::stub::{self, Stub, framed, unexpected};
use super::{accept_within, listen_nonblocking, spec};
use crate::deadline::{Deadline, PollResult};

/// Where gdb connects to, in the machine's folder.
pub(super) const SOCKET: &str = "relay.sock";

/// How long gdb may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How long QEMU's monitor may take to answer.
const MONITOR_LIMIT: Duration = Duration::from_secs(20);
/// The one processor, as the stub counts its processes.
const PROCESS: &str = "1";
/// How gdb names what it interrupts a guest with, in the place of a packet.
const INTERRUPT: u8 = 0x03;

/// A relay at work. Dropping it ends it; gdb has to be gone by then.
#[derive(Debug)]
pub(super) struct Relay {
    unwanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the relay waits for.
enum Heard {
    Packet(Vec<u8>),
    Interrupt,
    /// The guest has stopped, for whatever reason.
    Stopped,
    /// gdb is gone.
    Closed,
}

impl Relay {
    /// Waits for gdb in the machine's folder. What ends it before gdb's end goes to `log`.
    pub(super) fn start(folder: &Path, mut log: impl Write + Send + 'static) -> io::Result<Self> {
        let listener = listen_nonblocking(folder, SOCKET)?;
        let (sender, heard) = channel();
        let monitor = {
            let sender = sender.clone();
            let ear = move |event: &str, _: &serde_json::Value| {
                if event == "STOP" {
                    // A relay that has ended does not care.
                    drop(sender.send(Heard::Stopped));
                }
            };
            connect_to_monitor(folder, ear)?
        };
        let stub_socket = folder.join(spec::GDB);
        let unwanted = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&unwanted);
        let work = move || {
            let result = accept(&listener, &ended).map_err(io::Error::other).and_then(|gdb| match gdb {
                Some(gdb) => relay(Stub::connect(&stub_socket)?, gdb, &monitor, (sender, &heard)),
                None => Ok(()),
            });
            if let Err(error) = result {
                // gdb says that its connection is gone, and this why.
                drop(writeln!(log, "the relay to QEMU's gdb stub: {error}"));
            }
        };
        let thread = thread::Builder::new().name("relay".into()).spawn(work)?;
        Ok(Self { unwanted, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            drop(thread.join());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the machine owns QEMU's monitors")]
fn connect_to_monitor(
    folder: &Path,
    ear: impl FnMut(&str, &serde_json::Value) + Send + 'static,
) -> io::Result<Monitor> {
    let stream = UnixStream::connect(folder.join(spec::STOPS))?;
    Monitor::open(stream, ear, &monitor_deadline()).map_err(io::Error::other)
}

fn monitor_deadline() -> Deadline {
    Deadline::new("QEMU's monitor", MONITOR_LIMIT)
}

/// gdb's connection; none where it is not wanted any more.
fn accept(listener: &UnixListener, unwanted: &AtomicBool) -> Result<Option<UnixStream>, MonitorError> {
    Deadline::new("gdb to connect", CONNECT_LIMIT).poll(|slice| {
        if unwanted.load(Ordering::Relaxed) {
            return Ok(PollResult::Done(None));
        }
        let gdb = accept_within(listener, slice).map_err(|error| MonitorError::Broken(Some(error)))?;
        Ok(gdb.map_or(PollResult::Pending(None), |gdb| PollResult::Done(Some(gdb))))
    })
}

fn relay(
    mut stub: Stub,
    mut gdb: UnixStream,
    monitor: &Monitor,
    (sender, heard): (Sender<Heard>, &Receiver<Heard>),
) -> io::Result<()> {
    let input = BufReader::new(gdb.try_clone()?);
    thread::Builder::new().name("gdb's packets".into()).spawn(move || listen(input, &sender))?;
    let mut breakpoints = BTreeSet::new();
    // gdb's end is what ends this: it is killed when it takes too long.
    while let Ok(heard_now) = heard.recv() {
        let packet = match heard_now {
            Heard::Packet(packet) => packet,
            // The guest stands.
            Heard::Interrupt | Heard::Stopped => continue,
            Heard::Closed => break,
        };
        gdb.write_all(b"+")?;
        let answer = if lets_go(&packet) {
            match run(&mut stub, &breakpoints, monitor, heard)? {
                Some(answer) => answer,
                None => break,
            }
        } else {
            stub.ask(&packet)?
        };
        match packet.split_first() {
            Some((b'Z', place)) if answer == b"OK" => drop(breakpoints.insert(place.to_vec())),
            Some((b'z', place)) if answer == b"OK" => drop(breakpoints.remove(place)),
            _ => {}
        }
        gdb.write_all(&framed(&answer))?;
    }
    Ok(())
}

/// What gdb says, until its end.
fn listen(mut gdb: impl BufRead, heard: &Sender<Heard>) {
    let mut byte = [0];
    loop {
        let news = match gdb.read_exact(&mut byte).map(|()| byte[0]) {
            Ok(b'$') => stub::packet(&mut gdb).map_or(Heard::Closed, Heard::Packet),
            Ok(INTERRUPT) => Heard::Interrupt,
            // Acknowledgements.
            Ok(_) => continue,
            Err(_) => Heard::Closed,
        };
        let last = matches!(news, Heard::Closed);
        if heard.send(news).is_err() || last {
            return;
        }
    }
}

/// Whether a packet lets all of the guest go on, from where it stands.
fn lets_go(packet: &[u8]) -> bool {
    let actions = packet.strip_prefix(b"vCont;").unwrap_or(packet);
    actions.split(|byte| *byte == b';').all(|action| action == b"c" || action.starts_with(b"c:"))
}

/// Lets the guest run until it stops; says what the stub then says of that, or nothing where gdb is gone.
fn run(
    stub: &mut Stub,
    breakpoints: &BTreeSet<Vec<u8>>,
    monitor: &Monitor,
    heard: &Receiver<Heard>,
) -> io::Result<Option<Vec<u8>>> {
    let mut go = framed(format!("D;{PROCESS}").as_bytes());
    // Detaching lets the guest go, and the first byte that then comes stops it, before it can have run, and is lost. The
    // one before that takes the place of an acknowledgement.
    go.extend(b"++");
    for place in breakpoints {
        go.extend(framed(&[b"Z", &place[..]].concat()));
    }
    go.extend(framed(b"c"));
    stub.send(&go)?;
    for _ in 0..=breakpoints.len() {
        let answer = stub.answer()?;
        if answer != b"OK" {
            return Err(unexpected(&answer));
        }
    }
    let execute =
        |command| monitor.execute(command, json!({}), &monitor_deadline()).map_err(io::Error::other);
    let mut interrupted = false;
    loop {
        let at_breakpoint = execute("query-status")?["status"] == "debug";
        if at_breakpoint || interrupted {
            let answer = stub.ask(format!("vAttach;{PROCESS}").as_bytes())?;
            // SIGTRAP is what it says of each; gdb expects SIGINT after it has interrupted.
            let stop = answer.strip_prefix(b"T05").ok_or_else(|| unexpected(&answer))?;
            let signal = if at_breakpoint { b"T05" } else { b"T02" };
            return Ok(Some([signal, stop].concat()));
        }
        match heard.recv() {
            // Our own stop and go are among what stopped it.
            Ok(Heard::Stopped) => {}
            Ok(Heard::Interrupt) => {
                execute("stop")?;
                interrupted = true;
            }
            Ok(Heard::Packet(_) | Heard::Closed) | Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::Shutdown;

    /// A monitor whose QEMU answers the questions after its status in this order, with news of a stop after the first.
    fn monitor(statuses: &'static [&str], heard: Sender<Heard>) -> Monitor {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut answers = statuses.iter();
            let mut to = theirs.try_clone().unwrap();
            for line in BufReader::new(theirs).lines() {
                let (line, mut more) = (line.unwrap(), "");
                let answer = if line.contains("query-status") {
                    more = "{\"event\": \"STOP\"}\n";
                    json!({ "return": { "status": answers.next().unwrap() } })
                } else {
                    json!({ "return": {} })
                };
                write!(to, "{answer}\n{more}").unwrap();
            }
        });
        let ear = move |event: &str, _: &serde_json::Value| {
            if event == "STOP" {
                drop(heard.send(Heard::Stopped));
            }
        };
        Monitor::open(ours, ear, &monitor_deadline()).unwrap()
    }

    /// Lets a guest run with one breakpoint; says what gdb is told, and what the stub was sent.
    fn ran(statuses: &'static [&str], interrupt: bool) -> (String, String) {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut stub = Stub::over(ours.try_clone().unwrap()).unwrap();
        qemu.write_all(b"+$OK#9a+$OK#9a+$T05thread:p01.01;#xx").unwrap();
        let (sender, heard) = channel();
        if interrupt {
            sender.send(Heard::Interrupt).unwrap();
        }
        let monitor = monitor(statuses, sender);
        let places = BTreeSet::from([b"1,80100000,4".to_vec()]);
        let told = run(&mut stub, &places, &monitor, &heard).unwrap().unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut sent = String::new();
        qemu.read_to_string(&mut sent).unwrap();
        (String::from_utf8(told).unwrap(), sent)
    }

    #[test]
    fn nobody_is_attached_while_the_guest_runs_but_its_breakpoints_are_in() {
        let (told, sent) = ran(&["running", "debug"], false);
        assert_eq!(told, "T05thread:p01.01;");
        assert_eq!(sent, "$D;1#b0++$Z1,80100000,4#a0$c#63$vAttach;1#37");
    }

    #[test]
    fn a_breakpoint_that_is_hit_at_once_is_not_waited_for() {
        assert_eq!(ran(&["debug"], false).0, "T05thread:p01.01;");
    }

    #[test]
    fn a_stop_for_another_reason_is_none_of_gdbs() {
        assert_eq!(ran(&["running", "paused", "debug"], false).0, "T05thread:p01.01;");
    }

    #[test]
    fn an_interrupted_guest_stands_without_a_breakpoint() {
        assert_eq!(ran(&["running", "paused"], true).0, "T02thread:p01.01;");
        assert_eq!(ran(&["running", "debug"], true).0, "T05thread:p01.01;", "it was hit in between");
    }

    #[test]
    fn only_what_lets_all_go_on_is_taken_over() {
        for packet in ["c", "vCont;c", "vCont;c:p1.-1", "vCont;c:p1.1"] {
            assert!(lets_go(packet.as_bytes()), "{packet}");
        }
        for packet in
            ["vCont?", "vCont;s:p1.1", "vCont;s:p1.1;c:p1.-1", "vCont;c:p1.1;s:p1.2", "vCont;C05", "g", ""]
        {
            assert!(!lets_go(packet.as_bytes()), "{packet}");
        }
    }
}
