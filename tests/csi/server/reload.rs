//! SIGHUP: the configuration is read again; a bad one changes nothing.

use csictl::csi::proto::{GetCapacityRequest, ListVolumesRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::Code;

use super::process::{free_address, get, until};
use crate::csi::calls::{self, block, mounted, words};
use crate::support::Place;
use crate::support::serving::Serving;

fn hang_up(serving: &Serving) {
    kill(Pid::from_raw(i32::try_from(serving.pid()).unwrap()), Signal::SIGHUP).unwrap();
}

fn in_pool(serving: &Serving, name: &str, pool: &str) -> Result<String, Code> {
    let mut request = calls::create(name, &block(), 1 << 20);
    request.parameters = words(&[("allocate", "sparse"), ("pool", pool)]);
    let answer = serving.call(serving.controller().create_volume(request));
    answer.map(|answer| answer.volume.unwrap().volume_id).map_err(|status| status.code())
}

#[test]
fn sighup_reads_pools_and_classes_again_and_a_bad_file_keeps_the_old() {
    let place = Place::new();
    let one = "[pools.one]\npath = \"one\"\n";
    place.write("storage.toml", one);
    let metrics = free_address();
    let address = metrics.to_string();
    let serving = Serving::start(&place, &["--config", "storage.toml", "--metrics-addr", &address]);
    let first = in_pool(&serving, "first", "one").unwrap();
    assert_eq!(in_pool(&serving, "second", "two"), Err(Code::InvalidArgument));

    let two = "[pools.two]\npath = \"two\"\n[classes.slim]\npool = \"two\"\nimage = { allocate = \"sparse\" }\n";
    place.write("storage.toml", &format!("{one}{two}"));
    hang_up(&serving);
    until("the new pool is known", || serving.log().contains("configuration was read again"));
    let second = in_pool(&serving, "second", "two").unwrap();
    let mut slim = calls::create("slim", &mounted("", &[]), 16 << 20);
    slim.parameters = words(&[("class", "slim")]);
    let slim = serving.ok(serving.controller().create_volume(slim)).volume.unwrap().volume_id;
    assert!(place.join("two").join(format!("{slim}.img")).exists());

    place.write("storage.toml", "[pools.two]\npaht = \"two\"\n");
    hang_up(&serving);
    until("it is told", || serving.log().contains("stays as it was"));
    assert!(serving.log().contains("paht") && serving.log().contains("storage.toml"), "{}", serving.log());
    in_pool(&serving, "third", "one").unwrap();

    // A pool that is dropped takes no more volumes; those in it stay, and are still guarded.
    place.write("storage.toml", one);
    let read = serving.log().matches("configuration was read again").count();
    hang_up(&serving);
    until("it is read", || serving.log().matches("configuration was read again").count() > read);
    assert_eq!(in_pool(&serving, "fourth", "two"), Err(Code::InvalidArgument));
    let listed = serving.ok(serving.controller().list_volumes(ListVolumesRequest::default())).entries;
    assert!(listed.iter().any(|entry| entry.volume.as_ref().unwrap().volume_id == second));
    let stage = calls::stage(&first, &place.join("two"), &block());
    serving.refused(Code::InvalidArgument, serving.node().node_stage_volume(stage));
    serving.ok(serving.controller().get_capacity(GetCapacityRequest::default()));
    assert!(get(metrics, "/metrics").1.contains("csictl_"), "metrics go on");
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn sighup_without_a_configuration_is_no_end() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    hang_up(&serving);
    until("it is told", || serving.log().contains("no --config"));
    in_pool(&serving, "one", "default").unwrap();
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn a_limit_that_is_raised_or_lowered_by_sighup_holds_from_then_on() {
    let place = Place::new();
    let limited =
        |limit: &str| place.write("storage.toml", &format!("[pools.one]\npath = \"one\"\nlimit = \"{limit}\"\n"));
    limited("2MiB");
    let serving = Serving::start(&place, &["--config", "storage.toml"]);
    let again = || {
        let read = serving.log().matches("configuration was read again").count();
        hang_up(&serving);
        until("it is read", || serving.log().matches("configuration was read again").count() > read);
    };
    in_pool(&serving, "a", "one").unwrap();
    in_pool(&serving, "b", "one").unwrap();
    assert_eq!(in_pool(&serving, "c", "one"), Err(Code::ResourceExhausted));

    limited("4MiB");
    again();
    in_pool(&serving, "c", "one").unwrap();

    limited("3MiB");
    again();
    assert_eq!(in_pool(&serving, "d", "one"), Err(Code::ResourceExhausted));
}
