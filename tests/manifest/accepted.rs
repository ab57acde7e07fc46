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

#[test]
fn the_manifest_of_the_design_holds_every_key() {
    // Those it leaves out are in other tests of this file.
    const ELSEWHERE: [&str; 7] = [
        "classes.NAME.description",
        "defaults.pool",
        "volumes.NAME.class",
        "volumes.NAME.pool",
        "volumes.NAME.image.sector_size",
        "volumes.NAME.device.expect.wwn",
        "volumes.NAME.source.snapshot",
    ];
    for row in csictl::manifest::shape::reference() {
        let last = row.key.rsplit(['.', ']']).next().unwrap().trim_end_matches('[');
        assert!(
            SHOP.contains(last) || ELSEWHERE.contains(&row.key.as_str()) || row.key.starts_with("classes."),
            "{}",
            row.key
        );
    }
}

#[test]
fn a_key_on_the_volume_replaces_the_class_s_key_whole() {
    let desired = accept(
        r#"
        project = "p"
        [classes.c]
        description = "for databases"
        access_mode = "rwo"
        fs = { type = "xfs", label = "db" }
        image = { allocate = "sparse", sector_size = 4096 }
        mount_options = ["noatime", "inode64"]
        reclaim = "delete"
        prevent_destroy = true
        owner = "5:6"
        mode = "0700"
        [volumes.plain]
        class = "c"
        capacity = "1GiB"
        [volumes.own]
        class = "c"
        capacity = "1GiB"
        access_mode = "rwop"
        fs = { label = "mine" }
        image = { direct_io = false }
        mount_options = []
        reclaim = "retain"
        prevent_destroy = false
        owner = "7:8"
        mode = "0711"
        "#,
    );

    let plain = &desired.volumes["p.plain"];
    assert_eq!((plain.fs_type(), plain.fs_type_given), (Some(FsType::Xfs), true));
    assert_eq!(plain.backing.as_image().unwrap().sector_size, SectorSize::B4096);
    assert_eq!(plain.mount_options, ["noatime", "inode64"]);
    assert_eq!((plain.reclaim, plain.prevent_destroy), (Reclaim::Delete, true));
    assert_eq!((plain.ownership.owner, plain.ownership.mode), (Some((5, 6)), Some(0o700)));
    assert_eq!(plain.access_mode, AccessMode::SingleNodeMultiWriter);
    assert_eq!(plain.description, None);

    let own = &desired.volumes["p.own"];
    let fs = own.fs.as_ref().unwrap();
    assert_eq!((fs.fs_type, fs.label.as_deref(), own.fs_type_given), (FsType::Ext4, Some("mine"), false));
    let image = own.backing.as_image().unwrap();
    assert_eq!((image.allocate, image.direct_io, image.sector_size), (Allocate::Full, false, SectorSize::B512));
    assert!(own.mount_options.is_empty() && !own.prevent_destroy);
    assert_eq!(own.reclaim, Reclaim::Retain);
    assert_eq!((own.ownership.owner, own.ownership.mode), (Some((7, 8)), Some(0o711)));
    assert_eq!(own.access_mode, AccessMode::SingleNodeSingleWriter);
}

#[test]
fn what_a_class_says_that_does_not_apply_is_skipped() {
    let desired = accept(
        r#"
        project = "p"
        [pools.a]
        path = "/srv/a"
        [pools.b]
        path = "/srv/b"
        [classes.c]
        pool = "a"
        fs = { type = "xfs" }
        image = { sector_size = 4096 }
        mount_options = ["noatime", "largeio"]
        prevent_destroy = true
        owner = "5:6"
        [defaults]
        class = "c"
        [volumes.memory]
        tmpfs = { size = "1MiB" }
        [volumes.directory]
        directory = { path = "/srv/files" }
        [volumes.block]
        volume_mode = "block"
        capacity = "1MiB"
        [volumes.ext]
        capacity = "1GiB"
        fs = { type = "ext4" }
        "#,
    );

    let options = |id: &str| &desired.volumes[id].mount_options;
    assert!(!options("p.memory").contains(&"largeio".to_owned()));
    assert!(!options("p.directory").contains(&"largeio".to_owned()));
    assert_eq!(options("p.ext"), &["noatime"]);
    assert!(options("p.block").is_empty());
    assert!(!desired.volumes["p.memory"].prevent_destroy);
    assert!(desired.volumes["p.memory"].fs.is_none() && desired.volumes["p.block"].fs.is_none());
    assert_eq!(desired.volumes["p.block"].ownership.owner, None);
    assert_eq!(desired.volumes["p.directory"].ownership.owner, Some((5, 6)));
}

#[test]
fn the_pool_is_the_volume_s_the_class_s_the_default_s_or_the_only_one() {
    let two = "[pools.a]\npath = \"/a\"\n[pools.b]\npath = \"/b\"\n[classes.c]\npool = \"b\"\n";
    let default_a = "[defaults]\npool = \"a\"\n";
    for (what, pools, keys, expected) in [
        ("its own", format!("{two}{default_a}"), "class = \"c\"\npool = \"a\"", "/a"),
        ("its class's", format!("{two}{default_a}"), "class = \"c\"", "/b"),
        ("the default", format!("{two}{default_a}"), "", "/a"),
        ("the only one", "[pools.x]\npath = \"./x\"\n".to_owned(), "", "/etc/csictl/x"),
        ("the state directory's", String::new(), "", "/var/lib/csictl/pool"),
        ("the state directory's, by name", String::new(), "pool = \"default\"", "/var/lib/csictl/pool"),
        ("one declared as default", "[pools.default]\npath = \"/x\"\n".to_owned(), "pool = \"default\"", "/x"),
    ] {
        let desired = accept(&format!("project = \"p\"\n{pools}[volumes.v]\ncapacity = \"1GiB\"\n{keys}\n"));

        let image = desired.volumes["p.v"].backing.as_image().unwrap();
        assert_eq!(image.pool_path, Path::new(expected), "{what}");
        assert_eq!(desired.pools[&image.pool].path, image.pool_path, "{what}");
    }
}

#[test]
fn relative_paths_begin_at_the_manifest() {
    let desired = accept(
        r#"
        project = "p"
        [pools.a]
        path = "images"
        [volumes.v]
        capacity = "1GiB"
        [volumes.d]
        directory = { path = "../files/" }
        [pods.p]
        root = "./root"
        [[pods.p.mounts]]
        volume = "v"
        path = "//var//data/"
        sub_path = "a//b/"
        "#,
    );

    assert_eq!(desired.pools["a"].path, Path::new("/etc/csictl/images"));
    assert!(matches!(&desired.volumes["p.d"].backing, Backing::Directory(d) if d.path == Path::new("/etc/files")));
    let publish = &desired.pods["p"].publishes[0];
    assert_eq!(publish.target, Path::new("/etc/csictl/root/var/data"));
    assert_eq!(publish.sub_path.as_deref(), Some(Path::new("a/b")));
}

#[test]
fn clones_inherit_through_a_chain_of_volumes_and_snapshots() {
    let desired = accept(
        r#"
        project = "p"
        [volumes.c]                     # first by name, last of the chain
        capacity = "1GiB"
        source = { volume = "n" }
        [volumes.n]
        capacity = "1GiB"
        source = { snapshot = "s" }
        mount_options = ["inode64"]
        [volumes.z]
        capacity = "1GiB"
        fs = { type = "xfs", label = "origin" }
        image = { sector_size = 4096 }
        [snapshots.s]
        volume = "z"
        [volumes.outside]
        capacity = "1GiB"
        source = { snapshot = "made-by-hand" }
        mount_options = ["inode64"]
        "#,
    );

    for id in ["p.c", "p.n"] {
        let volume = &desired.volumes[id];
        assert_eq!((volume.fs_type(), volume.fs_type_given), (Some(FsType::Xfs), false), "{id}");
        assert_eq!(volume.backing.as_image().unwrap().sector_size, SectorSize::B4096, "{id}");
        assert_eq!(volume.fs.as_ref().unwrap().label, None, "{id}");
    }
    let outside = &desired.volumes["p.outside"];
    assert_eq!(outside.source, Some(Source::Snapshot("p.made-by-hand".parse().unwrap())));
    assert!(!outside.fs_type_given);
}

#[test]
fn a_class_s_file_system_does_not_bind_a_clone() {
    let desired = accept(
        r#"
        project = "p"
        defaults.class = "c"
        [classes.c]
        fs = { type = "xfs", label = "label", mkfs_options = ["-i", "size=512"] }
        [volumes.origin]
        capacity = "1GiB"
        fs = { type = "ext4" }
        [volumes.clone]
        capacity = "1GiB"
        source = { volume = "origin" }
        "#,
    );

    let fs = desired.volumes["p.clone"].fs.as_ref().unwrap();
    assert_eq!((fs.fs_type, &fs.label, fs.mkfs_options.len()), (FsType::Ext4, &None, 0));
}

#[test]
fn a_reader_only_volume_is_published_read_only() {
    let desired = accept(
        r#"
        project = "p"
        [volumes.v]
        device = { path = "/dev/vg/lv", expect = { wwn = "0x5000", size = "4TB" } }
        access_mode = "rox"
        [pods.p]
        fs_group = 5
        [[pods.p.mounts]]
        volume = "v"
        path = "/data"
        "#,
    );

    assert!(desired.pods["p"].publishes[0].read_only);
    assert_eq!(desired.volumes["p.v"].fs_group, None);
    assert_eq!(desired.pods["p"].fs_group, Some(5));
}

#[test]
fn sizes_are_rounded_up_to_what_a_loop_device_can_have() {
    let desired =
        accept("project = \"p\"\n[volumes.v]\ncapacity = \"20000001B\"\n[volumes.t]\ntmpfs = { size = \"1B\" }\n");

    assert_eq!(desired.volumes["p.v"].required(), Some(Capacity::bytes(20_000_768)));
    assert_eq!(desired.volumes["p.t"].required(), Some(Capacity::bytes(4096)));
}
