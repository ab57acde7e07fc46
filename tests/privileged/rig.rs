//! What the tests of the real host share: a host, images with a file system, and requests with nothing special about them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::linux::LinuxHost;
use csictl::host::{AttachLoop, AttachedLoop, BindMount, FsMount, Host, NewImage, Observe, Unmount};
use csictl::model::{BlockId, Capacity, FileId, Mount, Propagation, PublishKind, SectorSize};

use crate::support::Place;

/// A place with a host.
pub struct Rig {
    // Goes first: it holds open what it has begun to make, and with that the file system it lies on.
    pub host: LinuxHost,
    pub place: Place,
}

impl Rig {
    pub fn new() -> Self {
        Self { host: LinuxHost::new(), place: Place::new() }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.place.join(name)
    }

    /// A blank image.
    pub fn image(&self, name: &str, size: Capacity, full: bool) -> (PathBuf, FileId) {
        let path = self.path(name);
        let file = self.host.create_image(&NewImage { part: path.clone(), size, full }).unwrap();
        (path, file)
    }

    /// An image with a file system, made by the real tool.
    pub fn formatted(&self, name: &str, fs: &str, size: Capacity, full: bool) -> (PathBuf, FileId) {
        let (path, file) = self.image(name, size, full);
        let quiet: &[&str] = match fs {
            "ext4" => &["-q", "-F", "-E", "nodiscard"],
            "xfs" => &["-q", "-K"],
            _ => &["-q", "-K"],
        };
        let output = Command::new(format!("mkfs.{fs}")).args(quiet).arg(&path).output().unwrap();
        assert!(output.status.success(), "mkfs.{fs}: {}", String::from_utf8_lossy(&output.stderr));
        (path, file)
    }

    pub fn attach(&self, path: &Path, file: FileId) -> AttachedLoop {
        self.host.attach_loop(&attach(path, file)).unwrap()
    }

    /// A mounted ext4 of 64 MiB at `name`, its loop kept by the mount alone.
    pub fn staged(&self, name: &str) -> Staged {
        self.staged_with(name, "ext4", Capacity::mib(64), |_| {})
    }

    pub fn staged_with(&self, name: &str, fs: &str, size: Capacity, change: impl FnOnce(&mut FsMount)) -> Staged {
        let (image, file) = self.formatted(&format!("{name}.img"), fs, size, false);
        let attached = self.attach(&image, file);
        let mut request = self.mount_request(&attached.device.node(), fs, attached.device.block, name);
        change(&mut request);
        self.host.mount(&request).unwrap();
        let path = request.target.clone();
        let mount = self.top(&path).unwrap();
        Staged { path, mount, image, index: attached.device.index, request }
    }

    pub fn mount_request(&self, source: &Path, fs: &str, device: BlockId, target: &str) -> FsMount {
        FsMount {
            source: source.to_owned(),
            fs_type: fs.to_owned(),
            bind_directory: false,
            expect: Some(device),
            target: self.path(target),
            trusted_root: self.place.path().to_owned(),
            options: ["nosuid", "nodev"].map(str::to_owned).to_vec(),
            shared: false,
        }
    }

    pub fn bind_request(&self, staged: &Staged, target: &str) -> BindMount {
        BindMount {
            source: staged.path.clone(),
            expect: staged.mount.device,
            sub_path: None,
            target: self.path(target),
            trusted_root: self.place.path().to_owned(),
            kind: PublishKind::Mount,
            read_only: false,
            propagation: Propagation::None,
            options: vec![],
        }
    }

    /// Makes the target and binds to it.
    pub fn bind(&self, request: &BindMount) -> csictl::host::Result<()> {
        self.host.make_target(&request.trusted_root, &request.target, request.kind).unwrap();
        self.host.bind(request)
    }

    pub fn unmount_request(&self, target: &Path, device: BlockId) -> Unmount {
        Unmount { target: target.to_owned(), trusted_root: self.place.path().to_owned(), expect: device, root: None }
    }

    pub fn top(&self, target: &Path) -> Option<Mount> {
        self.host.mounts_at(target).unwrap().pop()
    }

    /// Loops of this test, after those that are just going have gone.
    pub fn loops_left(&self) -> usize {
        for _ in 0..100 {
            if self.place.loops().is_empty() {
                return 0;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.place.loops().len()
    }
}

pub struct Staged {
    pub path: PathBuf,
    pub mount: Mount,
    pub image: PathBuf,
    pub index: u32,
    pub request: FsMount,
}

pub fn attach(path: &Path, file: FileId) -> AttachLoop {
    AttachLoop {
        path: path.to_owned(),
        file,
        read_only: false,
        autoclear: true,
        direct_io: false,
        sector_size: SectorSize::B512,
        discard: true,
        hint: None,
        id: "test".parse().unwrap(),
    }
}

/// Bytes that a file has allocated.
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

pub fn run(program: &str, arguments: &[&str]) -> std::process::Output {
    Command::new(program).args(arguments).output().unwrap()
}
