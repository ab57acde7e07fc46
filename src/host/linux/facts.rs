//! Facts about the machine and this process: name, boot, mount namespace, privileges, and what a pool's file system can do.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use super::errors::failed;
use super::{files, lookup, sys, who};
use crate::host::{PoolFacts, Result};
use crate::model::observed::HostFacts;
use crate::model::{Capacity, Pool};

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Name, boot, namespace, privileges; `boot_id` stands in for the kernel's in tests of a reboot.
pub fn host(boot_id: Option<&str>) -> Result<HostFacts> {
    let boot_id = boot(boot_id)?;
    let status = fs::read_to_string("/proc/thread-self/status").map_err(failed("read", "/proc/thread-self/status"))?;
    let capabilities = effective_capabilities(&status).unwrap_or(0);
    let has = |capability: u32| capabilities & (1 << capability) != 0;
    Ok(HostFacts {
        hostname: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        boot_id,
        mount_namespace: who::this_namespace(),
        privileged: has(CAP_SYS_ADMIN),
        can_grow_ext4_online: has(CAP_SYS_RESOURCE),
    })
}

/// Which boot this is; `given` stands in for the kernel's word in tests of a reboot.
pub fn boot(given: Option<&str>) -> Result<String> {
    match given {
        Some(given) => Ok(given.to_owned()),
        None => Ok(fs::read_to_string(BOOT_ID).map_err(failed("read", BOOT_ID))?.trim().to_owned()),
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The file system below a pool's directory, or below its nearest existing parent.
pub fn pool(pool: &Pool) -> Result<PoolFacts> {
    let nearest = pool.path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let usage = files::usage(nearest)?;
    let block = rustix::fs::statvfs(nearest).map_err(|error| failed("measure", nearest)(error.into()))?.f_frsize;
    let directory = File::open(nearest).map_err(failed("open pool", nearest))?;
    let (mount, _) = lookup::mount_of(directory.as_fd(), nearest)?;
    let reflink = match mount.fs_type.as_str() {
        "btrfs" | "bcachefs" => true,
        "xfs" => sys::xfs_reflink(directory.as_fd()).unwrap_or(false),
        _ => false,
    };
    Ok(PoolFacts {
        exists: pool.path.is_dir(),
        fs_type: mount.fs_type.clone(),
        free: Capacity::bytes(usage.free),
        total: Capacity::bytes(usage.total),
        reflink,
        largest_file: largest_file(&mount.fs_type, block),
    })
}

/// The most that one file can have, by the file system's type and block size. ext4 counts the blocks of a file in 32 bits (Linux,
/// `ext4_max_size`); the others are bounded by the kernel's signed 64-bit offsets alone.
fn largest_file(fs_type: &str, block: u64) -> Option<Capacity> {
    match fs_type {
        "ext4" => Some(Capacity::bytes(block.saturating_mul(u64::from(u32::MAX)))),
        "xfs" | "btrfs" | "tmpfs" => Some(Capacity::bytes(i64::MAX.unsigned_abs())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_status() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001fffeffffff\n";
        let found = effective_capabilities(status).unwrap();
        assert_ne!(found & (1 << CAP_SYS_ADMIN), 0);
        assert_eq!(found & (1 << CAP_SYS_RESOURCE), 0);
        assert_eq!(effective_capabilities("Name: x"), None);
    }
}
