//! Manifests that the properties are held against.

/// Every backing, every file system, two pods, nested targets, a snapshot, a clone and a restore.
pub const RICH: &str = r#"
version = 1
project = "shop"

[pools.main]
path = "/srv/pool"

[volumes.assets]
capacity = "64MiB"
access_mode = "single-node-multi-writer"
image = { allocate = "sparse" }
owner = "33:33"
mode = "0750"

[volumes.pgdata]
capacity = "128MiB"
image = { allocate = "full" }
fs = { type = "ext4", label = "pgdata" }
prevent_destroy = true

[volumes.logs]
capacity = "300MiB"
image = { allocate = "sparse" }
fs = { type = "xfs" }
mount_options = ["noatime"]

[volumes.media]
capacity = "128MiB"
image = { allocate = "sparse" }
fs = { type = "btrfs" }

[volumes.rawdisk]
volume_mode = "block"
capacity = "32MiB"

[volumes.archive]
device = { path = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", expect = { serial = "ZA1234" } }
fs = { type = "xfs" }

[volumes.uploads]
directory = { path = "/srv/uploads", create = true }

[volumes.scratch]
tmpfs = { size = "16MiB" }

[volumes.assets-test]
source = { volume = "assets" }
capacity = "96MiB"
reclaim = "delete"
image = { allocate = "sparse" }

[volumes.logs-restored]
source = { snapshot = "before" }
capacity = "300MiB"
image = { allocate = "sparse" }

[snapshots.before]
volume = "logs"

[pods.db]
fs_group = 999
[[pods.db.mounts]]
volume = "pgdata"
path = "/srv/pods/db/data"
[[pods.db.mounts]]
volume = "scratch"
path = "/srv/pods/db/data/tmp"
[[pods.db.devices]]
volume = "rawdisk"
path = "/srv/pods/db/raw"
[[pods.db.mounts]]
volume = "archive"
path = "/srv/pods/db/archive"

[pods.web]
root = "/srv/jails/web"
[[pods.web.mounts]]
volume = "assets"
path = "/usr/share/assets"
read_only = true
[[pods.web.mounts]]
volume = "uploads"
path = "/uploads"
[[pods.web.mounts]]
volume = "media"
path = "/media"
propagation = "host-to-container"

[pods.worker]
[[pods.worker.mounts]]
volume = "assets"
path = "/srv/pods/worker/assets"
[[pods.worker.mounts]]
volume = "logs"
path = "/srv/pods/worker/logs"
[[pods.worker.mounts]]
volume = "assets-test"
path = "/srv/pods/worker/test"
[[pods.worker.mounts]]
volume = "logs-restored"
path = "/srv/pods/worker/restored"
"#;

/// The files an application has written once [`RICH`] is up.
pub const RICH_CANARIES: [&str; 7] = [
    "/srv/pods/db/data/pg_wal/1",
    "/srv/pods/db/archive/tape",
    "/srv/jails/web/uploads/photo",
    "/srv/jails/web/media/film",
    "/srv/pods/worker/assets/logo",
    "/srv/pods/worker/logs/today",
    "/srv/pods/worker/restored/yesterday",
];

/// [`RICH`] in parts that have nothing to do with each other: a sweep over each costs far less than one over the whole.
pub const PARTS: [(&str, &str); 5] = [
    (
        "ext4, its clone",
        r#"
[volumes.assets]
capacity = "64MiB"
access_mode = "single-node-multi-writer"
image = { allocate = "sparse" }
owner = "33:33"
mode = "0750"
[volumes.assets-test]
source = { volume = "assets" }
capacity = "96MiB"
reclaim = "delete"
image = { allocate = "sparse" }
[pods.web]
root = "/srv/jails/web"
[[pods.web.mounts]]
volume = "assets"
path = "/usr/share/assets"
read_only = true
[[pods.web.mounts]]
volume = "assets-test"
path = "/test"
[pods.worker]
[[pods.worker.mounts]]
volume = "assets"
path = "/srv/pods/worker/assets"
"#,
    ),
    (
        "full ext4 with memory in it",
        r#"
[volumes.pgdata]
capacity = "128MiB"
image = { allocate = "full" }
fs = { type = "ext4", label = "pgdata" }
[volumes.scratch]
tmpfs = { size = "16MiB" }
[pods.db]
fs_group = 999
[[pods.db.mounts]]
volume = "scratch"
path = "/srv/pods/db/data/tmp"
[[pods.db.mounts]]
volume = "pgdata"
path = "/srv/pods/db/data"
"#,
    ),
    (
        "xfs, its snapshot, what is restored of it",
        r#"
[volumes.logs]
capacity = "300MiB"
image = { allocate = "sparse" }
fs = { type = "xfs" }
mount_options = ["noatime"]
[volumes.logs-restored]
source = { snapshot = "before" }
capacity = "300MiB"
image = { allocate = "sparse" }
[snapshots.before]
volume = "logs"
[pods.worker]
[[pods.worker.mounts]]
volume = "logs"
path = "/srv/pods/worker/logs"
[[pods.worker.mounts]]
volume = "logs-restored"
path = "/srv/pods/worker/restored"
"#,
    ),
    (
        "btrfs, raw block",
        r#"
[volumes.media]
capacity = "128MiB"
image = { allocate = "sparse" }
fs = { type = "btrfs" }
[volumes.rawdisk]
volume_mode = "block"
capacity = "32MiB"
[pods.web]
[[pods.web.mounts]]
volume = "media"
path = "/srv/pods/web/media"
propagation = "host-to-container"
[[pods.web.devices]]
volume = "rawdisk"
path = "/srv/pods/web/raw"
"#,
    ),
    (
        "a disk, a directory",
        r#"
[volumes.archive]
device = { path = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", expect = { serial = "ZA1234" } }
fs = { type = "xfs" }
[volumes.uploads]
directory = { path = "/srv/uploads", create = true }
owner = "33:33"
[pods.web]
[[pods.web.mounts]]
volume = "archive"
path = "/srv/pods/web/archive"
[[pods.web.mounts]]
volume = "uploads"
path = "/srv/pods/web/uploads"
"#,
    ),
];

/// What every part begins with.
pub const HEAD: &str = "version = 1\nproject = \"shop\"\n[pools.main]\npath = \"/srv/pool\"\n";

/// One project of one volume and one pod.
pub fn small(project: &str, volume: &str, more: &str) -> String {
    format!(
        r#"
version = 1
project = "{project}"

[pools.main]
path = "/srv/pool"

[volumes.{volume}]
{more}

[pods.app]
[[pods.app.mounts]]
volume = "{volume}"
path = "/srv/pods/{project}/{volume}"
"#
    )
}
