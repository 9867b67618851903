//! Whose fault it is that a dial failed. I/O only in that it knows the system's error numbers.

use std::io;

use super::DialError;
use super::health::Fault;
use super::socks5::wire::{Command, Error};

/// What a failed dial says, and what is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The node works, and says that it cannot reach the destination. Another one would hardly.
    Destination,
    /// The node answered, and will not carry this; another one may. Nothing is known of it.
    Nobody,
    /// The node, or we ourselves.
    Fault(Fault),
}

impl Blame {
    /// Whether another node is to be tried.
    pub fn goes_on(self) -> bool {
        match self {
            Self::Destination | Self::Fault(Fault::Local | Fault::Cancelled) => false,
            Self::Nobody | Self::Fault(Fault::Remote | Fault::NetworkDown) => true,
        }
    }
}

impl DialError {
    /// Whose fault it is. `answered` says whether the node had said anything: one that is silent
    /// after that may have been asked for a destination that is.
    pub fn blame(&self, command: Command, answered: bool) -> Blame {
        match self {
            Self::Blocked | Self::Gone => Blame::Fault(Fault::Local),
            Self::Timeout if answered && command == Command::Connect => Blame::Nobody,
            Self::Timeout => Blame::Fault(Fault::Remote),
            Self::Io(error) if is_about_this_one(error) => Blame::Nobody,
            // Some servers have no better way to say that a destination cannot be reached.
            Self::Io(error) if answered && command == Command::Connect && is_end(error) => {
                Blame::Nobody
            }
            Self::Io(error) => Blame::Fault(fault(error)),
            Self::Socks5(error) => refusal(error, command),
        }
    }
}

/// An association has no destination that could be at fault (RFC 1928 section 6).
fn refusal(error: &Error, command: Command) -> Blame {
    match (command, error) {
        // Network or host unreachable, connection refused, TTL expired.
        (Command::Connect, Error::Refused(3..=6)) => Blame::Destination,
        // General failure, which many servers say of everything; or its rules are against it.
        (Command::Connect, Error::Refused(1 | 2)) => Blame::Nobody,
        _ => Blame::Fault(Fault::Remote),
    }
}

/// Our own rules or addresses keep us from this node; from another one perhaps not.
fn is_about_this_one(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| [libc::EADDRNOTAVAIL, libc::EPERM, libc::EACCES].contains(&code))
}

/// The node closed the connection.
fn is_end(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}

/// Of a system call.
fn fault(error: &io::Error) -> Fault {
    match error.raw_os_error() {
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOMEM
            | libc::ENOBUFS
            | libc::ENOSPC
            // No port is free.
            | libc::EAGAIN
            | libc::EADDRINUSE,
        ) => Fault::Local,
        Some(libc::ENETUNREACH | libc::ENETDOWN | libc::ENODEV | libc::EAFNOSUPPORT) => {
            Fault::NetworkDown
        }
        _ => Fault::Remote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_speaks_of_the_destination_works() {
        for code in [3, 4, 5, 6] {
            let error = DialError::Socks5(Error::Refused(code));
            let blame = error.blame(Command::Connect, true);
            assert_eq!((blame, blame.goes_on()), (Blame::Destination, false));
            let blame = error.blame(Command::UdpAssociate, true);
            assert_eq!(blame, Blame::Fault(Fault::Remote));
        }
        for code in [1, 2] {
            let error = DialError::Socks5(Error::Refused(code));
            let blame = error.blame(Command::Connect, true);
            assert_eq!((blame, blame.goes_on()), (Blame::Nobody, true));
        }
        for error in [
            Error::Refused(7),
            Error::Refused(8),
            Error::NoMethod,
            Error::Version(4),
        ] {
            let blame = DialError::Socks5(error).blame(Command::Connect, true);
            assert_eq!(blame, Blame::Fault(Fault::Remote));
        }
    }

    #[test]
    fn silence_counts_only_from_the_start() {
        let blame = |command, answered| DialError::Timeout.blame(command, answered);
        assert_eq!(blame(Command::Connect, true), Blame::Nobody);
        assert_eq!(blame(Command::Connect, false), Blame::Fault(Fault::Remote));
        assert_eq!(
            blame(Command::UdpAssociate, true),
            Blame::Fault(Fault::Remote)
        );
    }

    #[test]
    fn system_errors_have_their_owners() {
        for (code, fault, goes_on) in [
            (libc::ECONNREFUSED, Fault::Remote, true),
            (libc::ECONNRESET, Fault::Remote, true),
            (libc::EHOSTUNREACH, Fault::Remote, true),
            (libc::ENETUNREACH, Fault::NetworkDown, true),
            (libc::EMFILE, Fault::Local, false),
            (libc::EADDRINUSE, Fault::Local, false),
        ] {
            let error = DialError::Io(io::Error::from_raw_os_error(code));
            let blame = error.blame(Command::Connect, false);
            assert_eq!((blame, blame.goes_on()), (Blame::Fault(fault), goes_on));
        }
        for code in [libc::EADDRNOTAVAIL, libc::EPERM, libc::EACCES] {
            let error = DialError::Io(io::Error::from_raw_os_error(code));
            let blame = error.blame(Command::Connect, false);
            assert_eq!((blame, blame.goes_on()), (Blame::Nobody, true));
        }
        let closed = DialError::Io(io::ErrorKind::UnexpectedEof.into());
        let blame = |command, answered| closed.blame(command, answered);
        assert_eq!(blame(Command::Connect, false), Blame::Fault(Fault::Remote));
        assert_eq!(blame(Command::Connect, true), Blame::Nobody);
        let remote = Blame::Fault(Fault::Remote);
        assert_eq!(blame(Command::UdpAssociate, true), remote);
    }
}
