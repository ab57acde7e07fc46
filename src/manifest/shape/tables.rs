//! The tables themselves. Texts here are read by people in three places: error help, JSON Schema and the manual page.

use super::{Key, Kind, PathKind, Rule, Table};

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, required: false, default, about }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, required: true, default: "", about }
}

/// The whole manifest.
pub static ROOT: Table = Table {
    about: "A csictl manifest: the volumes, snapshots and pods one project wants on one machine.",
    keys: &[
        key("version", Kind::Integer(&[1]), "1", "The version of the manifest format."),
        required(
            "project",
            Kind::Name("project"),
            "Who owns what is declared here: ids are PROJECT.NAME, and another project's volumes are never touched.",
        ),
        key(
            "pools",
            Kind::Named(&POOL),
            "one pool named default under the state directory",
            "Directories that hold image files, by name.",
        ),
        key("classes", Kind::Named(&CLASS), "", "Settings shared by volumes, by name (Kubernetes StorageClass)."),
        key("defaults", Kind::Table(&DEFAULTS), "", "What holds for every volume that does not say otherwise."),
        key("volumes", Kind::Named(&VOLUME), "", "Volumes, by name."),
        key("snapshots", Kind::Named(&SNAPSHOT), "", "Snapshots, by name. Each is taken once and then left alone."),
        key("pods", Kind::Named(&POD), "", "Consumers of volumes, by name."),
    ],
    rules: &[],
};

/// The configuration of `csictl serve`: what of a manifest is not about its own volumes.
pub static STORAGE: Table = Table {
    about: "The pools and classes that csictl serve makes volumes from.",
    keys: &[
        key("version", Kind::Integer(&[1]), "1", "The version of the manifest format."),
        key(
            "pools",
            Kind::Named(&POOL),
            "one pool named default under the state directory",
            "Directories that hold image files, by name.",
        ),
        key("classes", Kind::Named(&CLASS), "", "Settings a volume takes by naming the class, by name."),
        key("defaults", Kind::Table(&DEFAULTS), "", "What holds for every volume that does not say otherwise."),
    ],
    rules: &[],
};

static POOL: Table = Table {
    about: "A directory that holds image files.",
    keys: &[
        required("path", Kind::Path(PathKind::Host), "The directory; apply makes it (0700) when it is missing."),
        key(
            "limit",
            Kind::Size,
            "",
            "The most that the nominal sizes of all images and snapshots in it may add up to, whichever project they belong to.",
        ),
        key(
            "reserve",
            Kind::SizeOrZero,
            "0GiB",
            "Bytes kept free on the host file system for what is still to be allocated.",
        ),
    ],
    rules: &[],
};

const CLASS_KEY: Kind = Kind::Name("class");
const POOL_KEY: Kind = Kind::Name("pool");
const ACCESS_MODES: Kind = Kind::Word(&[
    "single-node-writer",
    "single-node-reader-only",
    "single-node-single-writer",
    "single-node-multi-writer",
    "rwo",
    "rwop",
    "rox",
]);
const ABOUT_POOL: &str =
    "The pool of its image: the volume's own, else its class's, else that of [defaults], else the only pool.";
const ABOUT_ACCESS: &str = "How many may use it. rwo is multi-writer, rwop single-writer, rox reader-only. All but multi-writer allow one publish in the whole manifest; reader-only makes it read-only.";
const ABOUT_OPTIONS: &str = "Mount options, allow-listed per file system. nosuid, nodev and (ext4) errors=remount-ro always hold; suid, dev and errors= are rejected.";
const ABOUT_RECLAIM: &str =
    "What becomes of the bytes when the volume leaves the manifest: kept, or deleted after approval.";
const ABOUT_PROTECT: &str = "Refuse every step that loses its data. Kept in the record: holds even when the volume is no longer in the manifest.";
const ABOUT_OWNER: &str = "Owner and group of the volume's root inode, as numbers.";
const ABOUT_MODE: &str = "Permissions of the volume's root inode.";

static CLASS: Table = Table {
    about: "Settings shared by volumes. A key set on a volume replaces the class's key whole; keys that don't apply to a volume's backing are skipped.",
    keys: &[
        key("description", Kind::Text, "", "A word for people."),
        key("pool", POOL_KEY, "", ABOUT_POOL),
        key("access_mode", ACCESS_MODES, "single-node-single-writer", ABOUT_ACCESS),
        key("image", Kind::Table(&IMAGE), "", "How image files are made."),
        key("fs", Kind::Table(&FS), "ext4", "The file system."),
        key("mount_options", Kind::Texts, "none", ABOUT_OPTIONS),
        key("reclaim", Kind::Word(&["retain", "delete"]), "retain", ABOUT_RECLAIM),
        key("prevent_destroy", Kind::Flag, "false", ABOUT_PROTECT),
        key("owner", Kind::Owner, "", ABOUT_OWNER),
        key("mode", Kind::Mode, "", ABOUT_MODE),
    ],
    rules: &[],
};

static DEFAULTS: Table = Table {
    about: "What holds for every volume that does not say otherwise.",
    keys: &[
        key("class", CLASS_KEY, "", "The class of volumes that name none."),
        key("pool", POOL_KEY, "", "The pool of images when neither the volume nor its class names one."),
    ],
    rules: &[],
};

static VOLUME: Table = Table {
    about: "A named piece of storage. Its bytes lie in exactly one of image, device, directory and tmpfs; none given means image.",
    keys: &[
        key("description", Kind::Text, "", "A word for people."),
        key("class", CLASS_KEY, "defaults.class", "The class whose settings it takes."),
        key("pool", POOL_KEY, "", ABOUT_POOL),
        key(
            "volume_mode",
            Kind::Word(&["filesystem", "block"]),
            "filesystem",
            "Mounted as a file system, or offered as a raw block device.",
        ),
        key(
            "capacity",
            Kind::SizeOrTable(&CAPACITY),
            "",
            "Its size, required for an image and forbidden for other backings. Rounded up to 4 KiB. At least 16 MiB for ext4, 300 MiB for xfs, 109 MiB for btrfs.",
        ),
        key("access_mode", ACCESS_MODES, "single-node-single-writer", ABOUT_ACCESS),
        key("image", Kind::Table(&IMAGE), "{}", "An image file on a loop device: the default backing."),
        key("device", Kind::Table(&DEVICE), "", "An existing block device."),
        key("directory", Kind::Table(&DIRECTORY), "", "A directory of the host."),
        key("tmpfs", Kind::Table(&TMPFS), "", "Memory; scratch by nature."),
        key("fs", Kind::Table(&FS), "ext4, or the source's", "The file system of an image or device."),
        key("mount_options", Kind::Texts, "none", ABOUT_OPTIONS),
        key(
            "source",
            Kind::Table(&SOURCE),
            "",
            "What a new volume is filled with. Acts at creation only; the file system comes from it.",
        ),
        key("reclaim", Kind::Word(&["retain", "delete"]), "retain", ABOUT_RECLAIM),
        key("prevent_destroy", Kind::Flag, "false", ABOUT_PROTECT),
        key("owner", Kind::Owner, "", ABOUT_OWNER),
        key("mode", Kind::Mode, "", ABOUT_MODE),
    ],
    rules: &[
        Rule::AtMostOne(&["image", "device", "directory", "tmpfs"]),
        Rule::AtLeastOne(&["capacity", "device", "directory", "tmpfs"]),
        Rule::NotWith { keys: &["device", "directory", "tmpfs"], word: None, others: &["capacity", "pool", "source"] },
        Rule::NotWith { keys: &["directory", "tmpfs"], word: None, others: &["fs"] },
        Rule::NotWith {
            keys: &["volume_mode"],
            word: Some("block"),
            others: &["fs", "mount_options", "owner", "mode", "directory", "tmpfs"],
        },
    ],
};

static CAPACITY: Table = Table {
    about: "A size and the most it may become (CSI CapacityRange).",
    keys: &[
        required("required", Kind::Size, "The size the volume gets."),
        key("limit", Kind::Size, "", "The size it may not pass."),
    ],
    rules: &[],
};

static IMAGE: Table = Table {
    about: "An image file on a loop device.",
    keys: &[
        key(
            "allocate",
            Kind::Word(&["full", "sparse"]),
            "full",
            "Reserve all bytes up front and keep them, or allocate them when written.",
        ),
        key(
            "direct_io",
            Kind::Flag,
            "true",
            "Ask the loop device for direct I/O; best effort, what was got is reported.",
        ),
        key(
            "sector_size",
            Kind::Integer(&[512, 4096]),
            "512, or the source's",
            "Logical sector size of the loop device in bytes; fixed for life, inherited by clones.",
        ),
    ],
    rules: &[],
};

static DEVICE: Table = Table {
    about: "An existing block device, pinned by identity.",
    keys: &[
        required(
            "path",
            Kind::Path(PathKind::Device),
            "A stable name: /dev/disk/by-*/NAME, /dev/mapper/NAME or /dev/VG/LV. Kernel names such as /dev/sdb are refused: they change from boot to boot.",
        ),
        key(
            "expect",
            Kind::Table(&EXPECT),
            "",
            "What the device has to be; checked in the plan and on the opened device before a write.",
        ),
    ],
    rules: &[],
};

static EXPECT: Table = Table {
    about: "What a device has to be; every given value has to match.",
    keys: &[
        key("size", Kind::Size, "", "Its size, within one per cent."),
        key("serial", Kind::Text, "", "Its serial number."),
        key("wwn", Kind::Text, "", "Its World Wide Name."),
    ],
    rules: &[],
};

static DIRECTORY: Table = Table {
    about: "A directory of the host.",
    keys: &[
        required("path", Kind::Path(PathKind::Host), "The directory."),
        key("create", Kind::Flag, "false", "Make it (0755) when it is missing."),
    ],
    rules: &[],
};

static TMPFS: Table = Table {
    about: "Memory.",
    keys: &[required("size", Kind::Size, "The most it may hold. Rounded up to 4 KiB.")],
    rules: &[],
};

static FS: Table = Table {
    about: "The file system of an image or device.",
    keys: &[
        key("type", Kind::Word(&["ext4", "xfs", "btrfs"]), "ext4, or the source's", "Its type."),
        key(
            "format",
            Kind::Word(&["if-blank", "never"]),
            "if-blank",
            "Whether storage that is proven blank may be formatted. A device that holds a file system of this type already is used as it is. There is no \"always\".",
        ),
        key("label", Kind::Text, "", "Its label: at most 16 (ext4), 12 (xfs) or 255 (btrfs) bytes."),
        key("mkfs_options", Kind::Texts, "none", "Extra arguments of mkfs, allow-listed per file system."),
    ],
    rules: &[],
};

static SOURCE: Table = Table {
    about: "What a new volume is filled with: exactly one of the two.",
    keys: &[
        key("volume", Kind::Name("volume"), "", "A volume to clone."),
        key("snapshot", Kind::Name("snapshot"), "", "A snapshot to restore."),
    ],
    rules: &[Rule::AtMostOne(&["volume", "snapshot"]), Rule::AtLeastOne(&["volume", "snapshot"])],
};

static SNAPSHOT: Table = Table {
    about: "A copy of one volume's bytes at one moment.",
    keys: &[required("volume", Kind::Name("volume"), "The volume it is taken of.")],
    rules: &[],
};

static POD: Table = Table {
    about: "A consumer: a name and the paths where volumes are published.",
    keys: &[
        key(
            "root",
            Kind::Path(PathKind::Host),
            "/",
            "Prefix of this pod's paths; no symbolic link is followed below it.",
        ),
        key(
            "fs_group",
            Kind::GroupId,
            "",
            "Group ownership of its volumes (Kubernetes fsGroup), changed only where the root differs; wins over the group of owner.",
        ),
        key("mounts", Kind::Many(&MOUNT), "", "Volumes seen as directories."),
        key("devices", Kind::Many(&DEVICE_PUBLISH), "", "Block volumes seen as device nodes."),
    ],
    rules: &[],
};

static MOUNT: Table = Table {
    about: "A volume seen as a directory (Kubernetes volumeMounts).",
    keys: &[
        required("volume", Kind::Name("volume"), "The volume."),
        required("path", Kind::Path(PathKind::Absolute), "Where the pod sees it; below the pod's root."),
        key(
            "sub_path",
            Kind::Path(PathKind::Inside),
            "",
            "A path inside the volume that is published instead of its root; never out of it.",
        ),
        key("read_only", Kind::Flag, "false", "Refuse writes. A reader-only volume is always published so."),
        key(
            "propagation",
            Kind::Word(&["none", "host-to-container", "bidirectional"]),
            "none",
            "How mounts made later travel between host and pod.",
        ),
    ],
    rules: &[],
};

static DEVICE_PUBLISH: Table = Table {
    about: "A block volume seen as a device node (Kubernetes volumeDevices).",
    keys: &[
        required("volume", Kind::Name("volume"), "The volume."),
        required("path", Kind::Path(PathKind::Absolute), "Where the pod sees it; below the pod's root."),
        key("read_only", Kind::Flag, "false", "Refuse writes. All devices of one volume are read-only, or none is."),
    ],
    rules: &[],
};
