//! Tells the service manager how the server is (sd_notify(3)): one datagram to the socket named in NOTIFY_SOCKET, nothing where there
//! is none.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Calls are served, at this endpoint.
    Ready(String),
    /// No new calls; running ones are finished.
    Stopping,
    /// It still turns.
    Watchdog,
}

impl Notice {
    fn text(&self) -> String {
        match self {
            Self::Ready(endpoint) => format!("READY=1\nSTATUS=serving at {endpoint}\n"),
            Self::Stopping => "STOPPING=1\nSTATUS=finishing the calls that run\n".to_owned(),
            Self::Watchdog => "WATCHDOG=1\n".to_owned(),
        }
    }
}

/// Tells it. Without a service manager this does nothing.
///
/// # Errors
/// When NOTIFY_SOCKET is set but nobody takes the message.
pub fn notify(notice: &Notice) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(notice.text().as_bytes(), &address)?;
    Ok(())
}

/// How often the service manager wants to hear from this process: half of what it allows (sd_watchdog_enabled(3)).
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 1)?;
    Some(Duration::from_micros(micros / 2))
}
