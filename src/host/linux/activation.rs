//! Socket activation (sd_listen_fds(3)): a service manager may have made the socket already and passes it as descriptor 3. What is
//! passed is looked at before it is used.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use super::sys;

/// The descriptor that is passed first.
const FIRST: i32 = 3;

/// The listening socket that was passed to this process, if one was. Ask once: the descriptor changes hands.
///
/// # Errors
/// When what was passed is not exactly one listening unix stream socket.
pub fn passed() -> io::Result<Option<UnixListener>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    // The variables are inherited: only those that name this process are for it.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(more) => return Err(io::Error::other(format!("{more} sockets were passed; csictl serves one"))),
    }
    let socket = sys::inherited(FIRST)?;
    let wrong = |what: &str| Err(io::Error::other(format!("descriptor {FIRST} was passed and is no {what}")));
    let socket_facts = |fd: std::os::fd::BorrowedFd<'_>| -> rustix::io::Result<_> {
        Ok((socket_domain(fd)?, socket_type(fd)?, socket_acceptconn(fd)?))
    };
    match socket_facts(socket.as_fd()) {
        Ok((AddressFamily::UNIX, SocketType::STREAM, true)) => {}
        Ok((AddressFamily::UNIX, SocketType::STREAM, false)) => return wrong("socket that listens"),
        Ok(_) | Err(_) => return wrong("unix stream socket"),
    }
    Ok(Some(UnixListener::from(socket)))
}
