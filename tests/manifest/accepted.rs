//! What a right manifest comes to.

use std::path::Path;

use csictl::model::{
    AccessMode, Allocate, Backing, Capacity, FormatPolicy, FsType, Propagation, PublishKind, Reclaim, SectorSize,
    Source, VolumeMode,
};

use super::accept;

/// The manifest of the design, every key in it.
const SHOP: &str = r#"
version = 1
project = "shop"

[pools.main]
path    = "/srv/csictl"
limit   = "200GiB"
reserve = "10GiB"

[classes.fast]
pool   = "main"
fs     = { type = "xfs" }
mount_options = ["noatime", "nodev", "nosuid"]
reclaim = "retain"

[defaults]
class = "fast"

[volumes.pgdata]
description     = "PostgreSQL data"
capacity        = "20GiB"
access_mode     = "single-node-single-writer"
prevent_destroy = true
image           = { allocate = "full", direct_io = true }
fs              = { type = "ext4", label = "pgdata", mkfs_options = ["-m", "0"] }
owner = "999:999"
mode  = "0750"

[volumes.assets]
capacity    = { required = "5GiB", limit = "10GiB" }
access_mode = "single-node-multi-writer"
image       = { allocate = "sparse" }

[volumes.assets-test]
source  = { volume = "assets" }
capacity = "5GiB"
reclaim = "delete"

[volumes.rawdisk]
volume_mode = "block"
capacity    = "8GiB"

[volumes.archive]
device = { path = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", expect = { size = "4TB", serial = "ZA1234" } }
fs     = { type = "btrfs", format = "never" }
access_mode = "single-node-reader-only"

[volumes.uploads]
directory = { path = "/srv/uploads", create = true }

[volumes.scratch]
tmpfs = { size = "512MiB" }

[snapshots.before-upgrade]
volume = "assets"

[pods.db]
fs_group = 999
[[pods.db.mounts]]
volume = "pgdata"
path   = "/var/lib/postgresql"
[[pods.db.devices]]
volume = "rawdisk"
path   = "/dev/shopraw"

[pods.web]
root = "/srv/jails/web"
[[pods.web.mounts]]
volume    = "assets"
path      = "/usr/share/assets"
sub_path  = "v2"
read_only = true
[[pods.web.mounts]]
volume = "scratch"
path   = "/tmp"
propagation = "none"
"#;

#[test]
fn the_manifest_of_the_design_is_read_whole() {
    let desired = accept(SHOP);

    let volume = |id: &str| desired.volumes.get(id).unwrap();
    let pgdata = volume("shop.pgdata");
    assert_eq!(pgdata.fs_type(), Some(FsType::Ext4));
    assert_eq!(pgdata.required(), Some(Capacity::gib(20)));
    assert_eq!(pgdata.ownership.mode, Some(0o750));
    assert_eq!(pgdata.fs_group, Some(999));
    assert!(pgdata.prevent_destroy && pgdata.fs_type_given);
    assert_eq!(pgdata.backing.as_image().unwrap().pool_path, Path::new("/srv/csictl"));
    assert_eq!(pgdata.fs.as_ref().unwrap().mkfs_options, ["-m", "0"]);

    let assets = volume("shop.assets");
    assert_eq!(assets.fs_type(), Some(FsType::Xfs));
    assert_eq!(assets.backing.as_image().unwrap().allocate, Allocate::Sparse);
    assert_eq!(assets.capacity.unwrap().limit, Some(Capacity::gib(10)));
    assert_eq!(assets.mount_options, ["noatime", "nodev", "nosuid"]);

    let clone = volume("shop.assets-test");
    assert_eq!(clone.source, Some(Source::Volume("shop.assets".parse().unwrap())));
    assert_eq!((clone.fs_type(), clone.reclaim), (Some(FsType::Xfs), Reclaim::Delete));

    let raw = volume("shop.rawdisk");
    assert_eq!((raw.volume_mode, &raw.fs, raw.mount_options.len()), (VolumeMode::Block, &None, 0));

    let archive = volume("shop.archive");
    assert_eq!(archive.access_mode, AccessMode::SingleNodeReaderOnly);
    assert_eq!(archive.fs.as_ref().unwrap().format, FormatPolicy::Never);
    assert!(matches!(&archive.backing, Backing::Device(device) if device.expect.serial.as_deref() == Some("ZA1234")));

    assert!(matches!(&volume("shop.uploads").backing, Backing::Directory(directory) if directory.create));
    assert_eq!(volume("shop.scratch").required(), Some(Capacity::mib(512)));
    assert_eq!(desired.snapshots["shop.before-upgrade"].volume, assets.id);

    let db = &desired.pods["db"];
    assert_eq!(db.publishes[1].kind, PublishKind::Device);
    assert_eq!(db.publishes[1].trusted_root, Path::new("/"));
    let web = &desired.pods["web"];
    assert_eq!(web.publishes[0].target, Path::new("/srv/jails/web/usr/share/assets"));
    assert_eq!(web.publishes[0].trusted_root, Path::new("/srv/jails/web"));
    assert_eq!(web.publishes[0].sub_path.as_deref(), Some(Path::new("v2")));
    assert!(web.publishes[0].read_only && !web.publishes[1].read_only);
    assert_eq!(web.publishes[1].propagation, Propagation::None);
    assert_eq!(desired.pools["main"].limit, Some(Capacity::gib(200)));
}

#[test]
fn little_has_to_be_said() {
    let desired = accept("project = \"p\"\n[volumes.v]\ncapacity = \"64MiB\"");

    let volume = &desired.volumes["p.v"];
    let image = volume.backing.as_image().unwrap();
    assert_eq!((image.pool.as_str(), image.pool_path.as_path()), ("default", Path::new("/var/lib/csictl/pool")));
    assert_eq!((image.allocate, image.direct_io, image.sector_size), (Allocate::Full, true, SectorSize::B512));
    assert_eq!((volume.fs_type(), volume.fs_type_given), (Some(FsType::Ext4), false));
    assert_eq!(volume.access_mode, AccessMode::SingleNodeSingleWriter);
    assert_eq!(desired.pools.len(), 1);
    assert_eq!(desired.manifest, "shop.toml");
}
