//! The SSH connection. libssh2 runs non-blocking; every wait polls its socket with [`Deadline::poll`] and checks the
//! machine's [`Vitals`].

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, ErrorCode};

use super::{Keys, SessionError, script};
use crate::deadline::{Deadline, TimedOut, Turn, wait_for};
use crate::machine::Vitals;

/// `LIBSSH2_ERROR_EAGAIN` of libssh2.h.
const AGAIN: ErrorCode = ErrorCode::Session(-37);
/// `LIBSSH2_ERROR_AUTHENTICATION_FAILED` and `LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED`.
const REFUSED: [ErrorCode; 2] = [ErrorCode::Session(-18), ErrorCode::Session(-19)];

/// A logged-in SSH connection.
pub(super) struct Link {
    session: ssh2::Session,
    /// A second handle of the socket that the SSH session owns.
    socket: TcpStream,
    vitals: Vitals,
}

/// The error of a non-blocking operation.
pub(super) trait MayBlock {
    /// Whether the operation has to be repeated once the socket is ready.
    fn would_block(&self) -> bool;
    /// The error as an IO error.
    fn into_io(self) -> io::Error;
}

impl MayBlock for ssh2::Error {
    fn would_block(&self) -> bool {
        self.code() == AGAIN
    }

    fn into_io(self) -> io::Error {
        self.into()
    }
}

impl MayBlock for io::Error {
    fn would_block(&self) -> bool {
        self.kind() == io::ErrorKind::WouldBlock
    }

    fn into_io(self) -> io::Error {
        self
    }
}

impl Link {
    pub(super) fn open(
        port: u16,
        keys: Keys<'_>,
        vitals: &Vitals,
        deadline: &Deadline,
    ) -> Result<Self, SessionError> {
        // libssh2 reads the key only after the handshake and cannot report what is wrong with it.
        std::fs::File::open(keys.client_private)
            .map_err(|source| SessionError::Key { path: keys.client_private.to_owned(), source })?;
        let mut last_words = None;
        let link = deadline.poll(|slice| {
            vitals.check()?;
            match Self::connect(port, vitals, deadline) {
                Ok(link) => Ok(Turn::Done(link)),
                // QEMU accepts connections before the guest listens, and closes them again.
                Err(SessionError::Link(cause)) => {
                    vitals.wait(slice);
                    last_words = Some(cause.to_string());
                    Ok(Turn::NotYet(last_words.clone()))
                }
                Err(SessionError::TimedOut(timed_out)) => {
                    let cause = last_words.take().or(timed_out.last_cause);
                    Err(SessionError::TimedOut(deadline.timed_out(cause)))
                }
                Err(other) => Err(other),
            }
        })?;
        if link.session.host_key().map(|(key, _)| key) != Some(keys.host_public) {
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

    /// Starts a login shell on a terminal of `size` columns and rows.
    pub(super) fn login_shell(
        &self,
        terminal: &str,
        (columns, rows): (u32, u32),
        deadline: &Deadline,
    ) -> Result<Channel, SessionError> {
        let mut channel = self.wait(deadline, || self.session.channel_session())?;
        self.wait(deadline, || channel.request_pty(terminal, None, Some((columns, rows, 0, 0))))?;
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
    pub(super) fn write_end(&self, channel: &mut Channel, deadline: &Deadline) -> Result<(), SessionError> {
        self.wait(deadline, || channel.send_eof())
    }

    /// Closes the channel of a command that has ended. The guest has to close it first: otherwise dropbear 2022.83 may
    /// fail an assertion (common-channel.c, `!channel->sent_close`) and end the whole session.
    pub(super) fn close(&self, mut channel: Channel, deadline: &Deadline) -> Result<(), SessionError> {
        let mut rest = [0; 4096];
        while self.wait(deadline, || channel.read(&mut rest))? > 0 {}
        self.wait(deadline, || channel.wait_close())?;
        // libssh2 keeps a channel that is only dropped until the end of the session.
        self.wait(deadline, || channel.close())
    }

    /// Repeats `operation` until it no longer blocks.
    pub(super) fn wait<T, E: MayBlock>(
        &self,
        deadline: &Deadline,
        mut operation: impl FnMut() -> Result<T, E>,
    ) -> Result<T, SessionError> {
        let result = deadline.poll(|slice| {
            self.vitals.check()?;
            match operation() {
                Ok(value) => Ok(Turn::Done(value)),
                Err(error) if error.would_block() => {
                    wait_for(&self.socket, self.directions(), slice).map_err(SessionError::Link)?;
                    Ok(Turn::NotYet(None))
                }
                Err(error) => Err(SessionError::Link(error.into_io())),
            }
        });
        result.map_err(|error| self.explain(error))
    }

    /// The error for a command whose channel was closed without an end marker.
    pub(super) fn no_end(&self, command: &str, output: &[u8]) -> SessionError {
        self.explain(SessionError::NoEnd { command: script::brief(command), said: script::last_line(output) })
    }

    /// The socket events that libssh2 waits for.
    pub(super) fn directions(&self) -> PollFlags {
        match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::None | BlockDirections::Inbound => PollFlags::IN,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Adds the likely cause to an error: the machine's end to a broken connection, the last console line to a timeout.
    fn explain(&self, error: SessionError) -> SessionError {
        match error {
            SessionError::Link(_) | SessionError::NoEnd { .. } => {
                self.vitals.cause_of_silence().map_or(error, SessionError::Dead)
            }
            SessionError::TimedOut(timed_out) => SessionError::TimedOut(TimedOut {
                last_cause: timed_out.last_cause.or_else(|| self.vitals.last_words()),
                ..timed_out
            }),
            other => other,
        }
    }

    /// One handshake, with a new SSH session and socket: libssh2 cannot retry with the same ones.
    #[expect(clippy::disallowed_methods, reason = "the session owns the socket into the guest")]
    fn connect(port: u16, vitals: &Vitals, deadline: &Deadline) -> Result<Self, SessionError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // On loopback, either QEMU's port answers at once or nothing listens there.
        let limit = deadline.remaining().clamp(Duration::from_millis(1), Duration::from_secs(5));
        let socket = TcpStream::connect_timeout(&address, limit)
            .map_err(|source| Self::unreachable(port, vitals, source))?;
        socket.set_nodelay(true).map_err(|source| SessionError::Unreachable { port, source })?;
        let mut session = ssh2::Session::new().map_err(SessionError::Library)?;
        let owned = socket.try_clone().map_err(|source| SessionError::Unreachable { port, source })?;
        session.set_tcp_stream(owned);
        session.set_blocking(false);
        let mut link = Self { session, socket, vitals: vitals.clone() };
        link.handshake(deadline)?;
        Ok(link)
    }

    fn handshake(&mut self, deadline: &Deadline) -> Result<(), SessionError> {
        deadline.poll(|slice| {
            self.vitals.check()?;
            match self.session.handshake() {
                Ok(()) => Ok(Turn::Done(())),
                Err(error) if error.would_block() => {
                    wait_for(&self.socket, self.directions(), slice).map_err(SessionError::Link)?;
                    Ok(Turn::NotYet(Some("the guest has not answered the SSH handshake".into())))
                }
                Err(error) => Err(SessionError::Link(error.into_io())),
            }
        })
    }

    fn login(&self, keys: Keys<'_>, deadline: &Deadline) -> Result<(), SessionError> {
        let mut refusal = None;
        let result = self.wait(deadline, || {
            let result = self.session.userauth_pubkey_file("root", None, keys.client_private, None);
            match result {
                Err(error) if REFUSED.contains(&error.code()) => {
                    refusal = Some(error);
                    Ok(())
                }
                other => other,
            }
        });
        match refusal {
            Some(source) => Err(SessionError::Login { key: keys.client_private.to_owned(), source }),
            None => result,
        }
    }

    fn unreachable(port: u16, vitals: &Vitals, source: io::Error) -> SessionError {
        vitals.cause_of_silence().map_or(SessionError::Unreachable { port, source }, SessionError::Dead)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Freeing the SSH session would send a disconnect message to a guest that may be dead.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("socket", &self.socket).finish_non_exhaustive()
    }
}
