//! Manifests made at random that are right by construction: all are accepted, and the order of their blocks means nothing.

use proptest::prelude::*;

use csictl::model::{Backing, VolumeMode};

use super::accept;

/// One volume: its keys, and whether it can have many publishes and of which kind.
#[derive(Debug, Clone)]
struct Made {
    lines: String,
    block: bool,
    many: bool,
}

fn backing() -> impl Strategy<Value = (String, bool)> {
    let fs = prop::sample::select(vec![
        "",
        "fs = { type = \"ext4\", label = \"data\" }",
        "fs = { type = \"xfs\" }",
        "fs = { type = \"btrfs\", format = \"never\" }",
    ]);
    let image = (
        fs,
        prop::sample::select(vec!["", "image = { allocate = \"sparse\" }", "image = { sector_size = 4096 }"]),
        300..9000_u32,
    )
        .prop_map(|(fs, image, size)| (format!("capacity = \"{size}MiB\"\n{fs}\n{image}\n"), false));
    let block = (1..900_u32).prop_map(|size| (format!("volume_mode = \"block\"\ncapacity = \"{size}MB\"\n"), true));
    let tmpfs = (1..900_u32).prop_map(|size| (format!("tmpfs = {{ size = \"{size}KiB\" }}\n"), false));
    prop_oneof![3 => image, 1 => block, 1 => tmpfs]
}

fn volume() -> impl Strategy<Value = Made> {
    let mode = prop::sample::select(vec![
        ("", false),
        ("access_mode = \"rwo\"", true),
        ("access_mode = \"rwop\"", false),
        ("access_mode = \"rox\"", false),
    ]);
    let more = prop::sample::select(vec!["", "description = \"x\"", "reclaim = \"delete\"", "class = \"c\""]);
    (backing(), mode, more).prop_map(|((backing, block), (mode, many), more)| Made {
        lines: format!("{backing}{mode}\n{more}\n"),
        block,
        many,
    })
}

/// The blocks of a manifest: volumes `v0`, `v1`…, and pods that publish each as often as it allows.
fn blocks(volumes: &[Made], publishes: usize) -> Vec<String> {
    let mut blocks = vec!["[classes.c]\nmount_options = [\"noatime\"]\n".to_owned()];
    for (index, volume) in volumes.iter().enumerate() {
        blocks.push(format!("[volumes.v{index}]\n{}", volume.lines));
        let times = if volume.many { publishes } else { publishes.min(1) };
        for time in 0..times {
            let list = if volume.block { "devices" } else { "mounts" };
            blocks.push(format!(
                "[[pods.p{index}-{time}.{list}]]\nvolume = \"v{index}\"\npath = \"/mnt/{index}/{time}\"\n"
            ));
        }
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn right_manifests_are_accepted_whatever_their_order(
        volumes in prop::collection::vec(volume(), 0..12),
        publishes in 0..4_usize,
        seed in any::<u64>(),
    ) {
        let blocks = blocks(&volumes, publishes);
        let mut shuffled = blocks.clone();
        for index in (1..shuffled.len()).rev() {
            let other = usize::try_from(seed.rotate_left(u32::try_from(index).unwrap()) % (index as u64 + 1)).unwrap();
            shuffled.swap(index, other);
        }

        let desired = accept(&format!("project = \"p\"\n{}", blocks.concat()));

        prop_assert_eq!(&desired, &accept(&format!("project = \"p\"\n{}", shuffled.concat())));
        prop_assert_eq!(desired.volumes.len(), volumes.len());
        for volume in desired.volumes.values() {
            let image = matches!(volume.backing, Backing::Image(_));
            prop_assert_eq!(volume.capacity.is_some(), image);
            prop_assert_eq!(volume.fs.is_some(), image && volume.volume_mode == VolumeMode::Filesystem);
        }
    }
}
