//! Service managers: a socket that is passed, notices of how the server is.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::process::{PATIENCE, Process, csi, serve, until};
use crate::support::Place;
use crate::support::place::said;

/// A server that is given `descriptor` as a service manager gives it.
fn activated(place: &Place, descriptor: OwnedFd) -> Process {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --node-id n 3<&0 </dev/null"]);
    command.arg(env!("CARGO_BIN_EXE_csictl")).env_clear();
    command.env("CSICTL_STATE_DIR", place.state()).env("CSICTL_RUN_DIR", place.run());
    command.stdin(Stdio::from(descriptor)).stdout(Stdio::null()).stderr(Stdio::piped());
    Process(command.spawn().unwrap())
}

#[test]
fn a_passed_socket_is_served_and_left_for_the_next_server() {
    let place = Place::new();
    let socket = place.join("passed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    for _ in 0..2 {
        let mut server = activated(&place, listener.try_clone().unwrap().into());
        let output = csi(&place, &socket, &["get-plugin-info", "--timeout", "20s"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        server.signal(Signal::SIGTERM);
        let (code, text) = server.said();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(socket.to_str().unwrap()), "the log names the socket that is served: {text}");
        assert!(socket.exists());
    }
}

#[test]
fn what_is_passed_has_to_be_a_listening_unix_stream_socket() {
    let place = Place::new();
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let datagram: OwnedFd = UnixDatagram::unbound().unwrap().into();
    let (connected, _other) = UnixStream::pair().unwrap();
    let network: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    for descriptor in [file, datagram, connected.into(), network] {
        let (code, text) = activated(&place, descriptor).said();
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("descriptor 3") && text.contains("ListenStream="), "{text}");
    }
}

fn notices(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_alive_and_ending() {
    let place = Place::new();
    let socket = place.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let endpoint = place.join("csi.sock");
    let mut command = serve(&place, &["--endpoint", endpoint.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut server = Process(command.spawn().unwrap());
    let ready = notices(&manager);
    assert!(ready.starts_with("READY=1\n") && ready.contains(endpoint.to_str().unwrap()), "{ready}");
    assert!(Path::new(&endpoint).exists(), "ready means that it can be called");
    assert_eq!(notices(&manager), "WATCHDOG=1\n");
    server.signal(Signal::SIGTERM);
    let mut last = String::new();
    until("it says that it ends", || {
        last = notices(&manager);
        last.starts_with("STOPPING=1\n")
    });
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_socket_for_another_process_is_not_taken() {
    let place = Place::new();
    let endpoint = place.join("csi.sock");
    let mut command = serve(&place, &["--endpoint", endpoint.to_str().unwrap()]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let server = Process(command.spawn().unwrap());
    until("it listens", || endpoint.exists());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(csi(&place, &endpoint, &["get-plugin-info"]).status.code(), Some(0));
    drop(server);
}
