//! What the driver refuses, whatever it is asked, and that it then changes nothing.

use crate::driver::local::tests::world::*;
use crate::driver::{Driver, DriverError, Refusal};
use crate::host::sim::{Content, FsImage};
use crate::host::{Host, LockMode, Observe};
use crate::model::action::{CreateRequest, DeleteRequest};
use crate::model::record::FormatMark;
use crate::model::{
    AccessMode, Action, Allocate, Approval, Backing, Capacity, FormatPolicy, FsType, FsUuid, Loss, MountNamespace,
    ObjectRef, Owner, Signature, VolumeSpec,
};
use crate::state::Reader;
use std::time::Duration;

fn foreign_fs() -> Content {
    fs_of_type(FsType::Ext4)
}

fn fs_of_type(fs: FsType) -> Content {
    Content::Fs(Box::new(FsImage::new(fs, FsUuid::random(), DISK_SIZE)))
}

fn disk_content(world: &World) -> Content {
    world.sim.content(DISK).unwrap()
}

#[test]
fn a_device_that_is_not_blank_is_never_formatted() {
    let lvm =
        Signature { kind: "LVM2_member".into(), uuid: None, label: None, offset: 536, magic: b"LVM2 001".to_vec() };
    for (content, word) in [
        (fs_of_type(FsType::Xfs), "xfs"),
        (Content::Other(lvm.clone()), "offset 536"),
        (Content::Ambiguous(vec![lvm.clone(), lvm]), "ambiguous"),
        (Content::Unreadable("Input/output error".into()), "Input/output error"),
    ] {
        let world = World::new();
        let spec = device("disk", FsType::Ext4);
        let block = world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
        world.sim.set_disk_content(block, content.clone());
        world.create(&spec).unwrap();

        let (refused, message) = refusal(world.stage(&spec));

        assert_eq!(refused, Refusal::NotBlank, "{message}");
        assert!(message.contains(word), "{message}");
        assert_eq!(disk_content(&world), content);
        assert!(world.sim.mounts_at(&layout().staging_path(&spec.id)).unwrap().is_empty());
    }
}

#[test]
fn a_device_that_holds_what_is_asked_for_is_used_as_it_is() {
    for fs in FsType::ALL {
        let world = World::new();
        let spec = device("disk", fs);
        let mut labelled = spec.clone();
        labelled.fs.as_mut().unwrap().label = Some("data".into());
        let block = world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
        let uuid = FsUuid::random();
        world.sim.set_disk_content(block, Content::Fs(Box::new(FsImage::new(fs, uuid, DISK_SIZE))));

        world.create(&labelled).unwrap();
        let outcome = world.stage(&labelled).unwrap();

        assert!(outcome.notes.iter().any(|note| note.contains("not 'data'")), "{:?}", outcome.notes);
        let record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap();
        assert_eq!((record.format, record.fs_uuid), (FormatMark::Done, Some(uuid)), "{fs}");
        let formatted = world.sim.effects().iter().any(|effect| effect.act.contains("format"));
        assert!(!formatted, "{fs}: nothing was formatted");
    }
}

#[test]
fn a_device_comes_back_after_the_state_directory_was_lost() {
    for fs in FsType::ALL {
        let world = World::new();
        let spec = device("disk", fs);
        world.up(&spec).unwrap();
        world.down(&spec).unwrap();
        let before = disk_content(&world);
        world.sim.remove_all("/var/lib/csictl");
        let world = World::on(world.sim);

        world.up(&spec).unwrap();

        let (Content::Fs(before), Content::Fs(now)) = (before, disk_content(&world)) else { panic!("{fs}") };
        assert_eq!(before.uuid, now.uuid, "{fs}");
    }
}

#[test]
fn a_device_that_was_formatted_and_looks_blank_is_an_error() {
    let world = World::new();
    let spec = device("disk", FsType::Xfs);
    world.up(&spec).unwrap();
    world.down(&spec).unwrap();
    let block = world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
    world.sim.set_disk_content(block, Content::Blank);

    assert_eq!(refusal(world.stage(&spec)).0, Refusal::LostFilesystem);
    assert_eq!(disk_content(&world), Content::Blank);
}

#[test]
fn another_file_system_on_a_formatted_device_is_not_mounted() {
    let world = World::new();
    let spec = device("disk", FsType::Ext4);
    world.up(&spec).unwrap();
    world.down(&spec).unwrap();
    let block = world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
    world.sim.set_disk_content(block, foreign_fs());

    assert_eq!(refusal(world.stage(&spec)).0, Refusal::WrongIdentity);
}

#[test]
fn format_never_uses_what_is_there_and_makes_nothing() {
    let mut spec = device("disk", FsType::Ext4);
    spec.fs.as_mut().unwrap().format = FormatPolicy::Never;
    let world = World::new();
    world.create(&spec).unwrap();
    assert_eq!(refusal(world.stage(&spec)).0, Refusal::NotReady);

    let block = world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
    world.sim.set_disk_content(block, foreign_fs());
    world.stage(&spec).unwrap();

    let record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap();
    assert_eq!(record.format, FormatMark::Done);
}

#[test]
fn an_unexpected_or_busy_device_is_not_touched() {
    let expectations: [fn(&mut crate::model::backing::DeviceExpectation); 3] = [
        |expect| expect.size = Some(Capacity::gib(4)),
        |expect| expect.serial = Some("ZA1234".into()),
        |expect| expect.wwn = Some("0x5000".into()),
    ];
    for expect in expectations {
        let world = World::new();
        let mut spec = device("disk", FsType::Ext4);
        if let Backing::Device(device) = &mut spec.backing {
            expect(&mut device.expect);
        }
        assert_eq!(refusal(world.create(&spec)).0, Refusal::WrongIdentity);
        assert_eq!(disk_content(&world), Content::Blank);
    }
    let world = World::new();
    let spec = device("disk", FsType::Ext4);
    world.create(&spec).unwrap();
    let block = world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
    world.sim.set_disk_holders(block, vec!["a member of md0".into()]);
    assert_eq!(refusal(world.stage(&spec)).0, Refusal::Busy);
    assert_eq!(disk_content(&world), Content::Blank);
}

#[test]
fn data_is_lost_only_with_the_fitting_approval_and_never_when_protected() {
    let approvals = |spec: &VolumeSpec| {
        let object = ObjectRef::Volume(spec.id.clone());
        let other = ObjectRef::Volume(id("other"));
        [
            None,
            Some(Approval { object: object.clone(), loss: Loss::Wipe }),
            Some(Approval { object: other, loss: Loss::Delete }),
        ]
    };
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    for approval in approvals(&spec) {
        let request = DeleteRequest { id: spec.id.clone(), approval };
        assert_eq!(refusal(world.driver.delete(&request)).0, Refusal::Unapproved);
    }
    let replaces = CreateRequest { spec: image("db", FsType::Xfs), replaces: true, approval: None, asked: None };
    assert_eq!(refusal(world.driver.create(&replaces)).0, Refusal::Unapproved);

    let mut protected = spec.clone();
    protected.prevent_destroy = true;
    world.driver.modify(&protected).unwrap();
    assert_eq!(refusal(world.driver.run(&delete(&spec))).0, Refusal::Protected);
    assert_eq!(refusal(world.driver.run(&replace(&image("db", FsType::Xfs)))).0, Refusal::Protected);

    let image = world.sim.image("/pool/shop.db.img".as_ref()).unwrap().unwrap();
    assert!(image.identity.unwrap().protected, "the image itself says that it is protected");
}

#[test]
fn an_image_goes_only_once_the_device_in_its_place_has_been_looked_at() {
    let old = image("db", FsType::Ext4);
    let new = VolumeSpec { id: old.id.clone(), ..device("db", FsType::Ext4) };
    let block = |world: &World| world.sim.device(DISK.as_ref()).unwrap().unwrap().block;
    let expecting = |size| {
        let mut spec = new.clone();
        if let Backing::Device(device) = &mut spec.backing {
            device.expect.size = Some(size);
        }
        spec
    };
    let absent = {
        let mut spec = new.clone();
        if let Backing::Device(device) = &mut spec.backing {
            device.path = "/dev/disk/by-id/none".into();
        }
        spec
    };
    let unplanned = VolumeSpec { backing: directory("db").backing, fs: None, ..new.clone() };
    type Case<'a> = (Refusal, VolumeSpec, &'a dyn Fn(&World));
    let cases: [Case<'_>; 5] = [
        (Refusal::NotFound, absent, &|_| {}),
        (Refusal::WrongIdentity, expecting(Capacity::gib(7)), &|_| {}),
        (Refusal::NotBlank, new.clone(), &|world| world.sim.set_disk_content(block(world), fs_of_type(FsType::Xfs))),
        (Refusal::Busy, new.clone(), &|world| {
            world.sim.set_disk_holders(block(world), vec!["a member of md0".into()]);
        }),
        (Refusal::UnsafePath, unplanned, &|world| world.sim.plant_file("/srv/db", b"a file")),
    ];
    for (expected, spec, spoil) in cases {
        let world = World::new();
        world.up(&old).unwrap();
        world.sim.write_canary(publish(&old).target.join("canary"), b"precious");
        world.down(&old).unwrap();
        spoil(&world);

        let (refused, message) = refusal(world.driver.run(&replace(&spec)));

        assert_eq!(refused, expected, "{message}");
        world.up(&old).unwrap();
        let canary = world.sim.read(publish(&old).target.join("canary"));
        assert_eq!(canary.as_deref(), Some(&b"precious"[..]), "{message}");
    }
    let world = World::new();
    world.create(&old).unwrap();
    world.driver.run(&replace(&new)).unwrap();
    world.up(&new).unwrap();
    assert!(world.sim.stat("/pool/shop.db.img".as_ref()).unwrap().is_none());
}

#[test]
fn a_volume_in_use_is_neither_deleted_nor_released_nor_replaced_nor_detached() {
    for spec in every_sort() {
        let world = World::new();
        world.up(&spec).unwrap();
        let detach = Action::Detach(spec.id.clone());
        let mut other = if matches!(spec.backing, Backing::Tmpfs(_)) { directory("other") } else { tmpfs("other") };
        other.id = spec.id.clone();
        for action in [delete(&spec), Action::Release(spec.id.clone()), replace(&other), unstage(&spec)] {
            let raw_unstage = spec.is_raw() && matches!(action, Action::Unstage(_));
            let (refused, message) = refusal(world.driver.run(&action));
            assert_eq!(refused, Refusal::NotReady, "{} {} {message} {raw_unstage}", spec.id, action.verb());
        }
        if spec.backing.as_image().is_some() {
            assert_eq!(refusal(world.driver.run(&detach)).0, Refusal::NotReady);
        }
        assert!(world.up(&spec).unwrap().iter().all(|o| o.done == crate::model::Done::Already), "{}", spec.id);
    }
}

#[test]
fn busy_mounts_name_who_holds_them() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    world.sim.hold_mount(publish(&spec).target, 4711);

    let (refused, message) = refusal(world.driver.run(&unpublish(&spec)));

    assert_eq!(refused, Refusal::Busy);
    assert!(message.contains("4711"), "{message}");
    world.sim.release_all();
    world.down(&spec).unwrap();
}

#[test]
fn a_second_publish_follows_the_access_mode() {
    let world = World::new();
    let mut spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let mut second = publish(&spec);
    second.target = "/srv/web/second".into();

    assert_eq!(refusal(world.driver.publish(&second)).0, Refusal::Incompatible);
    let mut other_arguments = publish(&spec);
    other_arguments.read_only = true;
    assert_eq!(refusal(world.driver.publish(&other_arguments)).0, Refusal::Exists);
    let mut not_below = publish(&spec);
    not_below.kind = crate::model::PublishKind::Device;
    assert_eq!(refusal(world.driver.publish(&not_below)).0, Refusal::Incompatible);

    spec.access_mode = AccessMode::SingleNodeMultiWriter;
    world.driver.modify(&spec).unwrap();
    world.driver.publish(&second).unwrap();
    spec.access_mode = AccessMode::SingleNodeSingleWriter;
    assert_eq!(refusal(world.driver.modify(&spec)).0, Refusal::Incompatible);
}

#[test]
fn a_publish_needs_a_stage_and_a_stage_keeps_its_arguments() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    assert_eq!(refusal(world.stage(&spec)).0, Refusal::NotFound);
    world.create(&spec).unwrap();
    assert_eq!(refusal(world.driver.publish(&publish(&spec))).0, Refusal::NotReady);
    world.stage(&spec).unwrap();
    let mut other = spec.clone();
    other.mount_options = vec!["noatime".into()];
    assert_eq!(refusal(world.stage(&other)).0, Refusal::Exists);
    let mut bad = spec.clone();
    bad.mount_options = vec!["suid".into()];
    assert_eq!(refusal(world.stage(&bad)).0, Refusal::Unsupported);
}

#[test]
fn links_and_foreign_mounts_at_targets_and_stages_stay() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    world.stage(&spec).unwrap();
    world.sim.plant_link("/srv/web/data", "/etc");
    assert_eq!(refusal(world.driver.publish(&publish(&spec))).0, Refusal::UnsafePath);

    let mut elsewhere = publish(&spec);
    elsewhere.target = "/srv/web/mine".into();
    world.sim.plant_directory(&elsewhere.target);
    world.sim.mount_foreign(&elsewhere.target);
    assert_eq!(refusal(world.driver.publish(&elsewhere)).0, Refusal::Foreign);
    assert_eq!(world.sim.mounts_at(&elsewhere.target).unwrap().len(), 1);

    let staged_over = image("two", FsType::Ext4);
    world.create(&staged_over).unwrap();
    world.sim.plant_directory(layout().staging_path(&staged_over.id));
    world.sim.mount_foreign(layout().staging_path(&staged_over.id));
    assert_eq!(refusal(world.stage(&staged_over)).0, Refusal::Foreign);
    assert_eq!(world.driver.run(&unstage(&staged_over)).unwrap().done, crate::model::Done::Already);
    assert_eq!(world.sim.mounts_at(&layout().staging_path(&staged_over.id)).unwrap().len(), 1);
}

#[test]
fn an_image_that_was_deleted_replaced_or_cut_is_noticed() {
    let spec = image("db", FsType::Ext4);
    let path = "/pool/shop.db.img";
    for staged in [false, true] {
        for (what, harm) in [
            ("deleted", Box::new(|world: &World| world.sim.remove_all(path)) as Box<dyn Fn(&World)>),
            ("replaced", Box::new(|world| world.sim.plant_image(path, Capacity::mib(512).get(), Content::Blank))),
            ("cut", Box::new(|world| world.sim.truncate(path, 4096))),
        ] {
            let world = World::new();
            world.up(&spec).unwrap();
            if !staged {
                world.down(&spec).unwrap();
            }
            harm(&world);
            let formats = |world: &World| world.sim.effects().iter().filter(|e| e.act.contains("format")).count();
            let before = formats(&world);

            let attach = Action::Attach(crate::model::action::AttachRequest {
                id: spec.id.clone(),
                read_only: false,
                attachment: None,
            });
            assert_eq!(refusal(world.driver.run(&attach)).0, Refusal::WrongIdentity, "{what}");
            assert_eq!(refusal(world.create(&spec)).0, Refusal::WrongIdentity, "{what}");
            assert_eq!(formats(&world), before, "{what}: nothing was formatted");
            let mut world = world;
            if staged && what != "cut" {
                // What the loop device holds is the last of it: only a user's word by name takes it away.
                assert_eq!(refusal(world.down(&spec)).0, Refusal::Unapproved, "{what}");
                assert_eq!(world.sim.loops().unwrap().len(), 1, "{what}");
                let approval = Approval { object: ObjectRef::Volume(spec.id.clone()), loss: Loss::Delete };
                world.driver = world.driver.with_approved([approval].into());
            }
            world.down(&spec).unwrap();
            assert!(world.sim.loops().unwrap().is_empty(), "{what}");
            if what == "replaced" {
                assert_eq!(refusal(world.driver.run(&delete(&spec))).0, Refusal::WrongIdentity);
                assert!(world.sim.stat(path.as_ref()).unwrap().is_some(), "a stranger's file stays");
            }
        }
    }
}

#[test]
fn a_foreign_file_in_an_images_place_is_neither_taken_nor_removed() {
    let world = World::new();
    world.sim.plant_image("/pool/shop.db.img", 4096, Content::Blank);

    assert_eq!(refusal(world.create(&image("db", FsType::Ext4))).0, Refusal::Foreign);
    assert!(world.sim.stat("/pool/shop.db.img".as_ref()).unwrap().is_some());
}

#[test]
fn another_owner_is_refused() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    let mut theirs = spec.clone();
    theirs.owner = Owner::Csi;

    assert_eq!(refusal(world.create(&theirs)).0, Refusal::Foreign);
    assert_eq!(refusal(world.driver.modify(&theirs)).0, Refusal::Foreign);
}

#[test]
fn a_repeated_create_over_grpc_has_to_be_compatible() {
    let mut spec = image("db", FsType::Ext4);
    spec.owner = Owner::Csi;
    let changes: [fn(&mut VolumeSpec); 6] = [
        |spec| spec.capacity.as_mut().unwrap().required = Capacity::gib(1),
        |spec| spec.capacity.as_mut().unwrap().limit = Some(Capacity::mib(300)),
        |spec| spec.access_mode = AccessMode::SingleNodeMultiWriter,
        |spec| spec.mount_options = vec!["noatime".into()],
        |spec| spec.fs.as_mut().unwrap().fs_type = FsType::Xfs,
        |spec| {
            if let Backing::Image(image) = &mut spec.backing {
                image.allocate = Allocate::Full;
            }
        },
    ];
    let world = World::new();
    world.create(&spec).unwrap();
    assert_eq!(world.create(&spec).unwrap().done, crate::model::Done::Already);
    for (index, change) in changes.into_iter().enumerate() {
        let mut other = spec.clone();
        change(&mut other);
        assert_eq!(refusal(world.create(&other)).0, Refusal::Exists, "change {index}");
    }
}

#[test]
fn another_csictl_at_work_is_waited_for_only_so_long() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    let other = world.sim.spawn();
    let _held = other.lock(&layout().volume_lock(&spec.id), LockMode::Exclusive, Duration::ZERO).unwrap();

    assert!(matches!(world.stage(&spec), Err(DriverError::LockHeld { .. })));
}

#[test]
fn a_living_namespace_elsewhere_keeps_its_mounts() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let other = World::on(world.sim.spawn());
    let ours = other.sim.facts().unwrap().mount_namespace;
    other.sim.set_facts(|facts| facts.mount_namespace.inode += 1);
    other.sim.set_namespace(ours, true);

    for action in up(&spec).into_iter().chain(down(&spec)).chain([delete(&spec)]) {
        assert_eq!(refusal(other.driver.run(&action)).0, Refusal::OtherNamespace, "{}", action.verb());
    }
}

#[test]
fn a_namespace_that_got_the_number_of_one_that_is_gone_keeps_nobody_waiting() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let other = World::on(world.sim.spawn());
    let gone = other.sim.facts().unwrap().mount_namespace;
    other.sim.set_facts(|facts| facts.mount_namespace = MountNamespace { inode: 7, id: Some(70) });
    other.sim.set_namespace(gone, false);
    other.sim.set_namespace(MountNamespace { inode: gone.inode, id: Some(71) }, true);

    other.up(&spec).unwrap();
    for action in down(&spec) {
        other.driver.run(&action).unwrap();
    }
}

#[test]
fn ext4_is_not_half_grown_where_it_cannot_grow_online() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    world.sim.set_facts(|facts| facts.can_grow_ext4_online = false);
    let world = World::on(world.sim);

    assert_eq!(refusal(world.driver.run(&expand(&spec, 1024))).0, Refusal::Unsupported);
    let size = world.sim.image("/pool/shop.db.img".as_ref()).unwrap().unwrap().size;
    assert_eq!(size, Capacity::mib(512));
    world.down(&spec).unwrap();
    world.driver.run(&expand(&spec, 1024)).unwrap();
    world.up(&spec).unwrap();
    assert!(world.sim.usage(&layout().staging_path(&spec.id)).unwrap().total > Capacity::mib(900).get());
}

#[test]
fn no_space_leaves_the_size_as_it_was() {
    let world = World::new();
    let spec = full("db");
    world.up(&spec).unwrap();
    world.sim.set_root_size(Capacity::gib(1).get());

    assert_eq!(refusal(world.driver.run(&expand(&spec, 4096))).0, Refusal::NoSpace);
    assert_eq!(world.sim.image("/pool/shop.db.img".as_ref()).unwrap().unwrap().size, Capacity::mib(512));
}

#[test]
fn a_copy_that_pauses_writes_for_too_long_is_given_up() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    world.sim.set_freezes_expire(true);
    let snapshot = crate::model::SnapshotSpec {
        id: "shop.now".parse().unwrap(),
        owner: spec.owner.clone(),
        name: "now".into(),
        volume: spec.id.clone(),
    };

    assert!(matches!(world.driver.snapshot(&snapshot), Err(DriverError::Host { .. })));
    assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new());
}
