//! Who may speak to the server: root, the user it runs as, and those named with `--allow-uid`, as the kernel says they are
//! (SO_PEERCRED), whatever they say themselves.

use std::collections::BTreeSet;
use std::io;

use tokio::net::{UnixListener, UnixStream};

/// The users whose connections are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPeers(BTreeSet<u32>);

impl AllowedPeers {
    /// Root, the server's own user, and these.
    pub fn with(own: u32, further: impl IntoIterator<Item = u32>) -> Self {
        Self([0, own].into_iter().chain(further).collect())
    }

    /// Whether this user is served.
    pub fn allows(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

/// The next connection of a user who may speak; others are closed unanswered and told in the log.
///
/// # Errors
/// When the listener itself fails.
pub async fn accept(listener: &UnixListener, allowed: &AllowedPeers) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        match stream.peer_cred() {
            Ok(peer) if allowed.allows(peer.uid()) => return Ok(stream),
            Ok(peer) => tracing::warn!(uid = peer.uid(), pid = peer.pid(), "refused a connection: user not allowed"),
            Err(error) => tracing::warn!(%error, "refused a connection: its user can't be told"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_served() {
        let allowed = AllowedPeers::with(500, [1000]);
        assert!(allowed.allows(0) && allowed.allows(500) && allowed.allows(1000));
        assert!(!allowed.allows(1001));
    }
}
