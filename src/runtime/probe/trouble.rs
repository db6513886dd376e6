//! Why a question found no sign of life, and whose fault that was.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

/// Why there was no sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The node's, in a few words without secrets.
    Theirs(Arc<str>),
    /// We had nothing left to ask with: no socket, port or memory. That tells nothing of the node (P6).
    Ours,
}

impl<T: Into<Arc<str>>> From<T> for Trouble {
    fn from(reason: T) -> Self {
        Self::Theirs(reason.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theirs(reason) => f.write_str(reason),
            Self::Ours => f.write_str("nothing left to ask with"),
        }
    }
}

/// A connection to the node.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    TcpStream::connect((host, port)).await.map_err(|error| trouble_of(&error))
}

fn trouble_of(error: &io::Error) -> Trouble {
    // The last is what Linux and macOS say when every local port is taken.
    const OURS: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    let ours = error.raw_os_error().is_some_and(|code| OURS.contains(&code));
    if ours { Trouble::Ours } else { "connect".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_want_of_sockets_is_no_fault_of_the_node() {
        let trouble = |code| trouble_of(&io::Error::from_raw_os_error(code));
        assert_eq!(trouble(libc::EMFILE), Trouble::Ours);
        assert_eq!(trouble(libc::EADDRNOTAVAIL), Trouble::Ours);
        assert_eq!(trouble(libc::ECONNREFUSED), Trouble::from("connect"));
        assert_eq!(trouble(libc::EHOSTUNREACH), Trouble::from("connect"));
    }
}
