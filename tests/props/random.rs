//! Random manifests, and random changes between two of them.

use std::collections::BTreeSet;
use std::fmt::Write;

use csictl::model::{Approval, ObjectRef};
use csictl::plan::{Intent, Plan};
use proptest::prelude::*;

use crate::support::world::{DISK, Order, World};

/// A volume of a random manifest.
#[derive(Debug, Clone)]
struct Volume {
    backing: Backing,
    mib: u64,
    fs: &'static str,
    sparse: bool,
    many: bool,
    source: Source,
    reclaim_delete: bool,
    snapshot: bool,
    options: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backing {
    Image,
    Block,
    Disk,
    Directory,
    Tmpfs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    None,
    /// A clone of the volume before it.
    Volume,
    /// A restore of the snapshot of the volume before it.
    Snapshot,
}

/// A pod: which volumes it mounts, and where.
#[derive(Debug, Clone)]
struct Mount {
    pod: usize,
    volume: usize,
    /// How deep below other targets it lies.
    depth: usize,
    read_only: bool,
}

#[derive(Debug, Clone)]
struct Manifest {
    volumes: Vec<Option<Volume>>,
    mounts: Vec<Mount>,
}

fn volume() -> impl Strategy<Value = Volume> {
    let backing = prop_oneof![
        6 => Just(Backing::Image),
        1 => Just(Backing::Block),
        1 => Just(Backing::Disk),
        1 => Just(Backing::Directory),
        1 => Just(Backing::Tmpfs)
    ];
    let fs = prop_oneof![Just("ext4"), Just("xfs"), Just("btrfs")];
    let source = prop_oneof![5 => Just(Source::None), 1 => Just(Source::Volume), 1 => Just(Source::Snapshot)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (backing, 300_u64..304, fs, source, flags).prop_map(
        |(backing, mib, fs, source, (sparse, many, reclaim_delete, snapshot, options))| Volume {
            backing,
            mib,
            fs,
            sparse,
            many,
            source,
            reclaim_delete,
            snapshot,
            options,
        },
    )
}

fn mount() -> impl Strategy<Value = Mount> {
    (0..3_usize, 0..5_usize, 0..3_usize, any::<bool>()).prop_map(|(pod, volume, depth, read_only)| Mount {
        pod,
        volume,
        depth,
        read_only,
    })
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let volumes = proptest::collection::vec(proptest::option::weighted(0.85, volume()), 5);
    (volumes, proptest::collection::vec(mount(), 0..7)).prop_map(|(volumes, mounts)| Manifest { volumes, mounts })
}

/// Two versions of a manifest, in which about every third volume is another.
fn change() -> impl Strategy<Value = (Manifest, Manifest)> {
    (manifest(), manifest(), proptest::collection::vec(proptest::bool::weighted(0.3), 5), any::<bool>()).prop_map(
        |(old, other, changed, mounts)| {
            let mut new = old.clone();
            for (index, changed) in changed.into_iter().enumerate() {
                if changed {
                    new.volumes[index].clone_from(&other.volumes[index]);
                }
            }
            if mounts {
                new.mounts = other.mounts;
            }
            (old, new)
        },
    )
}

impl Manifest {
    /// As text; what a manifest's rules forbid is left out.
    fn text(&self) -> String {
        let mut text = String::from("version = 1\nproject = \"rand\"\n[pools.main]\npath = \"/srv/pool\"\n");
        let mut kept: Vec<Option<&Volume>> = Vec::new();
        for (index, volume) in self.volumes.iter().enumerate() {
            let Some(volume) = volume else {
                kept.push(None);
                continue;
            };
            // There is one disk, and it does not change hands.
            if volume.backing == Backing::Disk && index != 4 {
                kept.push(None);
                continue;
            }
            let before = index.checked_sub(1).and_then(|before| kept[before]);
            let source = before.filter(|before| {
                volume.backing == Backing::Image
                    && before.backing == Backing::Image
                    && (volume.source == Source::Volume || volume.source == Source::Snapshot && before.snapshot)
            });
            kept.push(Some(volume));
            let _ = writeln!(text, "[volumes.v{index}]");
            let _ = match volume.backing {
                Backing::Image | Backing::Block => {
                    writeln!(text, "capacity = \"{}MiB\"", volume.mib + 8 * index as u64)
                }
                Backing::Disk => writeln!(text, "device = {{ path = \"{DISK}\" }}"),
                Backing::Directory => {
                    writeln!(text, "directory = {{ path = \"/srv/directories/v{index}\", create = true }}")
                }
                Backing::Tmpfs => writeln!(text, "tmpfs = {{ size = \"{}MiB\" }}", volume.mib),
            };
            if volume.backing == Backing::Block {
                text.push_str("volume_mode = \"block\"\n");
            }
            if matches!(volume.backing, Backing::Image | Backing::Block) && volume.sparse {
                text.push_str("image = { allocate = \"sparse\" }\n");
            }
            if volume.reclaim_delete {
                text.push_str("reclaim = \"delete\"\n");
            }
            if volume.many {
                text.push_str("access_mode = \"single-node-multi-writer\"\n");
            }
            if volume.options && volume.backing != Backing::Block {
                text.push_str("mount_options = [\"noatime\"]\n");
            }
            match source {
                Some(_) => {
                    let before = index - 1;
                    let _ = match volume.source {
                        Source::Snapshot => writeln!(text, "source = {{ snapshot = \"s{before}\" }}"),
                        _ => writeln!(text, "source = {{ volume = \"v{before}\" }}"),
                    };
                }
                None if matches!(volume.backing, Backing::Image | Backing::Disk) => {
                    let _ = writeln!(text, "fs = {{ type = \"{}\" }}", volume.fs);
                }
                None => {}
            }
        }
        for (index, volume) in kept.iter().enumerate() {
            if volume.is_some_and(|volume| volume.snapshot && matches!(volume.backing, Backing::Image)) {
                let _ = writeln!(text, "[snapshots.s{index}]\nvolume = \"v{index}\"");
            }
        }
        self.pods(&kept, &mut text);
        text
    }

    fn pods(&self, kept: &[Option<&Volume>], text: &mut String) {
        let mut used: BTreeSet<usize> = BTreeSet::new();
        let mut paths: BTreeSet<String> = BTreeSet::new();
        let mut devices: BTreeSet<String> = BTreeSet::new();
        for pod in 0..3 {
            let mut began = false;
            for mount in self.mounts.iter().filter(|mount| mount.pod == pod) {
                let Some(volume) = kept[mount.volume] else { continue };
                let again = !used.insert(mount.volume);
                if again && !volume.many {
                    continue;
                }
                let block = volume.backing == Backing::Block;
                // Below a read-only mount, which only lies deepest, no target can be made.
                let (depth, end) = if block { (mount.depth.min(1), "/dev") } else { (mount.depth, "") };
                // A volume within itself shows one file at two paths: its further mounts lie apart.
                let path = if again {
                    format!("/srv/targets-{pod}-{}{end}", mount.volume)
                } else {
                    format!("/srv/targets{}{end}", "/deep".repeat(depth))
                };
                // A block device is published on a file: nothing nests below it.
                let clashes =
                    !paths.insert(path.clone()) || devices.iter().any(|device| path.starts_with(device.as_str()));
                if clashes {
                    continue;
                }
                if block {
                    devices.insert(path.clone());
                }
                if !std::mem::replace(&mut began, true) {
                    let _ = writeln!(text, "[pods.p{pod}]");
                }
                let kind = if block { "devices" } else { "mounts" };
                let _ = writeln!(text, "[[pods.p{pod}.{kind}]]\nvolume = \"v{}\"\npath = \"{path}\"", mount.volume);
                if mount.read_only && !block && mount.depth == 2 {
                    text.push_str("read_only = true\n");
                }
            }
        }
    }
}

/// Runs a plan with all its losses approved; data that may go is forgiven.
fn run_all(world: &World, plan: Plan, order: Order) {
    for loss in plan.losses() {
        if let ObjectRef::Volume(id) = &loss.object {
            world.host.forgive(format!("/srv/pool/{id}.img"));
            world.host.forgive("/dev/sim1");
        }
    }
    let approvals = plan.losses().into_iter().map(|loss| Approval { object: loss.object, loss: loss.loss }).collect();
    world.run(&plan.approve(&approvals).unwrap(), order).ok();
}

/// Applications write into everything that is mounted.
fn write_everywhere(world: &World) {
    for mount in world.host_mounts() {
        world.host.write_canary(mount.join("canary"), b"kept");
    }
}

/// The same cases every time, so that a failure is the fault of the change at hand; `PROPTEST_CASES` and `CSICTL_SEED` look further.
fn config() -> ProptestConfig {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    ProptestConfig {
        cases: u32::try_from(number("PROPTEST_CASES", 96)).unwrap(),
        rng_seed: proptest::test_runner::RngSeed::Fixed(number("CSICTL_SEED", 7)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn apply_then_plan_is_empty_and_destroy_leads_back(manifest in manifest(), seed in any::<u64>()) {
        let world = World::new();
        let nothing = world.seen();
        let text = manifest.text();
        let plan = world.plan(&text);
        prop_assert!(plan.refused.is_empty(), "{:#?}\n{text}", plan.refused);
        run_all(&world, plan, Order::Random(seed));
        write_everywhere(&world);
        world.settled(&text);
        let destroy = Intent::Destroy { delete_data: BTreeSet::new() };
        run_all(&world, world.plan_for(&text, &destroy), Order::Random(seed));
        world.sound();
        prop_assert_eq!(world.seen(), nothing);
        let left: Vec<_> = world.files().into_iter().filter(|line| line.starts_with("/srv/targets")).collect();
        prop_assert!(left.is_empty(), "{left:#?}\n{text}");
        run_all(&world, world.plan(&text), Order::Random(seed));
        world.settled(&text);
    }

    #[test]
    fn a_change_converges_or_is_refused_whole((old, new) in change(), seed in any::<u64>()) {
        let world = World::new();
        let (old, new) = (old.text(), new.text());
        world.apply(&old);
        write_everywhere(&world);
        let plan = world.plan(&new);
        if plan.refused.is_empty() {
            run_all(&world, plan, Order::Random(seed));
            let again = world.plan(&new);
            prop_assert!(again.is_empty(), "still to do: {:#?}\nfrom\n{old}\nto\n{new}", again.steps);
        }
        world.sound();
    }

    #[test]
    fn a_change_killed_anywhere_converges((old, new) in change(), at in any::<proptest::sample::Index>(), when in 0..3_usize, lost in any::<bool>()) {
        let world = World::new();
        let (old, new) = (old.text(), new.text());
        world.apply(&old);
        write_everywhere(&world);
        let plan = world.plan(&new);
        if !plan.refused.is_empty() || plan.is_empty() {
            return Ok(());
        }
        let whole = world.fork();
        let effects = {
            let before = whole.host.count();
            run_all(&whole, whole.plan(&new), Order::Listed);
            usize::try_from(whole.host.count() - before).unwrap()
        };
        prop_assume!(effects > 0);
        let at = u64::try_from(at.index(effects)).unwrap();
        let world = world.fork();
        for loss in plan.losses() {
            if let ObjectRef::Volume(id) = &loss.object {
                world.host.forgive(format!("/srv/pool/{id}.img"));
                world.host.forgive("/dev/sim1");
            }
        }
        world.host.crash_at(at, csictl::host::sim::When::ALL[when]);
        let approvals = plan.losses().into_iter().map(|loss| Approval { object: loss.object, loss: loss.loss }).collect();
        world.run(&plan.approve(&approvals).unwrap(), Order::Listed);
        let world = if lost { world.power_cut() } else { world.revive() };
        let plan = world.plan(&new);
        prop_assert!(plan.refused.is_empty(), "{:#?}\nfrom\n{old}\nto\n{new}", plan.refused);
        run_all(&world, plan, Order::Listed);
        let again = world.plan(&new);
        prop_assert!(again.is_empty(), "still to do: {:#?}\nfrom\n{old}\nto\n{new}", again.steps);
        world.sound();
    }
}
