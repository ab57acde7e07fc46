//! The codes of manifest errors, each with its long explanation for `csictl explain`.

use crate::model::explain::Explanation;

/// The text is not TOML.
pub const SYNTAX: &str = "csictl::manifest::syntax";
/// The manifest is larger than csictl reads.
pub const TOO_LARGE: &str = "csictl::manifest::too-large";
/// A key that csictl does not know.
pub const UNKNOWN_KEY: &str = "csictl::manifest::unknown-key";
/// A key that has to be there is missing.
pub const MISSING_KEY: &str = "csictl::manifest::missing-key";
/// A value of another type than the key takes.
pub const WRONG_TYPE: &str = "csictl::manifest::wrong-type";
/// A word or number that the key does not know.
pub const UNKNOWN_VALUE: &str = "csictl::manifest::unknown-value";
/// An empty text.
pub const EMPTY: &str = "csictl::manifest::empty";
/// A control character in a text.
pub const CONTROL: &str = "csictl::manifest::control-character";
/// Not a name.
pub const INVALID_NAME: &str = "csictl::manifest::invalid-name";
/// Not a size.
pub const INVALID_SIZE: &str = "csictl::manifest::invalid-size";
/// Not an owner or group.
pub const INVALID_OWNER: &str = "csictl::manifest::invalid-owner";
/// Not permissions.
pub const INVALID_MODE: &str = "csictl::manifest::invalid-mode";
/// Not a path that is allowed here.
pub const INVALID_PATH: &str = "csictl::manifest::invalid-path";
/// A volume that is not declared.
pub const UNKNOWN_VOLUME: &str = "csictl::manifest::unknown-volume";
/// A class that is not declared.
pub const UNKNOWN_CLASS: &str = "csictl::manifest::unknown-class";
/// A pool that is not declared.
pub const UNKNOWN_POOL: &str = "csictl::manifest::unknown-pool";
/// Several pools, and none is chosen.
pub const POOL_AMBIGUOUS: &str = "csictl::manifest::pool-ambiguous";
/// Two pools share a directory.
pub const POOL_CONFLICT: &str = "csictl::manifest::pool-conflict";
/// More than one backing.
pub const SEVERAL_BACKINGS: &str = "csictl::manifest::several-backings";
/// An image without a capacity.
pub const CAPACITY_MISSING: &str = "csictl::manifest::capacity-missing";
/// Too small for its file system.
pub const CAPACITY_TOO_SMALL: &str = "csictl::manifest::capacity-too-small";
/// More required than the limit allows.
pub const CAPACITY_RANGE: &str = "csictl::manifest::capacity-range";
/// A key that has no effect here.
pub const KEY_NOT_APPLICABLE: &str = "csictl::manifest::key-not-applicable";
/// A label the file system can't hold.
pub const LABEL: &str = "csictl::manifest::label";
/// A mkfs option that is refused.
pub const MKFS_OPTION: &str = "csictl::manifest::mkfs-option";
/// A mount option that is refused.
pub const MOUNT_OPTION: &str = "csictl::manifest::mount-option";
/// A source that names nothing, or two things.
pub const SOURCE: &str = "csictl::manifest::source";
/// Sources that lead back to themselves.
pub const SOURCE_RING: &str = "csictl::manifest::source-ring";
/// A source that does not fit.
pub const SOURCE_MISMATCH: &str = "csictl::manifest::source-mismatch";
/// A snapshot of something that is no image.
pub const SNAPSHOT_BACKING: &str = "csictl::manifest::snapshot-backing";
/// A block volume under mounts, or a file system under devices.
pub const WRONG_LIST: &str = "csictl::manifest::wrong-list";
/// More publishes than the access mode allows.
pub const TOO_MANY_PUBLISHES: &str = "csictl::manifest::too-many-publishes";
/// Writes asked of a reader-only volume.
pub const READER_ONLY: &str = "csictl::manifest::reader-only";
/// A block volume both read-only and writable.
pub const BLOCK_MIXED: &str = "csictl::manifest::block-mixed";
/// Two groups for one volume.
pub const FS_GROUP: &str = "csictl::manifest::fs-group";
/// Two volumes on one device or directory.
pub const DUPLICATE_BACKING: &str = "csictl::manifest::duplicate-backing";
/// A path that is used twice.
pub const PATH_TAKEN: &str = "csictl::manifest::path-taken";
/// Paths that cover each other.
pub const PATH_CONFLICT: &str = "csictl::manifest::path-conflict";
/// A path that is csictl's or the kernel's.
pub const PATH_RESERVED: &str = "csictl::manifest::path-reserved";

/// Every code of this layer, in alphabetical order.
pub const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        code: BLOCK_MIXED,
        title: "A block volume both read-only and writable",
        text: "A read-only bind of a device node is still writable, so read-only block needs a read-only loop device; and a read-only loop beside a writable one on the same image reads stale data. A block volume therefore has one loop, and all its publishes agree.",
    },
    Explanation {
        code: CAPACITY_MISSING,
        title: "An image without a capacity",
        text: "An image file has the size that capacity says; there is no default. Other backings have no capacity: a device has its own, a directory none, tmpfs has tmpfs.size.",
    },
    Explanation {
        code: CAPACITY_RANGE,
        title: "More required than the limit allows",
        text: "capacity = { required, limit } is CSI's CapacityRange: the volume gets 'required', rounded up to 4 KiB, and that may not pass 'limit'.",
    },
    Explanation {
        code: CAPACITY_TOO_SMALL,
        title: "Too small for its file system",
        text: "The smallest images that mkfs accepts, measured: ext4 16 MiB, btrfs 109 MiB, xfs 300 MiB.",
    },
    Explanation {
        code: CONTROL,
        title: "A control character in a text",
        text: "Labels, options and descriptions are shown on terminals and passed to tools. Line ends, tabs and other control characters are refused in them.",
    },
    Explanation {
        code: DUPLICATE_BACKING,
        title: "Two volumes on one device or directory",
        text: "Two volumes with the same bytes would each count their own publishes, format and ownership. Declare it once and publish that volume several times.",
    },
    Explanation {
        code: EMPTY,
        title: "An empty text",
        text: "An empty text says nothing here. Leave the key out where you mean the default.",
    },
    Explanation {
        code: FS_GROUP,
        title: "Two groups for one volume",
        text: "fs_group changes the group of a volume's files. A volume has one group; pods that share it have to agree.",
    },
    Explanation {
        code: INVALID_MODE,
        title: "Not permissions",
        text: "mode is text of three or four octal digits, as chmod(1) takes them: \"0750\".",
    },
    Explanation {
        code: INVALID_NAME,
        title: "Not a name",
        text: "Names of projects, volumes, pods, classes, pools and snapshots are DNS labels (RFC 1123): 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends. They become parts of file names and ids, so nothing else is let through.",
    },
    Explanation {
        code: INVALID_OWNER,
        title: "Not an owner or group",
        text: "owner is \"uid:gid\" and fs_group a number; both go from 0 to 4294967294. Names are not taken: host and pod may map them to different numbers.",
    },
    Explanation {
        code: INVALID_PATH,
        title: "Not a path that is allowed here",
        text: "Paths are absolute; pools.NAME.path, volumes.NAME.directory.path and pods.NAME.root may be relative to the directory of the manifest. Nothing is expanded: no '~', no variables. '.' and '..' are allowed only at the front of a relative path. sub_path is relative and stays inside its volume.\n\nA device is named by a path that does not change from boot to boot: /dev/disk/by-*/NAME, /dev/mapper/NAME or /dev/VG/LV.",
    },
    Explanation {
        code: INVALID_SIZE,
        title: "Not a size",
        text: "A size is a number with a unit: KiB, MiB, GiB, TiB, PiB, EiB are powers of 1024; kB, MB, GB, TB, PB are powers of 1000; B is bytes. A bare G or M is refused, because half of its readers take it for the one and half for the other.",
    },
    Explanation {
        code: KEY_NOT_APPLICABLE,
        title: "A key that has no effect here",
        text: "The key means nothing for this backing or volume mode: a directory has no capacity, a block volume no mount options, a clone no mkfs options. It is an error on the volume itself, because whoever wrote it expects an effect. The same key of a class is skipped in silence, since a class serves volumes of many kinds.",
    },
    Explanation {
        code: LABEL,
        title: "A label the file system can't hold",
        text: "Labels have at most 16 bytes in ext4, 12 in xfs and 255 in btrfs, and don't begin with '-'.",
    },
    Explanation {
        code: MISSING_KEY,
        title: "A key that has to be there is missing",
        text: "The table lacks a key without which it means nothing: 'project' of the manifest, 'path' of a pool, 'volume' of a mount. The help says what it takes.",
    },
    Explanation {
        code: MKFS_OPTION,
        title: "A mkfs option that is refused",
        text: "mkfs options are allow-listed per file system. Some read files of the host (-d DIR of mke2fs, -p of mkfs.xfs, --rootdir of mkfs.btrfs), some switch off the tools' own refusal to overwrite data, some are csictl's to set (label, UUID, sector size). Each argument is one text: [\"-m\", \"0\"].",
    },
    Explanation {
        code: MOUNT_OPTION,
        title: "A mount option that is refused",
        text: "Mount options are allow-listed per file system, one option a text. nosuid, nodev and, for ext4, errors=remount-ro always hold; suid, dev and errors= are refused, for a volume's content is not trusted with the host's privileges.",
    },
    Explanation {
        code: PATH_CONFLICT,
        title: "Paths that cover each other",
        text: "Mounts may nest, parents are mounted before children. But nothing lies below a device node, and a directory that is itself the backing of a volume must not be hidden under another publish.",
    },
    Explanation {
        code: PATH_RESERVED,
        title: "A path that is csictl's or the kernel's",
        text: "State, run directory and pools hold records and images; publishing over them or into them would hide or expose these. /proc and /sys hold no targets.",
    },
    Explanation {
        code: PATH_TAKEN,
        title: "A path that is used twice",
        text: "One path shows one volume, over all pods. With pods.NAME.root each pod gets its own prefix.",
    },
    Explanation {
        code: POOL_AMBIGUOUS,
        title: "Several pools, and none is chosen",
        text: "An image lies in the volume's own pool, else its class's, else that of [defaults], else the only pool there is. With several pools and none named csictl does not guess: an image that later turns up in another pool would be a new, empty one.",
    },
    Explanation {
        code: POOL_CONFLICT,
        title: "Two pools share a directory",
        text: "A pool is a directory that holds images and nothing else; its limit counts what lies in it. Two pools at one path, or one inside the other, would count wrong.",
    },
    Explanation {
        code: READER_ONLY,
        title: "Writes asked of a reader-only volume",
        text: "A volume with access_mode single-node-reader-only is published read-only, whether read_only is written or not. read_only = false contradicts it.",
    },
    Explanation {
        code: SEVERAL_BACKINGS,
        title: "More than one backing",
        text: "A volume's bytes lie in one place: an image file, a device, a directory or tmpfs. Without any of the four keys it is an image.",
    },
    Explanation {
        code: SNAPSHOT_BACKING,
        title: "A snapshot of something that is no image",
        text: "Snapshots are copies of image files. Devices have their own tools (LVM snapshots), directories can be copied, tmpfs is scratch.",
    },
    Explanation {
        code: SOURCE,
        title: "A source that names nothing, or two things",
        text: "source = { volume = \"NAME\" } makes a clone, source = { snapshot = \"NAME\" } a restore. It acts once, when the volume is created.",
    },
    Explanation {
        code: SOURCE_MISMATCH,
        title: "A source that does not fit",
        text: "A copy has the bytes of its source, and with them its file system, sector size and volume mode. Only images can be copied. Take the differing key out of the copy, or change it on the source.",
    },
    Explanation {
        code: SOURCE_RING,
        title: "Sources that lead back to themselves",
        text: "Each of these volumes would have to exist before the other. One of them has to begin without a source.",
    },
    Explanation {
        code: SYNTAX,
        title: "The text is not TOML",
        text: "The TOML parser stopped making sense of the text here. Common causes: a text without quotes, a missing '=' or ']', a key or a header that is there twice.\n\nEvery volume, pool, class, snapshot and pod has a table of its own, [volumes.NAME]; a second one of the same name is an error rather than an addition.",
    },
    Explanation {
        code: TOO_LARGE,
        title: "The manifest is larger than csictl reads",
        text: "A manifest holds at most 16 MiB of text, 2,000,000 values and 100,000 volumes. The caps keep a broken generator, or an attacker who may submit manifests, from using up memory before anything is checked.\n\nSplit the manifest: each part becomes a project of its own.",
    },
    Explanation {
        code: TOO_MANY_PUBLISHES,
        title: "More publishes than the access mode allows",
        text: "All access modes but single-node-multi-writer allow one publish of a volume in the whole manifest. The default, single-node-single-writer, is the strict one: sharing has to be asked for.",
    },
    Explanation {
        code: UNKNOWN_CLASS,
        title: "A class that is not declared",
        text: "volumes.NAME.class and defaults.class name a table [classes.NAME] of the same manifest.",
    },
    Explanation {
        code: UNKNOWN_KEY,
        title: "A key that csictl does not know",
        text: "Unknown keys are errors, for a misspelt key would otherwise be ignored in silence: 'prevent_destory = true' protects nothing. The help of the error names the nearest known key or lists those of the table.\n\n'csictl schema' prints the JSON Schema for editors; csictl.toml(5) describes every key.",
    },
    Explanation {
        code: UNKNOWN_POOL,
        title: "A pool that is not declared",
        text: "pool names a table [pools.NAME] of the same manifest. A manifest without any pool uses one named default under the state directory.",
    },
    Explanation {
        code: UNKNOWN_VALUE,
        title: "A word or number that the key does not know",
        text: "The key takes one of a few words or numbers; the help lists them. fs.format knows no \"always\": csictl formats only what is proven blank, and has no switch that changes that.",
    },
    Explanation {
        code: UNKNOWN_VOLUME,
        title: "A volume that is not declared",
        text: "Pods and snapshots name volumes of the same manifest. Another project's volume can't be published from here.",
    },
    Explanation {
        code: WRONG_LIST,
        title: "A block volume under mounts, or a file system under devices",
        text: "A volume with volume_mode = \"block\" is published as a device node, under [[pods.NAME.devices]]; every other as a directory, under [[pods.NAME.mounts]].",
    },
    Explanation {
        code: WRONG_TYPE,
        title: "A value of another type than the key takes",
        text: "TOML values have types: text in quotes, true and false and numbers without, lists in [ ], tables in { } or under a [header]. Sizes and permissions are text: capacity = \"10GiB\", mode = \"0750\".",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_explained() {
        assert!(EXPLANATIONS.is_sorted_by(|a, b| a.code < b.code));
        for explanation in EXPLANATIONS {
            assert!(explanation.code.starts_with("csictl::manifest::"), "{}", explanation.code);
            assert!(explanation.text.len() > 60, "{}", explanation.code);
        }
    }
}
