//! The unix socket: made with mode 0600 from its first moment, never taken from a server that still answers, removed when the
//! server ends. A socket that systemd passes is used as it is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use thiserror::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// How long another server may take to be gone.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// Why there is no socket to serve on.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The endpoint is no unix socket.
    #[error("endpoint '{0}': use unix:///path/to/csi.sock; csictl serves no network")]
    Endpoint(String),
    /// Another server has it.
    #[error("{}: another csictl serves here; stop it first, or give another --endpoint", .0.display())]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{}: there is a file that is no socket; remove it or give another --endpoint", .0.display())]
    NotASocket(PathBuf),
    /// The system said no.
    #[error("{act} {}: {error}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

/// The path of an endpoint: `unix:///run/csi.sock`, `unix:/run/csi.sock` or a bare absolute path.
///
/// # Errors
/// [`SocketError::Endpoint`] for anything else.
pub fn path_of(endpoint: &str) -> Result<PathBuf, SocketError> {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    if path.starts_with('/') { Ok(path.into()) } else { Err(SocketError::Endpoint(endpoint.to_owned())) }
}

/// A socket that listens. Dropping it removes its file, unless systemd owns it.
#[derive(Debug)]
pub struct Socket {
    /// `None` once it is closed.
    listener: Option<UnixListener>,
    file: Option<(PathBuf, File)>,
}

impl Socket {
    /// Binds the socket at `path`, taking the place of one whose server is gone.
    ///
    /// # Errors
    /// [`SocketError::InUse`] when a server still answers there or holds the lock beside it.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let fail = |act, path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| SocketError::Io { act, path, error }
        };
        if let Some(parent) = path.parent() {
            // Whoever may write to a directory above may put a socket of his own in place of this one, so a umask has no say.
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fail("make directory", parent))?;
        }
        // The lock outlives a crash only as an unlocked file, so a stale socket is told from a live one without a race.
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let mut options = OpenOptions::new();
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NONBLOCK)
            .open(&lock_path);
        let lock = lock.map_err(fail("open lock", &lock_path))?;
        // A server that was just killed has the lock, and after it the socket, until the kernel has taken all of it down.
        let until = Instant::now() + PATIENCE;
        if !is_so(until, || flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            return Err(SocketError::InUse(path.to_owned()));
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail("look at", path)(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
            Ok(_) if !is_so(until, || UnixStream::connect(path).is_err()) => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(fail("remove stale socket", path))?,
        }
        let listener = private_listener(path).map_err(|e| fail("bind", path)(e.into()))?;
        Ok(Self { listener: Some(listener), file: Some((path.to_owned(), lock)) })
    }

    /// A socket that was passed by systemd.
    pub fn passed(listener: UnixListener) -> Self {
        Self { listener: Some(listener), file: None }
    }

    /// Where it is, as endpoints are written; `None` for a socket without a name.
    pub fn endpoint(&self) -> Option<String> {
        let address = self.listener.as_ref()?.local_addr().ok()?;
        Some(format!("unix://{}", address.as_pathname()?.display()))
    }

    /// Stops listening and removes the file; whoever knocks is told that nobody is there. The lock stays until this is dropped, so that no
    /// other server begins while this one ends. A socket of systemd's stays as it is: it listens for the next server.
    pub fn close(&mut self) {
        self.listener = None;
        if let Some((path, _)) = &self.file {
            let _ = fs::remove_file(path);
        }
    }

    /// A second handle on the listener, for the server to accept on.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

/// Whether something is so by then at the latest.
fn is_so(until: Instant, check: impl Fn() -> bool) -> bool {
    while !check() {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}

/// The mode is set on the socket before it has a name, so the name never exists with another one.
fn private_listener(path: &Path) -> rustix::io::Result<UnixListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.listener.is_some() {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_socket_is_private_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/csi.sock");
        let socket = Socket::bind(&path).unwrap();
        for made in ["deep", "deep/er"] {
            let mode = fs::metadata(folder.path().join(made)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_server_is_refused_and_the_first_still_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let _first = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_server_that_is_being_taken_down_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let gone_after = |server: Box<dyn Send>| {
            thread::spawn(move || {
                thread::sleep(PATIENCE / 10);
                drop(server);
            })
        };
        // Its lock first, then its socket: a killed one loses them in that order.
        let going = gone_after(Box::new(Socket::bind(&path).unwrap()));
        drop(Socket::bind(&path).unwrap());
        going.join().unwrap();
        let going = gone_after(Box::new(UnixListener::bind(&path).unwrap()));
        drop(Socket::bind(&path).unwrap());
        going.join().unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_plain_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        assert!(Socket::bind(&stale).is_ok());
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(Socket::bind(&file), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn only_unix_endpoints_are_served() {
        assert_eq!(path_of("unix:///run/x.sock").unwrap(), Path::new("/run/x.sock"));
        assert_eq!(path_of("unix:/run/x.sock").unwrap(), Path::new("/run/x.sock"));
        assert!(path_of("tcp://0.0.0.0:1").is_err());
        assert!(path_of("unix://relative").is_err());
    }
}
