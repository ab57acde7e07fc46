//! What a call may cost: nothing that grows with the mounts and loop devices of the machine. Counted in the calls to the kernel, not clocked.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use csictl::model::FsType;

use super::Rig;
use crate::csi::calls;
use crate::csi::calls::{block, mounted};

#[test]
fn no_call_walks_the_mount_table_or_the_loop_devices() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    let trace = rig.path("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=openat,open,execve", "-o"])
        .arg(&trace)
        .args(["-p", &rig.serving.pid().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Traced from its first opened file on; until then calls are made that cost nothing.
    let warm = rig.staging(&id);
    while !fs::read_to_string(&trace).unwrap_or_default().contains("vol-1") {
        let _ = rig.serving.call(rig.serving.node().node_get_volume_stats(calls::stats(&id, &warm)));
        std::thread::sleep(Duration::from_millis(20));
    }
    for (id, capability) in [(&id, mounted("", &[])), (&raw, block())] {
        for _ in 0..3 {
            rig.stage(id, &capability);
            let target = rig.publish(id, &capability, false);
            rig.serving.ok(rig.serving.node().node_get_volume_stats(calls::stats(id, &target)));
            rig.down(id);
        }
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(strace.id()).unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    strace.wait().unwrap();
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("vol-raw.img"), "nothing was traced: {trace}");
    for walk in ["mountinfo", "/proc/mounts", "\"/sys/block\"", "execve"] {
        let lines: Vec<&str> = trace.lines().filter(|line| line.contains(walk)).collect();
        assert_eq!(lines, Vec::<&str>::new(), "{walk}");
    }
}
