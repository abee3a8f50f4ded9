//! The SSH connection. libssh2 runs without blocking; every wait is a turn of [`Deadline::poll`] on its
//! socket and asks the machine's [`Vitals`].

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

/// A connection that is logged in.
pub(super) struct Link {
    session: ssh2::Session,
    /// Another handle of the socket that the session owns.
    socket: TcpStream,
    vitals: Vitals,
}

/// What an operation that may have to wait fails with.
pub(super) trait MayBlock {
    /// Whether it has to be called again once the socket is ready.
    fn would_block(&self) -> bool;
    /// The same as an error of the socket.
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
        // libssh2 reads it only after the handshake, and then cannot say what is wrong with it.
        std::fs::File::open(keys.client_private)
            .map_err(|source| SessionError::Key { path: keys.client_private.to_owned(), source })?;
        let mut last_words = None;
        let link = deadline.poll(|slice| {
            vitals.check()?;
            match Self::connect(port, vitals, deadline) {
                Ok(link) => Ok(Turn::Done(link)),
                // QEMU takes connections before the guest listens, and drops them then.
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

    /// Starts a command.
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

    /// Ends a channel whose command has ended. The guest closes first: dropbear 2022.83 may die of a failed
    /// assertion (common-channel.c, `!channel->sent_close`) if we do, and takes the whole session along.
    pub(super) fn close(&self, mut channel: Channel, deadline: &Deadline) -> Result<(), SessionError> {
        let mut rest = [0; 4096];
        while self.wait(deadline, || channel.read(&mut rest))? > 0 {}
        self.wait(deadline, || channel.wait_close())?;
        // libssh2 keeps a channel that is only dropped until the end of the session.
        self.wait(deadline, || channel.close())
    }

    /// Calls `operation` until it need not wait any more.
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

    /// The error for a command whose channel ended without its end mark.
    pub(super) fn no_end(&self, command: &str, output: &[u8]) -> SessionError {
        self.explain(SessionError::NoEnd { command: script::brief(command), said: script::last_line(output) })
    }

    /// What the socket has to be ready for before libssh2 can go on.
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

    /// A broken link is what a dying machine looks like from here; a wait that ran out may be due to what the
    /// console said.
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

    /// One handshake, with a session and a socket of its own: libssh2 cannot try again with the same.
    #[expect(clippy::disallowed_methods, reason = "the session owns the socket into the guest")]
    fn connect(port: u16, vitals: &Vitals, deadline: &Deadline) -> Result<Self, SessionError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // On loopback QEMU's kernel answers at once, or nobody does.
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
        // Freeing the session wants to say goodbye to a guest that may be dead.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("socket", &self.socket).finish_non_exhaustive()
    }
}
