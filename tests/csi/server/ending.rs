//! How a server ends, and deadlines: work outlives the call and the caller.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process::{Process, SlowPool, csi, free_address, get, serve, until};
use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

const CREATE: [&str; 9] = [
    "create-volume",
    "--name",
    "v",
    "--required-bytes",
    "16MiB",
    "--cap",
    "SINGLE_NODE_WRITER,mount,ext4",
    "--params",
    "allocate=sparse",
];

/// A server whose volumes lie in a pool that can be frozen.
fn slow(place: &Place, flags: &[&str]) -> (SlowPool, Process, std::path::PathBuf) {
    let (pool, config) = SlowPool::new(place);
    let socket = place.join("csi.sock");
    let mut words = vec!["--config", config.to_str().unwrap(), "--endpoint", socket.to_str().unwrap()];
    words.extend(flags);
    let server = Process(serve(place, &words).spawn().unwrap());
    until("it answers", || csi(place, &socket, &["probe"]).status.success());
    (pool, server, socket)
}

#[test]
fn a_passed_deadline_drops_no_work_and_the_retry_finds_it() {
    let place = Place::new();
    let (mut pool, _server, socket) = slow(&place, &[]);
    pool.freeze();
    let begun = Instant::now();
    let late = csi(&place, &socket, &[&CREATE[..], &["--timeout", "300ms"]].concat());
    assert_eq!(late.status.code(), Some(104), "{}", said(&late));
    assert!(begun.elapsed() < Duration::from_secs(10));
    let again = csi(&place, &socket, &CREATE);
    assert_eq!(again.status.code(), Some(110), "it is still being made: {}", said(&again));
    let other = csi(&place, &socket, &["get-plugin-info"]);
    assert_eq!(other.status.code(), Some(0), "nobody else waits");
    pool.thaw();
    until("the retry finds it made", || csi(&place, &socket, &CREATE).status.success());
}

#[test]
fn sigterm_lets_running_calls_end_and_takes_no_new_ones() {
    let place = Place::new();
    let address = free_address();
    let (mut pool, mut server, socket) = slow(&place, &["--metrics-addr", &address.to_string()]);
    pool.freeze();
    let answer = std::thread::scope(|scope| {
        // Owned here: should the test fail, the pool thaws before the call is waited for.
        let mut pool = pool;
        let call = scope.spawn(|| csi(&place, &socket, &CREATE));
        until("the call runs", || get(address, "/metrics").1.contains("csictl_lane_running{lane=\"mkfs\"} 1"));
        server.signal(Signal::SIGTERM);
        until("nobody new is let in", || csi(&place, &socket, &["get-plugin-info"]).status.code() == Some(114));
        assert!(!socket.exists(), "the socket is gone");
        assert!(server.0.try_wait().unwrap().is_none(), "it waits for the call");
        pool.thaw();
        call.join().unwrap()
    });
    assert_eq!(answer.status.code(), Some(0), "{}", said(&answer));
    assert_eq!(server.said().0, Some(0));
    assert!(place.ok(&["get", "volumes", "-o", "name"]).contains("vol-"));
}

#[test]
fn the_time_to_end_is_bounded_and_a_second_signal_ends_it_at_once() {
    for (flags, signals, code, said) in [
        (&["--drain-timeout", "200ms"][..], 1, 0, "the time to finish is over"),
        (&["--drain-timeout", "1h"], 2, 143, "leaving at once"),
    ] {
        let place = Place::new();
        let (mut pool, mut server, socket) = slow(&place, flags);
        pool.freeze();
        let late = csi(&place, &socket, &[&CREATE[..], &["--timeout", "100ms"]].concat());
        assert_eq!(late.status.code(), Some(104));
        for _ in 0..signals {
            server.signal(Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(1500));
        }
        // A process whose thread waits in the kernel for a frozen file system can't be gone before that thaws.
        pool.thaw();
        let (ended, log) = server.said();
        assert_eq!(ended, Some(code), "{log}");
        assert!(log.contains(said), "{log}");
        assert!(!socket.exists());
    }
}

#[test]
fn slow_and_idle_clients_hold_nothing_up_and_mounts_stay() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let socket = serving.socket().clone();
    let _silent = UnixStream::connect(&socket).unwrap();
    let mut halting = UnixStream::connect(&socket).unwrap();
    halting.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let _idle: Vec<_> = (0..10).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let mounted = place.join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    nix::mount::mount(Some("tmpfs"), &mounted, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    let begun = Instant::now();
    assert_eq!(serving.end(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(place.mounts(), [mounted]);
    assert!(!socket.exists());
}
