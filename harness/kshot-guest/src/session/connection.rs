//! The SSH connection. libssh2 runs non-blocking; every wait polls its socket with [`Deadline::poll`] and
//! checks the machine's [`Liveness`].

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, ErrorCode};

use super::{Credentials, SessionError, protocol};
use crate::deadline::{Deadline, PollResult, TimedOut, wait_for};
use crate::machine::Liveness;

/// `LIBSSH2_ERROR_EAGAIN` of libssh2.h.
const AGAIN: ErrorCode = ErrorCode::Session(-37);
/// `LIBSSH2_ERROR_AUTHENTICATION_FAILED` and `LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED`.
const LOGIN_REJECTED: [ErrorCode; 2] = [ErrorCode::Session(-18), ErrorCode::Session(-19)];

/// A logged-in SSH connection.
pub(super) struct SshConnection {
    session: ssh2::Session,
    /// A second handle of the socket that the SSH session owns.
    socket: TcpStream,
    liveness: Liveness,
}

/// The error of a non-blocking operation.
pub(super) trait NonBlocking {
    /// Whether the operation has to be repeated once the socket is ready.
    fn would_block(&self) -> bool;
    /// The error as an IO error.
    fn into_io(self) -> io::Error;
}

impl NonBlocking for ssh2::Error {
    fn would_block(&self) -> bool {
        self.code() == AGAIN
    }

    fn into_io(self) -> io::Error {
        self.into()
    }
}

impl NonBlocking for io::Error {
    fn would_block(&self) -> bool {
        self.kind() == io::ErrorKind::WouldBlock
    }

    fn into_io(self) -> io::Error {
        self
    }
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct TerminalSize {
    pub(super) columns: u32,
    pub(super) rows: u32,
}

impl SshConnection {
    pub(super) fn open(
        port: u16,
        keys: Credentials<'_>,
        liveness: &Liveness,
        deadline: &Deadline,
    ) -> Result<Self, SessionError> {
        // libssh2 reads the key only after the handshake and cannot report what is wrong with it.
        std::fs::File::open(keys.client_key_private)
            .map_err(|source| SessionError::Key { path: keys.client_key_private.to_owned(), source })?;
        let mut last_cause = None;
        let link = deadline.poll(|slice| {
            liveness.check()?;
            match Self::connect(port, liveness, deadline) {
                Ok(link) => Ok(PollResult::Done(link)),
                // QEMU accepts connections before the guest listens, and closes them again.
                Err(SessionError::ConnectionBroken(cause)) => {
                    liveness.wait(slice);
                    last_cause = Some(cause.to_string());
                    Ok(PollResult::Pending(last_cause.clone()))
                }
                Err(SessionError::TimedOut(timed_out)) => {
                    let cause = last_cause.take().or(timed_out.last_error);
                    Err(SessionError::TimedOut(deadline.timed_out(cause)))
                }
                Err(other) => Err(other),
            }
        });
        let link = link.map_err(|error| blame_host(error, liveness))?;
        if link.session.host_key().map(|(key, _)| key) != Some(keys.host_key_public) {
            return Err(SessionError::HostKey { port });
        }
        link.login(keys, deadline)?;
        Ok(link)
    }

    /// Starts a command in a new channel.
    pub(super) fn execute(&self, command: &str, deadline: &Deadline) -> Result<Channel, SessionError> {
        let mut channel = self.wait(deadline, || self.session.channel_session())?;
        self.wait(deadline, || channel.exec(command))?;
        Ok(channel)
    }

    /// Starts a login shell on a terminal of this size.
    pub(super) fn login_shell(
        &self,
        terminal: &str,
        size: TerminalSize,
        deadline: &Deadline,
    ) -> Result<Channel, SessionError> {
        let mut channel = self.wait(deadline, || self.session.channel_session())?;
        self.wait(deadline, || channel.request_pty(terminal, None, Some((size.columns, size.rows, 0, 0))))?;
        self.wait(deadline, || channel.shell())?;
        Ok(channel)
    }

    /// Writes to a command's standard input.
    pub(super) fn write(
        &self,
        channel: &mut Channel,
        mut bytes: &[u8],
        deadline: &Deadline,
    ) -> Result<(), SessionError> {
        while !bytes.is_empty() {
            let count = self.wait(deadline, || channel.write(bytes))?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends a command's standard input.
    pub(super) fn close_input(&self, channel: &mut Channel, deadline: &Deadline) -> Result<(), SessionError> {
        self.wait(deadline, || channel.send_eof())
    }

    /// Closes the channel of a command that has ended. The guest has to close it first: otherwise dropbear
    /// 2022.83 may fail an assertion (common-channel.c, `!channel->sent_close`) and end the whole session.
    pub(super) fn close(&self, mut channel: Channel, deadline: &Deadline) -> Result<(), SessionError> {
        let mut rest = [0; 4096];
        while self.wait(deadline, || channel.read(&mut rest))? > 0 {}
        self.wait(deadline, || channel.wait_close())?;
        // libssh2 keeps a channel that is only dropped until the end of the session.
        self.wait(deadline, || channel.close())
    }

    /// Repeats `operation` until it no longer blocks.
    pub(super) fn wait<T, E: NonBlocking>(
        &self,
        deadline: &Deadline,
        mut operation: impl FnMut() -> Result<T, E>,
    ) -> Result<T, SessionError> {
        let result = deadline.poll(|slice| {
            self.liveness.check()?;
            match operation() {
                Ok(value) => Ok(PollResult::Done(value)),
                Err(error) if error.would_block() => {
                    wait_for(&self.socket, self.poll_flags(), slice)
                        .map_err(SessionError::ConnectionBroken)?;
                    Ok(PollResult::Pending(None))
                }
                Err(error) => Err(SessionError::ConnectionBroken(error.into_io())),
            }
        });
        result.map_err(|error| self.explain(error))
    }

    /// The error for a command whose channel was closed without an end marker.
    pub(super) fn no_exit_status(&self, command: &str, output: &[u8]) -> SessionError {
        self.explain(SessionError::NoExitStatus {
            command: protocol::brief(command),
            said: protocol::last_line(output),
        })
    }

    /// The socket events that libssh2 waits for.
    pub(super) fn poll_flags(&self) -> PollFlags {
        match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::None | BlockDirections::Inbound => PollFlags::IN,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Adds the likely cause to an error: the machine's end to a broken connection, the last console line to
    /// a timeout.
    fn explain(&self, error: SessionError) -> SessionError {
        match error {
            SessionError::ConnectionBroken(_) | SessionError::NoExitStatus { .. } => {
                self.liveness.wait_for_end().map_or(error, SessionError::Down)
            }
            SessionError::TimedOut(timed_out) => {
                let last_error = timed_out.last_error.or_else(|| self.liveness.last_console_line());
                blame_host(SessionError::TimedOut(TimedOut { last_error, ..timed_out }), &self.liveness)
            }
            other => other,
        }
    }

    /// One handshake, with a new SSH session and socket: libssh2 cannot retry with the same ones.
    #[expect(clippy::disallowed_methods, reason = "the session owns the socket into the guest")]
    fn connect(port: u16, liveness: &Liveness, deadline: &Deadline) -> Result<Self, SessionError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // On loopback, either QEMU's port answers at once or nothing listens there.
        let limit = deadline.remaining().clamp(Duration::from_millis(1), Duration::from_secs(5));
        let socket = TcpStream::connect_timeout(&address, limit)
            .map_err(|source| Self::unreachable(port, liveness, source))?;
        socket.set_nodelay(true).map_err(|source| SessionError::Unreachable { port, source })?;
        let mut session = ssh2::Session::new().map_err(SessionError::SshSetup)?;
        let owned = socket.try_clone().map_err(|source| SessionError::Unreachable { port, source })?;
        session.set_tcp_stream(owned);
        session.set_blocking(false);
        let mut link = Self { session, socket, liveness: liveness.clone() };
        link.handshake(deadline)?;
        Ok(link)
    }

    fn handshake(&mut self, deadline: &Deadline) -> Result<(), SessionError> {
        deadline.poll(|slice| {
            self.liveness.check()?;
            match self.session.handshake() {
                Ok(()) => Ok(PollResult::Done(())),
                Err(error) if error.would_block() => {
                    wait_for(&self.socket, self.poll_flags(), slice)
                        .map_err(SessionError::ConnectionBroken)?;
                    Ok(PollResult::Pending(Some("the guest has not answered the SSH handshake".into())))
                }
                Err(error) => Err(SessionError::ConnectionBroken(error.into_io())),
            }
        })
    }

    fn login(&self, keys: Credentials<'_>, deadline: &Deadline) -> Result<(), SessionError> {
        let mut refusal = None;
        let result = self.wait(deadline, || {
            let result = self.session.userauth_pubkey_file("root", None, keys.client_key_private, None);
            match result {
                Err(error) if LOGIN_REJECTED.contains(&error.code()) => {
                    refusal = Some(error);
                    Ok(())
                }
                other => other,
            }
        });
        match refusal {
            Some(source) => Err(SessionError::Login { key: keys.client_key_private.to_owned(), source }),
            None => result,
        }
    }

    fn unreachable(port: u16, liveness: &Liveness, source: io::Error) -> SessionError {
        liveness.wait_for_end().map_or(SessionError::Unreachable { port, source }, SessionError::Down)
    }
}

/// Turns a timeout into the host's error if the host had no time for the guest.
fn blame_host(error: SessionError, liveness: &Liveness) -> SessionError {
    let busy = match &error {
        SessionError::TimedOut(timed_out) => liveness.host_too_busy(timed_out),
        _ => None,
    };
    busy.map_or(error, SessionError::HostTooBusy)
}

impl Drop for SshConnection {
    fn drop(&mut self) {
        // Freeing the SSH session would send a disconnect message to a guest that may be dead.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

impl fmt::Debug for SshConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshConnection").field("socket", &self.socket).finish_non_exhaustive()
    }
}
