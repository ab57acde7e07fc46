//! Random manifests on random machines: whatever the two are, a plan is a graph that can be run in any order it allows, loses nothing it does
//! not say, and leads to where a second plan has nothing to do.

use std::collections::BTreeSet;

use csictl::model::{AccessMode, Action, Backing, FsType, Reclaim, VolumeSpec};
use csictl::plan::{ChangeKind, Plan, Risk, fingerprint};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::plan::world::{World, clone_of, directory, id, image, raw, sized, tmpfs, with_fs};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Nested on purpose, and below one of them lie the bytes of directory volumes.
const PATHS: [&str; 7] = ["/m", "/m/x", "/m/x/y", "/m/z", "/n", "/n/dir", "/o"];
const PODS: [&str; 2] = ["web", "job"];

/// One volume: which kind, how large, on what terms.
#[derive(Debug, Clone)]
struct Piece {
    kind: u8,
    gib: u64,
    delete: bool,
    options: bool,
    snapshot: bool,
}

#[derive(Debug, Clone)]
struct Manifest {
    pieces: Vec<Option<Piece>>,
    mounts: Vec<(usize, usize, usize, bool)>,
}

fn piece() -> impl Strategy<Value = Piece> {
    (0_u8..8, 1_u64..4, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(kind, gib, delete, options, snapshot)| Piece { kind, gib, delete, options, snapshot })
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let mount = (0..NAMES.len(), 0..PATHS.len(), 0..PODS.len(), any::<bool>());
    let pieces = prop::collection::vec(prop::option::weighted(0.8, piece()), NAMES.len());
    (pieces, prop::collection::vec(mount, 0..8)).prop_map(|(pieces, mounts)| Manifest { pieces, mounts })
}

fn spec(name: &str, piece: &Piece, index: usize) -> VolumeSpec {
    let mut spec = match piece.kind {
        0 => raw(name),
        1 => with_fs(image(name), FsType::Xfs),
        2 => tmpfs(name),
        3 => directory(name, "/n/dir/deep"),
        // The first volume has nobody before it to copy.
        4 if index > 0 => clone_of(name, NAMES[index - 1]),
        _ => image(name),
    };
    if matches!(spec.backing, Backing::Image(_)) {
        spec = sized(spec, piece.gib);
    }
    spec.reclaim = if piece.delete { Reclaim::Delete } else { Reclaim::Retain };
    spec.access_mode = AccessMode::SingleNodeMultiWriter;
    if piece.options && !spec.is_raw() {
        spec.mount_options = vec!["noatime".to_owned()];
    }
    spec
}

impl Manifest {
    /// The world with this manifest in place of its own. Mounts are written in the given order, or backwards.
    fn onto(&self, mut world: World, backwards: bool) -> World {
        world.desired.volumes.clear();
        world.desired.pods.clear();
        world.desired.snapshots.clear();
        for (index, piece) in self.pieces.iter().enumerate() {
            let Some(piece) = piece else { continue };
            world = world.with(spec(NAMES[index], piece, index));
            if piece.snapshot && !matches!(piece.kind, 2 | 3) {
                world = world.snapshot(NAMES[index], NAMES[index]);
            }
        }
        let mut taken = BTreeSet::new();
        let mounts =
            self.mounts.iter().filter(|(volume, path, ..)| self.pieces[*volume].is_some() && taken.insert(*path));
        let mut mounts: Vec<_> = mounts.collect();
        if backwards {
            mounts.reverse();
        }
        for (volume, path, pod, read_only) in mounts {
            let (name, raw) = (NAMES[*volume], self.pieces[*volume].as_ref().is_some_and(|piece| piece.kind == 0));
            // A path below a raw device cannot be; the manifest would be refused.
            let target = if raw { format!("/dev/{path}") } else { PATHS[*path].to_owned() };
            world = world.shown_as(PODS[*pod], name, &target, |publish| publish.read_only = *read_only && !raw);
        }
        world
    }
}

/// Runs a plan in one of the orders its edges allow, chosen by `luck`.
fn run_somehow(world: &mut World, plan: &Plan, luck: &[Index]) {
    let mut done = vec![false; plan.steps.len()];
    for turn in 0..plan.steps.len() {
        let ready: Vec<usize> = (0..done.len())
            .filter(|&step| !done[step] && plan.steps[step].after.iter().all(|&before| done[before]))
            .collect();
        let step = *luck[turn % luck.len()].get(&ready);
        world.step(&plan.steps[step].action);
        done[step] = true;
    }
}

/// What holds for any plan at all.
fn sound(world: &World, plan: &Plan) {
    for (index, step) in plan.steps.iter().enumerate() {
        assert_eq!(step.index, index);
        assert!(step.after.iter().all(|&before| before < index), "{} waits for a later step", step.id());
        assert!(step.after.is_sorted() && step.after.windows(2).all(|pair| pair[0] != pair[1]));
        let object = step.object();
        let known = plan.changes.iter().any(|change| change.object == object && change.kind != ChangeKind::Unchanged);
        assert!(known, "{object} has a step and no change");
        let loses = match &step.action {
            Action::Create(request) => request.replaces,
            Action::DeleteSnapshot(_) => true,
            Action::Delete(request) => {
                let record = world.observed.volumes[&request.id].record.present().unwrap();
                matches!(record.spec.backing, Backing::Image(_))
            }
            _ => false,
        };
        assert_eq!(step.risk == Risk::DataLoss, loses, "{} {object}", step.verb());
        assert!(!step.reason.is_empty());
    }
    // A refused plan is never run, and one with a circle has no steps at all.
    for change in plan.changes.iter().filter(|_| plan.refused.is_empty()) {
        let acted = plan.steps.iter().any(|step| step.object() == change.object);
        assert_eq!(acted, change.kind != ChangeKind::Unchanged, "{}", change.object);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn apply_converges_from_anywhere(
        first in manifest(),
        second in manifest(),
        lost in prop::collection::vec(any::<Index>(), 0..3),
        reboot in prop::bool::weighted(0.2),
        online in any::<bool>(),
        luck in prop::collection::vec(any::<Index>(), 7),
    ) {
        let mut world = first.onto(World::new(), false);
        world.observed.host.can_grow_ext4_online = online;
        let plan = world.plan();
        sound(&world, &plan);
        if plan.refused.is_empty() {
            run_somehow(&mut world, &plan, &luck);
            let again = world.plan();
            prop_assert!(again.is_empty(), "a second apply: {:?}", crate::plan::world::shown(&again));
        }
        if reboot {
            world = world.rebooted();
        }
        for index in lost {
            world.lose(index.index(100));
        }
        world = second.onto(world, false);
        let plan = world.plan();
        sound(&world, &plan);
        if plan.refused.is_empty() {
            run_somehow(&mut world, &plan, &luck);
            let again = world.plan();
            prop_assert!(again.is_empty(), "a second apply: {:?}", crate::plan::world::shown(&again));
            prop_assert_eq!(again.drift, vec![]);
        }
    }

    #[test]
    fn the_order_of_the_manifest_means_nothing(first in manifest(), second in manifest()) {
        let mut world = first.onto(World::new(), false);
        let plan = world.plan();
        if plan.refused.is_empty() {
            world.run(&plan);
        }
        let (forth, back) = (second.onto(world.clone(), false), second.onto(world, true));
        let (one, other) = (forth.plan(), back.plan());
        prop_assert_eq!(&one.steps, &other.steps);
        prop_assert_eq!(&one.changes, &other.changes);
        prop_assert_eq!(fingerprint(&one, &forth.observed), fingerprint(&other, &back.observed));
    }

    #[test]
    fn destroy_leaves_nothing_up_and_loses_only_what_is_named(
        manifest in manifest(),
        named in select(&NAMES[..]),
        luck in prop::collection::vec(any::<Index>(), 7),
    ) {
        let mut world = manifest.onto(World::new(), false);
        prop_assert!(world.destroy(&[]).is_empty(), "there is nothing yet");
        let plan = world.plan();
        if plan.refused.is_empty() {
            world.run(&plan);
        }
        let plan = world.destroy(&[named]);
        sound(&world, &plan);
        let only_named = plan.losses().iter().all(|loss| loss.object == crate::plan::world::volume(named));
        prop_assert!(only_named);
        run_somehow(&mut world, &plan, &luck);
        prop_assert!(world.destroy(&[named]).is_empty());
        for volume in world.observed.volumes.values() {
            prop_assert!(volume.staged.is_none() && volume.loop_device.is_none() && volume.published.is_empty());
        }
        prop_assert!(!world.observed.volumes.contains_key(&id(named)));
    }
}
