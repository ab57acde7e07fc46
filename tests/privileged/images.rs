//! Image files: made, grown, copied, put in place, removed; and who they say they are.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use csictl::host::{CopyMethod, CopyRequest, ErrorKind, Host, NewImage, Observe, Place};
use csictl::model::record::ImageIdentity;
use csictl::model::{Capacity, Done, FileId, FsType, Ownership, Pool, SectorSize};

use super::rig::{Rig, allocated};

fn identity() -> ImageIdentity {
    ImageIdentity {
        id: "a".into(),
        owner: "project:web".parse().unwrap(),
        snapshot: false,
        fs_type: Some(FsType::Ext4),
        fs_uuid: None,
        sector_size: SectorSize::B512,
        protected: true,
        ephemeral: false,
        group: None,
        deleting: false,
    }
}

fn copy(from: &Path, file: FileId, to: &Path, size: Capacity) -> CopyRequest {
    let (from, to_part) = (from.to_owned(), to.to_owned());
    CopyRequest { from, from_file: file, to_part, size, full: false, reflink: true, until: None }
}

#[test]
fn full_images_have_their_bytes_and_sparse_ones_none() {
    let rig = Rig::new();
    let (full, _) = rig.image("full.img", Capacity::mib(8), true);
    let (sparse, file) = rig.image("sparse.img", Capacity::mib(8), false);
    assert!(allocated(&full) >= 8 << 20);
    assert_eq!(allocated(&sparse), 0);
    assert_eq!(fs::metadata(&full).unwrap().permissions().mode() & 0o777, 0o600);

    assert_eq!(rig.host.allocate_image(&sparse, file).unwrap(), Done::Changed);
    assert_eq!(rig.host.allocate_image(&sparse, file).unwrap(), Done::Already);
    assert!(allocated(&sparse) >= 8 << 20);
    let seen = rig.host.image(&sparse).unwrap().unwrap();
    assert_eq!((seen.file, seen.size, seen.identity), (file, Capacity::mib(8), None));
    assert_eq!(rig.host.image(&rig.path("missing")).unwrap(), None);
    assert_eq!(rig.host.image(rig.place.path()).unwrap_err().kind, ErrorKind::Foreign);
}

#[test]
fn what_a_killed_run_left_at_the_temporary_name_goes() {
    let rig = Rig::new();
    let part = rig.path(".a.img.part");
    fs::write(&part, "half an image").unwrap();
    let file = rig.host.create_image(&NewImage { part: part.clone(), size: Capacity::mib(1), full: false }).unwrap();
    assert_eq!(rig.host.image(&part).unwrap().unwrap().file, file);
    assert!(fs::read(&part).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn growing_past_the_space_changes_nothing() {
    let rig = Rig::new();
    let pool = rig.staged("pool").path;
    let part = pool.join("a.img");
    let file = rig.host.create_image(&NewImage { part: part.clone(), size: Capacity::mib(8), full: true }).unwrap();
    let free = rig.host.usage(&pool).unwrap().free;
    let error = rig.host.resize_image(&part, file, Capacity::mib(500), true).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    assert!(error.cause.contains("492 MiB"), "it says how much is needed: {error}");
    assert_eq!(fs::metadata(&part).unwrap().len(), 8 << 20);
    // ext4 keeps a block for the list of extents it had begun.
    assert!(free - rig.host.usage(&pool).unwrap().free < 1 << 16);

    let too_large = NewImage { part: pool.join("b"), size: Capacity::mib(500), full: true };
    assert_eq!(rig.host.create_image(&too_large).unwrap_err().kind, ErrorKind::NoSpace);
    assert!(!pool.join("b").exists());
    assert_eq!(rig.host.resize_image(&part, file, Capacity::mib(16), true).unwrap(), Done::Changed);
    assert_eq!(rig.host.resize_image(&part, file, Capacity::mib(16), true).unwrap(), Done::Already);
    assert!(allocated(&part) >= 16 << 20);
}

#[test]
fn an_image_never_covers_another() {
    let rig = Rig::new();
    let (path, old) = rig.image("a.img", Capacity::mib(1), false);
    let (part, new) = rig.image(".a.img.part", Capacity::mib(2), false);
    let error = rig.host.place_image(&part, &path, Place::New).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists, "{error}");
    let error = rig.host.place_image(&part, &path, Place::Replace(new)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    let at = |path: &Path| rig.host.image(path).unwrap().map(|image| image.file);
    assert_eq!((at(&path), at(&part)), (Some(old), Some(new)));

    rig.host.place_image(&part, &path, Place::Replace(old)).unwrap();
    assert_eq!((at(&path), at(&part)), (Some(new), None));
    let (part, newer) = rig.image(".b.img.part", Capacity::mib(1), false);
    rig.host.place_image(&part, &rig.path("b.img"), Place::New).unwrap();
    assert_eq!(at(&rig.path("b.img")), Some(newer));

    assert_eq!(rig.host.remove_image(&path, Some(old)).unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(rig.host.remove_image(&path, Some(new)).unwrap(), Done::Changed);
    assert_eq!(rig.host.remove_image(&path, Some(new)).unwrap(), Done::Already);
    symlink(rig.path("b.img"), rig.path("link.img")).unwrap();
    assert_eq!(rig.host.remove_image(&rig.path("link.img"), None).unwrap_err().kind, ErrorKind::Foreign);
}

#[test]
fn an_image_says_who_it_is_and_a_copy_does_not() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(1), false);
    assert_eq!(rig.host.set_identity(&path, &identity()).unwrap(), Done::Changed);
    assert_eq!(rig.host.set_identity(&path, &identity()).unwrap(), Done::Already);
    assert_eq!(rig.host.image(&path).unwrap().unwrap().identity, Some(identity()));
    rig.host.copy_image(&copy(&path, file, &rig.path("b.img"), Capacity::mib(1)), &no_lock()).unwrap();
    assert_eq!(rig.host.image(&rig.path("b.img")).unwrap().unwrap().identity, None);
}

#[test]
fn a_pool_without_trusted_attributes_is_a_clear_error() {
    let rig = Rig::new();
    fs::create_dir(rig.path("pool")).unwrap();
    let none: Option<&str> = None;
    nix::mount::mount(Some("ramfs"), &rig.path("pool"), Some("ramfs"), nix::mount::MsFlags::empty(), none).unwrap();
    fs::write(rig.path("pool/a.img"), "").unwrap();
    let error = rig.host.set_identity(&rig.path("pool/a.img"), &identity()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.cause.contains("ext4, xfs or btrfs"), "{error}");
}

fn no_lock() -> csictl::host::Lock {
    csictl::host::Lock::of(())
}

#[test]
fn a_copy_has_the_same_bytes_and_the_same_holes() {
    let rig = Rig::new();
    for (fs, size, method, reflink) in [
        ("ext4", 64, CopyMethod::Sparse, false),
        ("xfs", 320, CopyMethod::Reflink, true),
        ("btrfs", 128, CopyMethod::Reflink, true),
    ] {
        let pool = rig.staged_with(fs, fs, Capacity::mib(size), |_| {}).path;
        let facts = Pool { name: "p".parse().unwrap(), path: pool.join("not/yet"), limit: None, reserve: None };
        let facts = rig.host.pool(&facts).unwrap();
        assert_eq!((facts.exists, facts.fs_type.as_str(), facts.reflink), (false, fs, reflink));

        let from = pool.join("from.img");
        let new = NewImage { part: from.clone(), size: Capacity::mib(32), full: false };
        let file = rig.host.create_image(&new).unwrap();
        let opened = fs::OpenOptions::new().write(true).open(&from).unwrap();
        for at in [0, 5 << 20, 31 << 20] {
            opened.write_all_at(&[7u8; 100_000], at).unwrap();
        }
        opened.sync_all().unwrap();
        let request = copy(&from, file, &pool.join("to.img"), Capacity::mib(40));
        assert_eq!(rig.host.copy_image(&request, &no_lock()).unwrap(), method, "{fs}");
        // Again, over what a killed run left.
        rig.host.copy_image(&request, &no_lock()).unwrap();
        let through = CopyRequest { reflink: false, to_part: pool.join("sparse.img"), ..request.clone() };
        assert_eq!(rig.host.copy_image(&through, &no_lock()).unwrap(), CopyMethod::Sparse);
        rig.host.sync(&pool).unwrap();

        let expected = fs::read(&from).unwrap();
        for copy in ["to.img", "sparse.img"] {
            let got = fs::read(pool.join(copy)).unwrap();
            assert_eq!(got.len(), 40 << 20);
            assert!(got[..32 << 20] == expected && got[32 << 20..].iter().all(|byte| *byte == 0), "{fs} {copy}");
            assert!(allocated(&pool.join(copy)) < 1 << 20, "{fs} {copy}: {}", allocated(&pool.join(copy)));
        }
        if fs != "btrfs" {
            let full = CopyRequest { full: true, to_part: pool.join("full.img"), ..request };
            let full = CopyRequest { size: Capacity::mib(32), ..full };
            if rig.host.usage(&pool).unwrap().free > 40 << 20 {
                rig.host.copy_image(&full, &no_lock()).unwrap();
                assert!(allocated(&pool.join("full.img")) >= 32 << 20);
                assert!(fs::read(pool.join("full.img")).unwrap() == expected);
            }
        }
        let late =
            CopyRequest { until: Some(std::time::Instant::now()), to_part: pool.join("late.img"), ..through.clone() };
        assert_eq!(rig.host.copy_image(&late, &no_lock()).unwrap_err().kind, ErrorKind::TimedOut);
        assert!(!late.to_part.exists(), "{fs}: what was given up takes no space");
        let wrong = CopyRequest { from_file: FileId { inode: 1, ..file }, ..through };
        assert_eq!(rig.host.copy_image(&wrong, &no_lock()).unwrap_err().kind, ErrorKind::Foreign);
    }
}

#[test]
fn ownership_is_set_once() {
    let rig = Rig::new();
    let root = rig.path("root");
    fs::create_dir(&root).unwrap();
    let wanted = Ownership { owner: Some((1000, 1001)), mode: Some(0o2750) };
    assert_eq!(rig.host.set_ownership(&root, wanted).unwrap(), Done::Changed);
    assert_eq!(rig.host.set_ownership(&root, wanted).unwrap(), Done::Already);
    let facts = rig.host.stat(&root).unwrap().unwrap();
    assert_eq!((facts.uid, facts.gid, facts.mode), (1000, 1001, 0o2750));
    assert_eq!(rig.host.set_ownership(&root, Ownership::default()).unwrap(), Done::Already);
}

#[test]
fn a_group_gets_what_is_in_the_volume_and_nothing_else() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let other = rig.staged("stage/inner");
    let victim = rig.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "").unwrap();
    fs::create_dir_all(staged.path.join("a/b")).unwrap();
    fs::write(staged.path.join("a/b/plain"), "").unwrap();
    fs::write(staged.path.join("a/tool"), "").unwrap();
    fs::set_permissions(staged.path.join("a/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink(&victim, staged.path.join("a/link")).unwrap();
    symlink(victim.join("file"), staged.path.join("a/b/link")).unwrap();

    assert_eq!(rig.host.change_group(&staged.path, 999).unwrap(), Done::Changed);
    let of = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.gid(), metadata.mode() & 0o7777)
    };
    assert_eq!(of(&staged.path), (999, 0o2775));
    assert_eq!(of(&staged.path.join("a/b")), (999, 0o2775));
    assert_eq!(of(&staged.path.join("a/b/plain")), (999, 0o664));
    assert_eq!(of(&staged.path.join("a/tool")), (999, 0o4775));
    assert_eq!(of(&victim), (0, 0o755));
    assert_eq!(of(&victim.join("file")), (0, 0o644));
    assert_eq!(of(&other.path).0, 0, "another file system below is not entered");
    assert_eq!(fs::symlink_metadata(staged.path.join("a/link")).unwrap().gid(), 0);

    fs::write(staged.path.join("later"), "").unwrap();
    assert_eq!(rig.host.change_group(&staged.path, 999).unwrap(), Done::Already);
}
