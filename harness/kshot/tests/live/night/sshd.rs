//! SSH servers of the test's own on loopback ports, as hosts to send units to.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::live::wait::until;

/// The time that what a server or a cluster does may take.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(180);

/// A server. Dropping it ends it and everything that was started through it.
pub(crate) struct Sshd {
    child: Child,
    port: u16,
    /// A script that logs in to it without a question.
    pub(crate) ssh: std::path::PathBuf,
}

impl Sshd {
    /// Starts a server with its files in `folder`.
    pub(crate) fn start(folder: &Path, name: &str) -> Self {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        for key in ["host", "client"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(file(key))
                .status();
            assert!(made.unwrap().success());
        }
        // A server that root starts wants its empty folder, which systemd would have made.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n",
            file("host").display(),
            file("client.pub").display(),
        );
        fs::write(file("conf"), config).unwrap();
        let log = fs::File::create(file("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(file("conf"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let ssh = file("sh");
        let script = format!(
            "#!/bin/sh\nexec ssh -F none -i {} -p {port} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no \
             -o LogLevel=ERROR -o BatchMode=yes -o ServerAliveInterval=5 \"$@\"\n",
            file("client").display()
        );
        fs::write(&ssh, script).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&ssh).status().unwrap().success());
        let sshd = Self { child, port, ssh };
        until("sshd to listen", WAIT_LIMIT, || TcpStream::connect(("127.0.0.1", sshd.port)).ok());
        sshd
    }

    /// Its line in a file of hosts: one job at once.
    pub(crate) fn line(&self) -> String {
        format!("1/{} 127.0.0.1", self.ssh.display())
    }

    /// Waits until a unit runs on it, then ends it and all that it started, as a power cut would.
    pub(crate) fn die_at_work(&mut self) {
        let id = self.child.id();
        until("a QEMU on the host", WAIT_LIMIT, || {
            descendants(id).into_iter().find(|id| {
                fs::read(format!("/proc/{id}/comm")).is_ok_and(|name| name.starts_with(b"qemu-system"))
            })
        });
        self.end();
    }

    fn end(&mut self) {
        // The server first: it shall start nothing more.
        let below = descendants(self.child.id());
        drop(self.child.kill());
        for id in below {
            drop(Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status());
        }
        drop(self.child.wait());
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}

/// All processes below one, the nearest first.
fn descendants(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let mut at = 0;
    while at < found.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", found[at])).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.extend(children);
        at += 1;
    }
    found.split_off(1)
}
