//! The server on its worst day: its caller gives up in the middle, it is told to end in the middle, it meets the command line on the same
//! volumes, and everything at once.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use csictl::csi::proto::{
    CreateSnapshotRequest, CreateVolumeRequest, DeleteSnapshotRequest, DeleteVolumeRequest, ListVolumesRequest,
};
use tonic::{Code, Request};

use super::figures::rounds;
use super::life::{CALLS, EXT4, Life};
use super::oracle::{Canaries, converges, write_canaries};
use super::programs::Instead;
use crate::csi::calls;
use crate::support::Place;
use crate::support::serving::Serving;

fn create(name: &str, fs: &str, mib: i64) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(calls::range(mib << 20, 0)),
        volume_capabilities: vec![calls::mounted(fs, &[])],
        parameters: [("allocate".to_owned(), "sparse".to_owned())].into(),
        ..Default::default()
    }
}

#[test]
fn a_caller_gone_or_late_in_mid_mkfs_finds_the_work_done_when_it_asks_again() {
    let place = Place::new();
    let slow = Instead::slow(&place, "mkfs.xfs", 1.0);
    let serving = Serving::start(&place, &[]);
    let mut late = Request::new(create("late", "xfs", 300));
    late.set_timeout(Duration::from_millis(100));
    let code = serving.call(serving.controller().create_volume(late)).unwrap_err().code();
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&code), "{code:?}");
    serving.block_on(async {
        let mut controller = serving.controller();
        let gone =
            tokio::time::timeout(Duration::from_millis(100), controller.create_volume(create("gone", "xfs", 300)));
        assert!(gone.await.is_err(), "the caller went away in the middle");
    });
    for name in ["late", "gone"] {
        let begun = Instant::now();
        loop {
            match serving.call(serving.controller().create_volume(create(name, "xfs", 300))) {
                Ok(_) => break,
                Err(status) => assert_eq!(status.code(), Code::Aborted, "{}", status.message()),
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{name} never ends");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_eq!(slow.said().iter().filter(|line| *line == "begin").count(), 2, "one mkfs a volume: {:?}", slow.said());
}

#[test]
fn a_server_told_to_end_in_mid_mkfs_finishes_the_call_and_keeps_its_mounts() {
    let mut life = Life::new(EXT4);
    life.lead(0, 4);
    let mounts = life.place.mounts();
    let slow = Instead::slow(&life.place, "mkfs.xfs", 1.0);
    let serving = life.serving.take().unwrap();
    // The first server sees the program that was there before: this one is started after.
    assert_eq!(serving.end(), Some(0));
    let serving = Serving::start(&life.place, &[]);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(serving.pid()).unwrap());
    let answer = serving.block_on(async {
        let mut controller = serving.controller();
        let call = tokio::spawn(async move { controller.create_volume(create("pvc-9", "xfs", 300)).await });
        while slow.said().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        call.await.unwrap()
    });
    let id = answer.expect("the running call is answered").into_inner().volume.unwrap().volume_id;
    let socket = serving.socket().clone();
    let begun = Instant::now();
    // A second signal would end it at once.
    while !std::fs::read_to_string(format!("/proc/{}/stat", serving.pid())).unwrap().contains(") Z") {
        assert!(begun.elapsed() < Duration::from_secs(40), "it does not end: {}", serving.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(serving.end(), Some(0));
    assert!(!socket.exists(), "the socket is left");
    assert_eq!(life.place.mounts(), mounts);
    life.revive();
    let delete = DeleteVolumeRequest { volume_id: id, ..Default::default() };
    life.server().ok(life.server().controller().delete_volume(delete));
    let verdict = life.ends_well(4);
    assert!(verdict.wrong.is_empty(), "{:?}", verdict.wrong);
    assert_eq!(CALLS[3].0, "NodePublishVolume");
}

const MANIFEST: &str = "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.one]\ncapacity = \"16MiB\"\n\
    image = { allocate = \"sparse\" }\n[volumes.two]\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\n\
    [pods.a]\nroot = \"a\"\n[[pods.a.mounts]]\nvolume = \"one\"\npath = \"/one\"\n[[pods.a.mounts]]\nvolume = \"two\"\npath = \"/two\"\n";

#[test]
fn eight_processes_on_one_volume_make_one_mount_and_one_loop() {
    for _ in 0..rounds(3, 60) {
        let place = Place::new();
        place.write("m.toml", MANIFEST);
        for words in [&["apply", "m.toml", "--yes"][..], &["destroy", "m.toml", "--yes"]] {
            let mut eight: Vec<_> = (0..8)
                .map(|_| {
                    let mut csictl = place.csictl();
                    csictl.args(["--lock-timeout", "60s"]).args(words).stdout(Stdio::null()).stderr(Stdio::piped());
                    csictl.spawn().unwrap()
                })
                .collect();
            for csictl in eight.drain(..) {
                let output = csictl.wait_with_output().unwrap();
                assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
            let up = usize::from(words[0] == "apply");
            assert_eq!((place.loops().len(), place.mounts().len()), (2 * up, 4 * up), "{:?}", place.mounts());
        }
        converges(&place, "m.toml", &Canaries::new(), "eight processes");
    }
}

/// What a caller was answered: how often, and with what codes when not with what it asked for.
struct Seen {
    codes: Vec<Code>,
    answers: Arc<AtomicUsize>,
}

impl Seen {
    fn answer<T>(&mut self, answer: Result<tonic::Response<T>, tonic::Status>) -> Option<T> {
        // A connection that is gone answers nothing; its code fails the test in the end.
        let came = !matches!(&answer, Err(status) if [Code::Unavailable, Code::Unknown].contains(&status.code()));
        self.answers.fetch_add(usize::from(came), Ordering::Relaxed);
        answer.map_err(|status| self.codes.push(status.code())).ok().map(tonic::Response::into_inner)
    }
}

/// Apply, destroy, status, gc and snapshots of the command line, and an orchestrator's whole lives, all on one state directory at once.
fn stress(time: Duration) {
    let place = Place::new();
    place.write("m.toml", MANIFEST);
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one", "a/two"]);
    let serving = Serving::start(&place, &[]);
    let (over, commands) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (answers, read_back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let lines: [&[&str]; 6] = [
        &["apply", "m.toml", "--yes"],
        &["destroy", "m.toml", "--yes"],
        &["status"],
        &["gc", "--yes"],
        &["get", "volumes"],
        &["plan", "m.toml"],
    ];
    let begun = Instant::now();
    let end = || over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for words in lines {
            let (place, commands, end) = (&place, &commands, &end);
            scope.spawn(move || {
                while !end() {
                    let (code, said) = place.exit(words);
                    // What two that undo each other's work may hear: done, somebody was quicker, locked.
                    assert!([0, 1, 5, 6, 7].contains(&code), "{words:?}: {code}: {said}");
                    assert!(!said.contains("panicked"), "{words:?}: {said}");
                    commands.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let over = &over;
        serving.block_on(async {
            let mut running = tokio::task::JoinSet::new();
            for n in 0..4 {
                let (mut controller, mut node) = (serving.controller(), serving.node());
                let (answers, read_back) = (answers.clone(), read_back.clone());
                let (stage, target) = (place.join(format!("stage-{n}")), place.join(format!("target-{n}")));
                std::fs::create_dir_all(&stage).unwrap();
                running.spawn(async move {
                    let capability = calls::mounted("ext4", &[]);
                    let mut seen = Seen { codes: Vec::new(), answers };
                    for round in 0.. {
                        if begun.elapsed() >= time {
                            break;
                        }
                        // Two of the four share a name: one of them is told to come back.
                        let name = format!("pvc-{}", n.min(2));
                        let Some(created) = seen.answer(controller.create_volume(create(&name, "ext4", 16)).await)
                        else {
                            continue;
                        };
                        let id = created.volume.unwrap().volume_id;
                        let text = format!("written by {n} in round {round}\n").repeat(64);
                        let mut written = false;
                        for _stage in 0..2 {
                            seen.answer(node.node_stage_volume(calls::stage(&id, &stage, &capability)).await);
                            let publish = calls::publish(&id, &stage, &target, &capability, false);
                            let up = seen.answer(node.node_publish_volume(publish).await).is_some();
                            let canary = target.join("canary");
                            if up && !written {
                                std::fs::write(&canary, &text).unwrap();
                                written = true;
                            }
                            let snapshot = CreateSnapshotRequest {
                                source_volume_id: "p.one".into(),
                                name: format!("s-{n}"),
                                ..Default::default()
                            };
                            if let Some(answer) = seen.answer(controller.create_snapshot(snapshot).await) {
                                let snapshot_id = answer.snapshot.unwrap().snapshot_id;
                                let delete = DeleteSnapshotRequest { snapshot_id, ..Default::default() };
                                seen.answer(controller.delete_snapshot(delete).await);
                            }
                            if up && written {
                                let found = std::fs::read_to_string(&canary).unwrap_or_default();
                                assert_eq!(found, text, "{name} lost what was written to it");
                                read_back.fetch_add(1, Ordering::Relaxed);
                            }
                            seen.answer(node.node_unpublish_volume(calls::unpublish(&id, &target)).await);
                            seen.answer(node.node_unstage_volume(calls::unstage(&id, &stage)).await);
                            // Somebody who shares the name may delete it now, and make it anew.
                            written &= n < 2;
                        }
                        let delete = DeleteVolumeRequest { volume_id: id, ..Default::default() };
                        seen.answer(controller.delete_volume(delete).await);
                    }
                    seen.codes
                });
            }
            while let Some(seen) = running.join_next().await {
                for code in seen.unwrap() {
                    // Pending elsewhere, in use, staged by the other, or gone meanwhile: never UNKNOWN or INTERNAL.
                    let expected = [Code::Aborted, Code::FailedPrecondition, Code::AlreadyExists, Code::NotFound];
                    assert!(expected.contains(&code), "{code:?}");
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    assert!(commands.load(Ordering::Relaxed) > 6 && answers.load(Ordering::Relaxed) > 0);
    assert!(read_back.load(Ordering::Relaxed) > 0, "no volume was ever read back");
    for n in 0..4 {
        for id in serving.ok(serving.controller().list_volumes(ListVolumesRequest::default())).entries {
            let id = id.volume.unwrap().volume_id;
            if id.starts_with("p.") {
                continue;
            }
            let target = place.join(format!("target-{n}"));
            serving.ok(serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));
            let _ = serving
                .call(serving.node().node_unstage_volume(calls::unstage(&id, &place.join(format!("stage-{n}")))));
        }
    }
    for entry in serving.ok(serving.controller().list_volumes(ListVolumesRequest::default())).entries {
        let volume_id = entry.volume.unwrap().volume_id;
        if !volume_id.starts_with("p.") {
            let delete = DeleteVolumeRequest { volume_id, ..Default::default() };
            serving.ok(serving.controller().delete_volume(delete));
        }
    }
    assert_eq!(serving.end(), Some(0));
    converges(&place, "m.toml", &canaries, "everything at once");
    told(&format!(
        "stress: {:?}, {} commands, {} calls answered, {} canaries read back, nothing lost",
        begun.elapsed(),
        commands.load(Ordering::Relaxed),
        answers.load(Ordering::Relaxed),
        read_back.load(Ordering::Relaxed)
    ));
}

#[expect(clippy::print_stderr, reason = "the figures are what the long form is run for")]
fn told(line: &str) {
    eprintln!("faults: {line}");
}

#[test]
fn everything_at_once_loses_nothing() {
    stress(Duration::from_secs(u64::try_from(rounds(4, 180)).unwrap()));
}

/// The most memory a process that still runs has held, in KiB.
fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn more_calls_in_flight_than_are_let_in_cost_bounded_memory_and_lose_nothing() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    serving.ok(serving.controller().create_volume(create("kept", "ext4", 16)));
    let before = memory(serving.pid()).unwrap();
    let calls = rounds(1_000, 10_000);
    let begun = Instant::now();
    let (served, refused) = serving.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for n in 0..calls {
            let mut controller = serving.controller();
            running.spawn(async move {
                match n % 2 {
                    0 => controller.list_volumes(ListVolumesRequest::default()).await.map(drop),
                    _ => controller.create_volume(create("kept", "ext4", 16)).await.map(drop),
                }
            });
        }
        let (mut served, mut refused) = (0, 0);
        while let Some(answer) = running.join_next().await {
            match answer.unwrap() {
                Ok(()) => served += 1,
                Err(status) => {
                    let expected = [Code::Aborted, Code::ResourceExhausted, Code::Unavailable];
                    assert!(expected.contains(&status.code()), "{status:?}");
                    refused += 1;
                }
            }
        }
        (served, refused)
    });
    assert_eq!(served + refused, calls, "every call is answered");
    let after = memory(serving.pid()).unwrap();
    told(&format!(
        "{calls} calls at once in {:?}: {served} served, {refused} refused, server's VmHWM {before} KiB, then {after} KiB",
        begun.elapsed()
    ));
    assert!(after < 256 * 1024, "the server held {after} KiB");
    let listed = serving.ok(serving.controller().list_volumes(ListVolumesRequest::default()));
    assert_eq!(listed.entries.len(), 1);
}

/// Each of these calls takes locks, a lane and a place on the disk, more of them at once than are let in.
#[test]
fn volumes_made_and_deleted_all_at_once_are_all_made_and_all_gone() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let volumes = rounds(300, 2_000);
    let before = memory(serving.pid()).unwrap();
    let begun = Instant::now();
    let again = [Code::Aborted, Code::ResourceExhausted, Code::Unavailable];
    let turned_away = serving.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for n in 0..volumes {
            let mut controller = serving.controller();
            running.spawn(async move {
                let mut turned_away = 0;
                let mut request = create(&format!("tiny-{n}"), "ext4", 1);
                request.volume_capabilities = vec![calls::block()];
                let id = loop {
                    match controller.create_volume(request.clone()).await {
                        Ok(answer) => break answer.into_inner().volume.unwrap().volume_id,
                        Err(status) => assert!(again.contains(&status.code()), "{status:?}"),
                    }
                    turned_away += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                };
                loop {
                    let request = DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
                    match controller.delete_volume(request).await {
                        Ok(_) => break turned_away,
                        Err(status) => assert!(again.contains(&status.code()), "{status:?}"),
                    }
                    turned_away += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        running.join_all().await.into_iter().sum::<usize>()
    });
    let held = memory(serving.pid()).unwrap();
    told(&format!(
        "{volumes} volumes made and deleted at once in {:?}: {turned_away} calls turned away, server's VmHWM {before} KiB, then {held} KiB",
        begun.elapsed()
    ));
    assert!(held < 256 * 1024, "the server held {held} KiB");
    assert_eq!(serving.ok(serving.controller().list_volumes(ListVolumesRequest::default())).entries.len(), 0);
    assert_eq!(serving.end(), Some(0));
    for folder in [place.state().join("volumes"), place.state().join("pool"), place.run().join("room")] {
        let left: Vec<_> =
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(place.loops().len(), 0);
}

#[test]
fn many_volumes_go_up_and_down_and_many_records_are_listed() {
    let (volumes, records) = (rounds(100, 2_000), rounds(500, 10_000));
    let place = Place::new();
    let mut text = "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[pods.a]\nroot = \"a\"\n".to_owned();
    for n in 0..volumes {
        text += &format!(
            "[volumes.v{n}]\ncapacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\n\
             [[pods.a.mounts]]\nvolume = \"v{n}\"\npath = \"/v{n}\"\n"
        );
    }
    place.write("m.toml", &text);
    let timed = |words: &[&str]| {
        let begun = Instant::now();
        let mut csictl = place.csictl();
        let mut run = csictl.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut most = 0;
        let status = loop {
            // A process that has ended has no memory to tell of.
            most = most.max(memory(run.id()).unwrap_or(0));
            if let Some(status) = run.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        assert!(status.success(), "{words:?}: {status}");
        told(&format!("{} with {volumes} up or to be: {:?}, VmHWM {most} KiB", words[0], begun.elapsed()));
        assert!(most < 512 * 1024, "{words:?} held {most} KiB");
    };
    timed(&["apply", "m.toml", "--yes"]);
    assert_eq!(place.loops().len(), volumes);
    timed(&["status"]);
    timed(&["destroy", "m.toml", "--yes"]);
    assert_eq!((place.loops().len(), place.mounts().len()), (0, 0));
    // Records alone: one that is there under as many names.
    let folder = place.state().join("volumes");
    let one: csictl::model::record::VolumeRecord =
        match csictl::state::record::decode(&std::fs::read(folder.join("p.v0.json")).unwrap(), "p.v0") {
            csictl::model::record::Recorded::Present(record) => record,
            other => panic!("{other:?}"),
        };
    for n in volumes..records {
        let mut record = one.clone();
        record.spec.id = format!("p.v{n}").parse().unwrap();
        record.spec.name = format!("v{n}");
        std::fs::write(folder.join(format!("p.v{n}.json")), csictl::state::record::encode(&record)).unwrap();
    }
    timed(&["get", "volumes"]);
    let serving = Serving::start(&place, &[]);
    let begun = Instant::now();
    let (mut listed, mut token) = (0, String::new());
    loop {
        let request = ListVolumesRequest { max_entries: 1_000, starting_token: token };
        let answer = serving.ok(serving.controller().list_volumes(request));
        listed += answer.entries.len();
        token = answer.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, records);
    let held = memory(serving.pid()).unwrap();
    told(&format!("{records} records listed over gRPC in {:?}, server's VmHWM {held} KiB", begun.elapsed()));
    assert!(held < 256 * 1024, "the server held {held} KiB");
}
