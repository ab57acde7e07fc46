//! The arguments of each mkfs, as pure functions, and running it.
//!
//! Never with a force flag: a caller has proven the storage blank (or erased what it had begun itself), so that the refusal
//! of a mkfs to overwrite is one more check. Options of a user are merged where a tool counts only the last of its kind.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use super::helper::{Helper, e2fsprogs};
use super::patience::patiently;
use crate::host::{ErrorKind, FormatRequest, HostError, Lock, Result};
use crate::model::{FsType, SectorSize, mkfs_options};

/// What this machine's e2fsprogs can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mke2fs {
    /// It takes zeros for granted on a file that has just been made (1.47), so that a journal is not written out.
    pub prezeroed: bool,
    /// It writes the checksum seed down (1.43), so that a UUID can change later.
    pub checksum_seed: bool,
}

impl Mke2fs {
    /// The installed one.
    pub fn installed() -> Self {
        let version = e2fsprogs();
        Self { prezeroed: version >= Some((1, 47)), checksum_seed: version >= Some((1, 43)) }
    }
}

/// Checks the request's options and runs the mkfs of its file system, which is ended when it takes longer than `limit`. In an image it
/// works on what is opened as `image`, whatever its path leads to by then.
///
/// # Errors
/// An option is not on the list, the program is missing, it failed, or it took too long.
pub fn run(request: &FormatRequest, image: Option<&File>, lock: &Lock, limit: Option<Duration>) -> Result<()> {
    check(request)?;
    let tool = match request.fs {
        FsType::Ext4 => "mke2fs",
        FsType::Xfs => "mkfs.xfs",
        FsType::Btrfs => "mkfs.btrfs",
    };
    let file = image.map(AsFd::as_fd);
    let helper = Helper { tool, act: "format", object: &request.path, file, lock: lock.file(), limit };
    let request = &FormatRequest { path: helper.place(), ..request.clone() };
    let arguments = match request.fs {
        FsType::Ext4 => ext4(request, Mke2fs::installed()),
        FsType::Xfs => xfs(request),
        FsType::Btrfs => btrfs(request),
    };
    // It opens a device for itself alone, as the look at it did a moment ago.
    patiently(is_busy, || helper.succeed(arguments.iter()).map(drop))
}

/// Whether a mkfs found its device held by somebody: then it has written nothing.
fn is_busy(error: &HostError) -> bool {
    let said = error.tool_output.as_deref().unwrap_or_default();
    error.kind == ErrorKind::ToolFailed && BUSY.iter().any(|words| said.contains(words))
}

/// What mkfs.xfs and mkfs.btrfs, and mke2fs, say of a device that somebody else holds.
const BUSY: [&str; 2] = ["Device or resource busy", "is apparently in use by the system"];

/// Whether the request can be met at all.
///
/// # Errors
/// An option is not on the list, the path is relative, the label is too long, or blocks would be smaller than sectors.
pub fn check(request: &FormatRequest) -> Result<()> {
    let refuse = |cause: String| HostError::new(ErrorKind::Invalid, "format", &request.path, cause);
    if let Err(refused) = mkfs_options::check(request.fs, &request.options) {
        return Err(refuse(refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    }
    // Helpers run in `/`.
    if request.path.is_relative() {
        return Err(refuse("the path is relative".to_owned()));
    }
    if request.label.as_ref().is_some_and(|label| label.len() > request.fs.label_max() || label.contains('\0')) {
        return Err(refuse(format!("a label of {} has at most {} bytes", request.fs, request.fs.label_max())));
    }
    let block = split(&request.options, &["-b"]).0.pop();
    if request.fs == FsType::Ext4
        && request.sector_size == SectorSize::B4096
        && block.as_deref().is_some_and(|b| b != "4096")
    {
        return Err(refuse("blocks of ext4 can't be smaller than the sectors of 4096 bytes".to_owned()));
    }
    Ok(())
}

/// mke2fs counts only the last `-E` and, before 1.47, only the last `-O`.
fn ext4(request: &FormatRequest, mke2fs: Mke2fs) -> Vec<OsString> {
    let (extended, options) = split(&request.options, &["-E"]);
    let (features, options) = split(&options, &["-O"]);
    let mut extended: Vec<String> = extended;
    // On a file a discard would give back what `full` has reserved, and holes need none.
    extended.push(if request.discard && !request.fresh_image { "discard" } else { "nodiscard" }.to_owned());
    if request.fresh_image && mke2fs.prezeroed {
        extended.push("assume_storage_prezeroed=1".to_owned());
    }
    let mut features: Vec<String> = features;
    let given = features.join(",");
    if mke2fs.checksum_seed && !["metadata_csum", "uninit_bg"].iter().any(|word| given.contains(word)) {
        features.push("metadata_csum_seed".to_owned());
    }
    let mut arguments: Vec<String> = ["-q", "-t", "ext4", "-e", "remount-ro", "-U"].map(str::to_owned).to_vec();
    arguments.push(request.uuid.to_string());
    if let Some(label) = &request.label {
        arguments.extend(["-L".to_owned(), label.clone()]);
    }
    // Small images would get blocks of 1 KiB, which grow badly and can't be used with sectors of 4096 bytes.
    if !options.iter().any(|option| option.starts_with("-b") || option.starts_with("-T"))
        || request.sector_size == SectorSize::B4096
    {
        arguments.extend(["-b".to_owned(), "4096".to_owned()]);
    }
    arguments.extend(["-E".to_owned(), extended.join(",")]);
    if !features.is_empty() {
        arguments.extend(["-O".to_owned(), features.join(",")]);
    }
    arguments.extend(options);
    finish(arguments, request)
}

fn xfs(request: &FormatRequest) -> Vec<OsString> {
    let mut arguments = vec!["-q".to_owned(), "-m".to_owned(), format!("uuid={}", request.uuid)];
    arguments.extend(["-s".to_owned(), format!("size={}", request.sector_size.bytes())]);
    if let Some(label) = &request.label {
        arguments.extend(["-L".to_owned(), label.clone()]);
    }
    if !request.discard || request.fresh_image {
        arguments.push("-K".to_owned());
    }
    arguments.extend(request.options.iter().cloned());
    finish(arguments, request)
}

fn btrfs(request: &FormatRequest) -> Vec<OsString> {
    let mut arguments = vec!["-q".to_owned(), "-U".to_owned(), request.uuid.to_string()];
    if let Some(label) = &request.label {
        arguments.extend(["-L".to_owned(), label.clone()]);
    }
    if !request.discard || request.fresh_image {
        arguments.push("-K".to_owned());
    }
    arguments.extend(request.options.iter().cloned());
    finish(arguments, request)
}

fn finish(arguments: Vec<String>, request: &FormatRequest) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
    arguments.extend(["--".into(), request.path.clone().into_os_string()]);
    arguments
}

/// The values of one option, in both spellings, and the arguments without it.
fn split(options: &[String], names: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut values, mut rest) = (Vec::new(), Vec::new());
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match names.iter().find_map(|name| option.strip_prefix(name)) {
            Some("") => values.extend(options.next().cloned()),
            Some(value) => values.push(value.to_owned()),
            None => {
                // A value of another option may look like this one; it follows its option.
                rest.push(option.clone());
                if option.len() == 2 && option.starts_with('-') {
                    rest.extend(options.next().cloned());
                }
            }
        }
    }
    (values, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsUuid;

    fn request(fs: FsType, options: &[&str]) -> FormatRequest {
        FormatRequest {
            path: "/pool/.a.img.part".into(),
            fs,
            uuid: FsUuid::from_bytes([0x11; 16]),
            label: Some("db".to_owned()),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            sector_size: SectorSize::B512,
            fresh_image: true,
            discard: true,
            block: None,
            resume: false,
            template: false,
        }
    }

    fn line(arguments: &[OsString]) -> String {
        arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    const NEW: Mke2fs = Mke2fs { prezeroed: true, checksum_seed: true };
    const UUID: &str = "11111111-1111-1111-1111-111111111111";

    #[test]
    fn ext4_merges_what_mke2fs_takes_once() {
        let request = request(FsType::Ext4, &["-E", "stride=4", "-m", "0", "-Ofast_commit", "-Eresize=9"]);
        assert_eq!(
            line(&ext4(&request, NEW)),
            format!(
                "-q -t ext4 -e remount-ro -U {UUID} -L db -b 4096 \
                 -E stride=4,resize=9,nodiscard,assume_storage_prezeroed=1 -O fast_commit,metadata_csum_seed -m 0 \
                 -- /pool/.a.img.part"
            )
        );
    }

    #[test]
    fn a_device_is_never_taken_for_zeros_and_an_old_mke2fs_gets_nothing_new() {
        let device = FormatRequest { fresh_image: false, ..request(FsType::Ext4, &[]) };
        assert!(line(&ext4(&device, NEW)).contains("-E discard -O"));
        let old = Mke2fs { prezeroed: false, checksum_seed: false };
        assert!(line(&ext4(&request(FsType::Ext4, &[]), old)).contains("-E nodiscard --"));
        let full = FormatRequest { discard: false, ..device };
        assert!(line(&ext4(&full, NEW)).contains("-E nodiscard -O"));
    }

    #[test]
    fn xfs_and_btrfs_get_their_uuid_and_no_force() {
        assert_eq!(
            line(&xfs(&request(FsType::Xfs, &["-m", "reflink=0"]))),
            format!("-q -m uuid={UUID} -s size=512 -L db -K -m reflink=0 -- /pool/.a.img.part")
        );
        assert_eq!(
            line(&btrfs(&request(FsType::Btrfs, &["--csum", "xxhash"]))),
            format!("-q -U {UUID} -L db -K --csum xxhash -- /pool/.a.img.part")
        );
    }

    #[test]
    fn a_device_that_is_held_is_told_from_other_failures() {
        let failed = |said: &str| {
            let error = HostError::new(ErrorKind::ToolFailed, "format", "/dev/loop3", "it failed");
            is_busy(&error.with_output(said))
        };
        assert!(failed("mkfs.xfs: cannot open /dev/loop3: Device or resource busy\n"));
        assert!(failed("/dev/loop3 is apparently in use by the system; will not make a filesystem here!\n"));
        assert!(!failed("mkfs.xfs: error reading existing superblock: Input/output error\n"));
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_runs() {
        for (options, sector_size) in [(&["-b", "1024"][..], SectorSize::B4096), (&["-d", "/etc"], SectorSize::B512)] {
            let request = FormatRequest { sector_size, ..request(FsType::Ext4, options) };
            assert_eq!(check(&request).unwrap_err().kind, ErrorKind::Invalid);
        }
        let long = FormatRequest { label: Some("x".repeat(17)), ..request(FsType::Ext4, &[]) };
        assert_eq!(check(&long).unwrap_err().kind, ErrorKind::Invalid);
    }
}
