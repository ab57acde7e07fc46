//! How much a server bears: floods, huge messages, many connections. Everyone is answered, and memory stays small.

use std::os::unix::net::UnixStream;

use csictl::csi::proto::controller_client::ControllerClient;
use csictl::csi::proto::{DeleteVolumeRequest, ListVolumesRequest, ProbeRequest};
use csictl::csi::server::limits;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::process::csi;
use crate::support::Place;
use crate::support::serving::Serving;

/// Calls of the flood.
const CALLS: usize = 10_000;
/// Its connections.
const CONNECTIONS: usize = 50;
/// What a server may ever have taken of memory, in KiB; an idle one of a debug build has some 30 MiB.
const MEMORY_KIB: u64 = 256 << 10;

fn channel(serving: &Serving) -> Channel {
    Endpoint::from_shared(format!("unix://{}", serving.socket().display())).unwrap().connect_lazy()
}

/// The most memory a process ever had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_thousand_calls_at_once_are_all_answered_in_bounded_memory() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let codes = serving.block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let channel = channel(&serving);
            for _ in 0..CALLS / CONNECTIONS {
                let mut client = ControllerClient::new(channel.clone());
                calls.spawn(async move {
                    let request = ListVolumesRequest { max_entries: 1, ..ListVolumesRequest::default() };
                    client.list_volumes(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
                });
            }
        }
        calls.join_all().await
    });
    assert_eq!(codes.len(), CALLS);
    let answered = codes.iter().filter(|code| **code == Code::Ok).count();
    let turned_away = codes.iter().filter(|code| **code == Code::Unavailable).count();
    assert_eq!(answered + turned_away, CALLS, "{codes:?}");
    assert!(answered >= limits::CALLS, "{answered} answered, {turned_away} turned away");
    let peak = peak(serving.pid());
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    serving.ok(serving.identity().probe(ProbeRequest {}));
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn a_huge_message_is_refused_and_the_next_is_served() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let request = DeleteVolumeRequest { volume_id: "x".repeat(2 * limits::MESSAGE), ..DeleteVolumeRequest::default() };
    let said = serving.refused(Code::ResourceExhausted, serving.controller().delete_volume(request));
    assert!(said.contains("larger than"), "{said}");
    serving.ok(serving.identity().probe(ProbeRequest {}));
    assert!(peak(serving.pid()) < MEMORY_KIB);
}

#[test]
fn more_connections_than_there_are_places_for_are_closed_and_leave_room_when_they_go() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let mut open = Vec::new();
    super::process::until("one more is closed", || {
        open.clear();
        // Who has just come need not leave.
        open = (0..limits::CONNECTIONS).map(|_| UnixStream::connect(serving.socket()).unwrap()).collect();
        !csi(&place, serving.socket(), &["probe"]).status.success()
    });
    assert!(serving.log().contains("refused a connection: too many are open"), "{}", serving.log());
    open.clear();
    super::process::until("there is room again", || csi(&place, serving.socket(), &["probe"]).status.success());
}

#[test]
fn connections_that_say_nothing_lock_nobody_out() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let begun: [&[u8]; 3] = [b"", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let silent: Vec<_> = (0..limits::CONNECTIONS)
        .map(|number| {
            let mut stream = UnixStream::connect(serving.socket()).unwrap();
            // Some begin, and say no more.
            std::io::Write::write_all(&mut stream, begun[number % begun.len()]).unwrap();
            stream
        })
        .collect();

    super::process::until("another one is served", || csi(&place, serving.socket(), &["probe"]).status.success());

    assert_eq!(silent.len(), limits::CONNECTIONS, "all of them are still held at their end");
    serving.ok(serving.identity().probe(ProbeRequest {}));
}

/// A connection of a client that says all that HTTP/2 asks for at the beginning, and then nothing.
fn begun(serving: &Serving) -> UnixStream {
    let mut stream = UnixStream::connect(serving.socket()).unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    std::io::Write::write_all(&mut stream, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat()).unwrap();
    stream
}

#[test]
fn connections_that_begin_and_fall_silent_lock_nobody_out_and_those_that_call_stay() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    // Its own connection has called before the others came.
    serving.ok(serving.identity().probe(ProbeRequest {}));
    let left = |serving: &Serving| serving.log().matches("closed a connection that was silent").count();
    let mut silent: Vec<_> = (0..limits::CONNECTIONS).map(|_| begun(&serving)).collect();
    // One that came and went before leaves its place to one more.
    super::process::until("all places are taken", || {
        silent.push(begun(&serving));
        left(&serving) > 0 || !csi(&place, serving.socket(), &["probe"]).status.success()
    });

    super::process::until("another one is served", || csi(&place, serving.socket(), &["probe"]).status.success());

    // Without it they are let go by the ping that they do not answer, after 80 s. The log is written a moment later.
    super::process::until("it is told", || left(&serving) > 0);
    serving.ok(serving.identity().probe(ProbeRequest {}));
    // One for each newcomer, not all of them.
    assert!(left(&serving) < limits::CONNECTIONS / 2, "{} of {}", left(&serving), silent.len());
}

#[test]
fn whoever_is_closed_unanswered_reads_why() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let mut said = String::new();
    super::process::until("one more is closed", || {
        let _full: Vec<_> = (0..limits::CONNECTIONS).map(|_| UnixStream::connect(serving.socket()).unwrap()).collect();
        let answer = csi(&place, serving.socket(), &["probe", "-o", "json"]);
        said = crate::support::place::said(&answer);
        !answer.status.success()
    });
    assert!(said.contains("closed without an answer") && said.contains("--allow-uid"), "{said}");
    assert!(said.contains("too many") && !said.contains("transport error"), "{said}");
}
