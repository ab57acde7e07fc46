//! Threat: a target or staging path is swapped for a symbolic link, or for another directory, between the look and the mount
//! (CVE-2021-30465, CVE-2021-25741). Nothing may ever be mounted outside, and nothing of others be taken away.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use csictl::driver::DriverError;
use csictl::host::Observe;
use csictl::host::linux::LinuxObserve;
use csictl::model::Action;
use csictl::model::action::{Outcome, UnstageRequest};

use super::machine::{Exchanger, Machine, ONE_VOLUME, foreign_tmpfs};
use crate::support::Place;

/// Exchanges that a race has to see, and rounds that csictl has to have made meanwhile.
const EXCHANGES: usize = 10_000;
const ROUNDS: usize = 300;

/// So long nothing could be exchanged only if a mount lies on one of the names, however busy the machine is.
const STUCK: Duration = Duration::from_secs(20);

/// What the two works of a round, there and back, ended with.
type Said = [Result<Outcome, DriverError>; 2];

/// Exchanges two names while `round` is played, until there were enough of both.
fn race(one: PathBuf, other: PathBuf, rounds: usize, mut round: impl FnMut() -> Said) {
    let around = one.parent().unwrap().to_owned();
    std::thread::scope(|scope| {
        let exchanger = Exchanger::begin(scope, one, other);
        let (mut played, mut seen, mut since) = (0, 0, Instant::now());
        while exchanger.exchanges() < EXCHANGES || played < rounds {
            let said = round();
            played += 1;
            if exchanger.exchanges() != seen {
                (seen, since) = (exchanger.exchanges(), Instant::now());
            }
            assert!(
                since.elapsed() < STUCK,
                "nothing can be exchanged any more after {seen} and {played} rounds: a mount was left: {:?}; the last round said {said:?}",
                mounts_below(&around)
            );
        }
    });
}

/// A rename that had begun before something was mounted on one of its names may end after, and carry the mount along. What is told to be taken
/// down is down; else the answer names where it is, and here it is taken away by hand.
fn is_told(around: &Path, said: Said) -> Said {
    for left in mounts_below(around) {
        let told = said[1].as_ref().is_err_and(|error| error.to_string().contains(left.to_str().unwrap()));
        assert!(told, "{} is left, and the answers were {said:?}", left.display());
        nix::mount::umount2(&left, nix::mount::MntFlags::UMOUNT_NOFOLLOW).unwrap();
    }
    said
}

fn count(answer: &Result<Outcome, DriverError>, done: &mut usize, refused: &mut usize) {
    *(if answer.is_ok() { done } else { refused }) += 1;
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = LinuxObserve::new().mount_table().unwrap();
    table.iter().map(|mount| mount.target.clone()).filter(|target| target.starts_with(folder)).collect()
}

/// A place whose pod has its directories already, with a victim beside it and a link to the victim.
fn pod_and_victim() -> (Machine, PathBuf) {
    let place = Place::new();
    let victim = place.join("victim");
    fs::create_dir_all(place.join("pods/web/data")).unwrap();
    fs::create_dir_all(victim.join("data")).unwrap();
    fs::write(victim.join("data/keep"), "precious").unwrap();
    symlink(&victim, place.join("pods/swap")).unwrap();
    (Machine::new(place, ONE_VOLUME).staged(), victim)
}

#[test]
fn a_target_whose_parent_is_exchanged_with_a_link_never_lets_a_mount_outside() {
    let (machine, victim) = pod_and_victim();
    let pods = machine.place.join("pods");
    let (mut published, mut refused) = (0, 0);

    race(pods.join("web"), pods.join("swap"), ROUNDS, || {
        let there = machine.run(&Action::Publish(machine.publish().clone()));
        count(&there, &mut published, &mut refused);
        assert_eq!(mounts_below(&victim), Vec::<PathBuf>::new());
        let back = machine.run(&machine.unpublish());
        assert_eq!(mounts_below(&victim), Vec::<PathBuf>::new());
        [there, back]
    });

    assert!(published > 0 && refused > 0, "{published} published, {refused} refused: there was no race");
    assert_eq!(fs::read_to_string(victim.join("data/keep")).unwrap(), "precious");
}

#[test]
fn a_target_exchanged_with_a_link_itself_never_lets_a_mount_outside() {
    let (machine, victim) = pod_and_victim();
    let web = machine.place.join("pods/web");
    symlink(victim.join("data"), web.join("swap")).unwrap();
    let (mut published, mut refused) = (0, 0);

    race(web.join("data"), web.join("swap"), ROUNDS, || {
        let there = machine.run(&Action::Publish(machine.publish().clone()));
        count(&there, &mut published, &mut refused);
        assert_eq!(mounts_below(&victim), Vec::<PathBuf>::new());
        is_told(&web, [there, machine.run(&machine.unpublish())])
    });

    assert!(published > 0 && refused > 0, "{published} published, {refused} refused: there was no race");
    assert_eq!(fs::read_to_string(victim.join("data/keep")).unwrap(), "precious");
}

/// Here the parent is exchanged with a plain directory in which somebody else has mounted something at the same name.
#[test]
fn what_others_mounted_stays_though_directories_are_exchanged_during_unpublish() {
    let (machine, _) = pod_and_victim();
    let pods = machine.place.join("pods");
    foreign_tmpfs(&pods.join("decoy/data"));
    fs::write(pods.join("decoy/data/keep"), "precious").unwrap();
    let theirs = || {
        let table = LinuxObserve::new().mount_table().unwrap();
        table.iter().filter(|mount| mount.source == Path::new("foreign")).count()
    };
    let (mut undone, mut rounds) = (0, 0);

    race(pods.join("web"), pods.join("decoy"), ROUNDS, || {
        rounds += 1;
        let there = machine.run(&Action::Publish(machine.publish().clone()));
        let back = machine.run(&machine.unpublish());
        undone += usize::from(back.is_ok());
        assert_eq!(theirs(), 1, "after {rounds} rounds");
        [there, back]
    });

    assert!(undone > 0, "no unpublish came through in {rounds} rounds: there was no race");
}

/// An orchestrator's staging path, which csictl neither makes nor removes.
#[test]
fn a_staging_path_exchanged_with_a_link_never_lets_a_mount_outside() {
    let (machine, victim) = pod_and_victim();
    machine.run(&machine.unstage()).unwrap();
    let plugins = machine.place.join("plugins");
    let staging_path = plugins.join("globalmount");
    fs::create_dir_all(&staging_path).unwrap();
    symlink(victim.join("data"), plugins.join("swap")).unwrap();
    let id = machine.volume().id.clone();
    let stage = machine.stage_at(&staging_path);
    let unstage = Action::Unstage(UnstageRequest { id, staging_path: staging_path.clone(), by_orchestrator: false });
    let (mut staged, mut refused) = (0, 0);

    // A stage attaches and mounts: fewer rounds do for as many exchanges.
    race(staging_path, plugins.join("swap"), ROUNDS / 3, || {
        let there = machine.run(&stage);
        count(&there, &mut staged, &mut refused);
        assert_eq!(mounts_below(&victim), Vec::<PathBuf>::new());
        is_told(&plugins, [there, machine.run(&unstage)])
    });

    assert!(staged > 0 && refused > 0, "{staged} staged, {refused} refused: there was no race");
    assert_eq!(fs::read_to_string(victim.join("data/keep")).unwrap(), "precious");
}

/// The window held open: strace delays the call that puts the bind in place, and the swap happens right there.
#[test]
fn a_swap_while_the_mount_is_being_placed_is_noticed_and_undone() {
    let place = Place::new();
    let victim = place.join("victim");
    fs::create_dir_all(victim.join("data")).unwrap();
    place.write("m.toml", ONE_VOLUME);
    fs::create_dir_all(place.join("pods/web")).unwrap();
    symlink(&victim, place.join("pods/swap")).unwrap();
    let csictl = place.csictl();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "trace=move_mount"]);
    strace.args(["-e", "inject=move_mount:delay_enter=600000"]).arg(csictl.get_program());
    strace.args(["apply", "m.toml", "--yes"]).current_dir(place.path()).env_clear();
    strace.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    // The target is made right before the bind.
    let patience = Instant::now() + Duration::from_secs(60);
    while !place.join("pods/web/data").exists() {
        assert!(Instant::now() < patience, "csictl did not come to its publish");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(200));
    let (web, swap) = (place.join("pods/web"), place.join("pods/swap"));
    rustix::fs::renameat_with(rustix::fs::CWD, &web, rustix::fs::CWD, &swap, rustix::fs::RenameFlags::EXCHANGE)
        .unwrap();
    let output = child.wait_with_output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "it has to be refused: {said}");
    assert!(said.contains("pods/web"), "{said}");
    let left: Vec<_> = place.mounts().into_iter().filter(|target| !target.starts_with(place.run())).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{said}");
}
