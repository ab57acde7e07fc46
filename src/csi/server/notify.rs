//! Tells the service manager how the server is (sd_notify): one datagram to the socket named in NOTIFY_SOCKET, nothing where there
//! is none.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Calls are served.
    Ready,
    /// No new calls; running ones are finished.
    Stopping,
}

/// Tells it. Without a service manager this does nothing.
///
/// # Errors
/// When NOTIFY_SOCKET is set but nobody takes the message.
pub fn notify(notice: Notice) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let text = match notice {
        Notice::Ready => "READY=1\n",
        Notice::Stopping => "STOPPING=1\n",
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}
