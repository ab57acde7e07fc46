//! A server started by hand, with an environment of its own, for tests of how it begins and ends; and things that make it slow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Place;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A process that is killed with its test.
pub struct Process(pub Child);

impl Process {
    /// Its id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        until("it ends", || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Waits for its end and answers all it said on stderr.
    pub fn said(&mut self) -> (Option<i32>, String) {
        let status = self.wait();
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status.code(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `csictl serve` with these words, not waited for.
pub fn serve(place: &Place, words: &[&str]) -> Command {
    let mut command = place.csictl();
    command.args(["serve", "--node-id", "node-1"]).args(words);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// One call through csictl's own client.
pub fn csi(place: &Place, socket: &Path, words: &[&str]) -> Output {
    place.csictl().arg("csi").arg("--endpoint").arg(socket).args(words).output().unwrap()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address nobody listens at.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Head and body of a page.
pub fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// A pool on a file system of its own that can be frozen: whoever writes to it waits.
pub struct SlowPool {
    path: PathBuf,
    frozen: bool,
}

impl SlowPool {
    /// The pool, and a configuration that has volumes made in it.
    pub fn new(place: &Place) -> (Self, PathBuf) {
        let (image, path) = (place.join("slow.fs"), place.join("slow"));
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        std::fs::create_dir(&path).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&path));
        let config = format!("version = 1\n[pools.slow]\npath = \"{}\"\n", path.display());
        (Self { path, frozen: false }, place.write("storage.toml", &config))
    }

    pub fn freeze(&mut self) {
        run(Command::new("fsfreeze").arg("-f").arg(&self.path));
        self.frozen = true;
    }

    pub fn thaw(&mut self) {
        self.frozen = false;
        run(Command::new("fsfreeze").arg("-u").arg(&self.path));
    }
}

impl Drop for SlowPool {
    fn drop(&mut self) {
        if self.frozen {
            self.thaw();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
