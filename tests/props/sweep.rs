//! Whatever effect csictl is killed at, and whatever of the machine is lost with it, the same command given again ends the work.
//!
//! A sweep kills before every effect (which is also after the one before it), in the middle of those that have one, and after
//! the last; each time the process alone dies, every other time the power goes, too, or the machine boots. The parts of the sample are
//! swept one by one, its whole by sample; `CSICTL_SWEEP=full` leaves nothing out.

use std::collections::{BTreeMap, BTreeSet};

use csictl::host::ErrorKind;
use csictl::host::sim::{Effect, When};
use csictl::model::Capacity;
use csictl::plan::Intent;

use super::samples::{HEAD, PARTS, RICH, RICH_CANARIES, small};
use crate::support::world::{Order, Ran, World};

/// A command, and the machine it is given on.
struct Scenario {
    name: String,
    world: World,
    text: String,
    intent: Intent,
}

impl Scenario {
    fn new(name: impl Into<String>, world: World, text: impl Into<String>, intent: Intent) -> Self {
        Self { name: name.into(), world, text: text.into(), intent }
    }

    fn apply(name: impl Into<String>, world: World, text: impl Into<String>) -> Self {
        Self::new(name, world, text, Intent::Apply)
    }
}

/// What happens to the machine after csictl was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aftermath {
    /// Nothing.
    Killed,
    /// The power goes.
    PowerCut,
    /// It boots.
    Reboot,
}

impl Aftermath {
    fn of(self, world: &World) -> World {
        match self {
            Self::Killed => world.revive(),
            Self::Reboot => world.reboot(),
            Self::PowerCut => world.power_cut(),
        }
    }
}

/// [`RICH`] applied, with files of applications in it.
pub fn rich_world() -> World {
    let world = World::new();
    world.apply(RICH);
    for path in RICH_CANARIES {
        world.host.write_canary(path, path.as_bytes());
    }
    world.host.write_raw_canary("/srv/pods/db/raw", b"raw bytes");
    world
}

/// A part applied, with files of applications in it.
fn part_world(text: &str) -> World {
    let world = World::new();
    world.apply(text);
    for target in world.host_mounts() {
        world.host.write_canary(target.join("canary"), b"kept");
    }
    if text.contains("rawdisk") {
        world.host.write_raw_canary("/srv/pods/web/raw", b"raw bytes");
    }
    world
}

/// Every part of the sample as a whole manifest.
fn parts() -> impl Iterator<Item = (&'static str, String)> {
    PARTS.into_iter().map(|(name, text)| (name, format!("{HEAD}{text}")))
}

/// Whether nothing is left out.
fn everything() -> bool {
    std::env::var("CSICTL_SWEEP").is_ok_and(|how| how == "full")
}

/// One in how many places is swept of a whole manifest.
fn stride() -> usize {
    if everything() { 1 } else { 23 }
}

/// Which kills of a run are worth trying, one in `stride`: after an effect is before the next one.
fn places(effects: &[Effect], stride: usize) -> Vec<(u64, When, Aftermath)> {
    let kills = effects.iter().flat_map(|effect| {
        let last = effect.index + 1 == effects.len() as u64;
        When::ALL.into_iter().filter_map(move |when| {
            let worth = match when {
                When::Before => true,
                When::Half => has_half(effect.act),
                When::After => last,
            };
            worth.then_some((effect.index, when))
        })
    });
    let every = |turn: usize, nth: usize| everything() || turn.is_multiple_of(nth);
    let places = kills.enumerate().flat_map(|(turn, (index, when))| {
        let power = every(turn, 2).then_some(Aftermath::PowerCut);
        let boot = every(turn, 7).then_some(Aftermath::Reboot);
        [Some(Aftermath::Killed), power, boot].into_iter().flatten().map(move |aftermath| (index, when, aftermath))
    });
    places.step_by(stride).collect()
}

/// What has come of it when nothing failed: mounts, loops, sizes of images.
fn outcome(world: &World) -> (BTreeMap<String, String>, Vec<String>) {
    let images = world.files().into_iter().filter(|line| line.contains(".img ") || line.contains(".snap ")).collect();
    (world.seen(), images)
}

/// Which effects have a middle.
fn has_half(act: &str) -> bool {
    matches!(
        act,
        "create image"
            | "format"
            | "copy"
            | "resize image"
            | "allocate image"
            | "place image"
            | "change UUID"
            | "change group"
            | "write file"
            | "remove file"
            | "make target"
            | "mount"
    )
}

fn act(scenario: &Scenario, world: &World) -> Ran {
    world.run_for(&scenario.text, &scenario.intent, Order::Listed)
}

fn forgive(scenario: &Scenario) {
    let plan = scenario.world.plan_for(&scenario.text, &scenario.intent);
    for loss in plan.losses() {
        let csictl::model::ObjectRef::Volume(id) = &loss.object else { continue };
        scenario.world.host.forgive(format!("/srv/pool/{id}.img"));
        if id.short() == "archive" {
            scenario.world.host.forgive("/dev/sim1");
        }
    }
}

/// Runs a scenario whole; answers its effects and what came of it.
fn whole(scenario: &Scenario) -> (Vec<Effect>, World) {
    forgive(scenario);
    let world = scenario.world.fork();
    world.host.clear_effects();
    act(scenario, &world).ok();
    let left = world.plan_for(&scenario.text, &scenario.intent);
    assert!(left.is_empty(), "{}: done, and yet to do: {:#?}", scenario.name, left.steps);
    world.sound();
    (world.host.effects(), world)
}

/// The same command given again ends the work.
fn ends(scenario: &Scenario, world: &World) {
    act(scenario, world).ok();
    let left = world.plan_for(&scenario.text, &scenario.intent);
    assert!(left.is_empty() && left.refused.is_empty(), "still to do: {:#?}, {:#?}", left.steps, left.refused);
    world.sound();
}

/// Kills csictl at the effects of the scenario, and runs it again.
fn converges(scenario: &Scenario, stride: usize) {
    let (effects, finished) = whole(scenario);
    let expected = outcome(&finished);
    let mut failures = Vec::new();
    for (index, when, aftermath) in places(&effects, stride) {
        let again = std::panic::catch_unwind(|| {
            let world = scenario.world.fork();
            world.host.crash_at(index, when);
            act(scenario, &world);
            assert!(world.host.is_dead(), "the effect was never come to");
            let world = aftermath.of(&world);
            ends(scenario, &world);
            if aftermath == Aftermath::Killed {
                assert_eq!(outcome(&world), expected);
            }
        });
        if let Err(panic) = again {
            let effect = &effects[usize::try_from(index).unwrap()];
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let place = format!("killed {when:?} {index} ({} {}), {aftermath:?}", effect.act, effect.object.display());
            failures.push(format!("{place}: {text}"));
        }
    }
    report(&scenario.name, &failures);
}

/// Lets the effects of the scenario fail, one at a time, and runs it again.
fn survives_errors(scenario: &Scenario, kind: ErrorKind, stride: usize) {
    let (effects, _) = whole(scenario);
    let mut failures = Vec::new();
    for (turn, effect) in effects.iter().enumerate() {
        for when in When::ALL {
            if when == When::Half && !has_half(effect.act) || !(turn + when as usize).is_multiple_of(stride) {
                continue;
            }
            let again = std::panic::catch_unwind(|| {
                let world = scenario.world.fork();
                world.host.fail_at_when(effect.index, kind, when);
                let ran = act(scenario, &world);
                for (_, error) in &ran.failed {
                    assert!(!error.to_string().is_empty());
                }
                // A new process, as the user's next command is one.
                ends(scenario, &world.revive());
            });
            if let Err(panic) = again {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                let place = format!("{kind:?} {when:?} {} ({} {})", effect.index, effect.act, effect.object.display());
                failures.push(format!("{place}: {text}"));
            }
        }
    }
    report(&scenario.name, &failures);
}

fn report(name: &str, failures: &[String]) {
    let first: Vec<String> = failures.iter().take(4).map(|text| text.chars().take(1200).collect()).collect();
    assert!(failures.is_empty(), "{name}: {} failures, the first: {first:#?}", failures.len());
}

fn destroy() -> Intent {
    Intent::Destroy { delete_data: BTreeSet::new() }
}

#[test]
fn an_apply_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts() {
        converges(&Scenario::apply(format!("apply {name}"), World::new(), text), 1);
    }
    converges(&Scenario::apply("apply", World::new(), RICH), stride());
}

#[test]
fn a_destroy_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts() {
        converges(&Scenario::new(format!("destroy {name}"), part_world(&text), text, destroy()), 1);
    }
    converges(&Scenario::new("destroy", rich_world(), RICH, destroy()), stride());
}

#[test]
fn a_destroy_with_data_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts() {
        let world = part_world(&text);
        let delete_data = world.desired(&text).volumes.into_keys().collect();
        let intent = Intent::Destroy { delete_data };
        converges(&Scenario::new(format!("destroy with data {name}"), world, text, intent), 1);
    }
}

/// A manifest with every image larger.
fn grown(text: &str) -> String {
    text.replace("96MiB", "120MiB")
        .replace("64MiB", "80MiB")
        .replace("128MiB", "256MiB")
        .replace("300MiB", "400MiB")
        .replace("\"32MiB", "\"48MiB")
}

#[test]
fn an_expand_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts().take(4) {
        converges(&Scenario::apply(format!("expand {name}"), part_world(&text), grown(&text)), 1);
    }
    converges(&Scenario::apply("expand", rich_world(), grown(RICH)), stride());
}

#[test]
fn an_offline_expand_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts().take(2) {
        let world = part_world(&text);
        world.host.set_facts(|facts| facts.can_grow_ext4_online = false);
        converges(&Scenario::apply(format!("expand offline {name}"), world, grown(&text)), 1);
    }
}

/// What somebody asked for by name is no word of the manifest's: it stands as a note, and refuses nothing. Where the expand itself came to
/// its end, that size was applied and is the least there can be.
#[test]
fn an_expand_by_name_cut_short_leaves_the_unchanged_manifest_in_force() {
    let mut failures = Vec::new();
    let cases =
        [("fs = { type = \"ext4\" }", true), ("fs = { type = \"ext4\" }", false), ("fs = { type = \"xfs\" }", true)];
    for (fs, online) in cases {
        let text = small("shop", "data", &format!("capacity = \"300MiB\"\nimage = {{ allocate = \"sparse\" }}\n{fs}"));
        let base = part_world(&text);
        base.host.set_facts(|facts| facts.can_grow_ext4_online = online);
        let desired = base.desired(&text);
        for volume in desired.volumes.values() {
            let to = Capacity::bytes(volume.required().unwrap().get() * 2);
            let intent = Intent::Expand { volume: volume.id.clone(), to };
            let whole = base.fork();
            whole.host.clear_effects();
            whole.run_for(&text, &intent, Order::Listed).ok();
            for effect in whole.host.effects() {
                for fault in When::ALL.map(Ok).into_iter().chain([Err(ErrorKind::Io), Err(ErrorKind::NoSpace)]) {
                    let world = base.fork();
                    match fault {
                        Ok(when) => world.host.crash_at(effect.index, when),
                        Err(kind) => world.host.fail_at(effect.index, kind),
                    }
                    world.run_for(&text, &intent, Order::Listed);
                    let world = world.revive();
                    let place = format!("{fs} {online} {}, {fault:?} {} ({})", volume.id, effect.index, effect.act);
                    let record = world.driver().record(&volume.id);
                    if record.present().unwrap().spec.required() == Some(to) {
                        continue;
                    }
                    for turn in ["first", "second", "third"] {
                        let plan = world.plan(&text);
                        if !plan.refused.is_empty() || turn == "third" && !plan.is_empty() {
                            failures.push(format!("{place}, {turn}: {:?} {:?}", plan.refused, plan.steps));
                            break;
                        }
                        world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed).ok();
                    }
                }
            }
        }
    }
    report("expand by name", &failures);
}

#[test]
fn a_replace_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts().skip(3) {
        let changed = text.replace("type = \"btrfs\"", "type = \"ext4\"").replace("type = \"xfs\"", "type = \"btrfs\"");
        assert_ne!(changed, text);
        converges(&Scenario::apply(format!("replace {name}"), part_world(&text), changed), 1);
    }
}

#[test]
fn a_change_in_place_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts() {
        let changed = text
            .replace("[\"noatime\"]", "[\"noexec\"]")
            .replace("33:33", "34:34")
            .replace("0750", "0700")
            .replace("fs_group = 999", "fs_group = 998")
            .replace("read_only = true", "read_only = false")
            .replace("/srv/pods/worker/logs", "/srv/pods/worker/log")
            .replace("/srv/pods/web/raw", "/srv/pods/web/disk");
        converges(&Scenario::apply(format!("change {name}"), part_world(&text), changed), 1);
    }
}

#[test]
fn leaving_the_manifest_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts() {
        converges(&Scenario::apply(format!("leave {name}"), part_world(&text), HEAD), 1);
    }
}

#[test]
fn copies_of_what_is_written_killed_anywhere_are_ended_by_the_next() {
    let more = [("pgdata", "128MiB"), ("media", "128MiB"), ("logs", "300MiB")];
    for (name, text) in parts() {
        let Some((volume, size)) = more.iter().find(|(volume, _)| text.contains(&format!("[volumes.{volume}]"))) else {
            continue;
        };
        let changed = format!(
            "{text}\n[snapshots.later]\nvolume = \"{volume}\"\n[volumes.twin]\nsource = {{ volume = \"{volume}\" }}\ncapacity = \"{size}\"\nimage = {{ allocate = \"sparse\" }}\n[pods.twin]\n[[pods.twin.mounts]]\nvolume = \"twin\"\npath = \"/srv/pods/twin\"\n"
        );
        for reflink in [false, true] {
            let world = part_world(&text);
            world.host.set_reflink(reflink);
            converges(&Scenario::apply(format!("copy {name}, reflink {reflink}"), world, changed.clone()), 1);
        }
    }
}

#[test]
fn an_apply_after_a_boot_killed_anywhere_is_ended_by_the_next() {
    for (name, text) in parts() {
        converges(&Scenario::apply(format!("apply {name} after a boot"), part_world(&text).reboot(), text), 1);
    }
}

#[test]
fn an_error_anywhere_is_told_and_the_next_apply_ends_the_work() {
    for (name, text) in parts() {
        survives_errors(&Scenario::apply(format!("apply {name}"), World::new(), text.clone()), ErrorKind::Io, 2);
        survives_errors(&Scenario::apply(format!("apply {name}"), World::new(), text.clone()), ErrorKind::NoSpace, 5);
        survives_errors(
            &Scenario::new(format!("destroy {name}"), part_world(&text), text.clone(), destroy()),
            ErrorKind::Busy,
            2,
        );
        survives_errors(&Scenario::apply(format!("expand {name}"), part_world(&text), grown(&text)), ErrorKind::Io, 2);
    }
}

#[test]
fn a_disk_formatted_in_stage_survives_a_kill_of_its_mkfs() {
    for fs in ["ext4", "xfs", "btrfs"] {
        let text = small(
            "shop",
            "disk",
            &format!("device = {{ path = \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\" }}\nfs = {{ type = \"{fs}\" }}"),
        );
        converges(&Scenario::apply(format!("format a disk with {fs}"), World::new(), text), 1);
    }
}
