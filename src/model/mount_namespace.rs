//! A mount namespace, as a record remembers it and as processes show theirs. The inode number that `lsns` and `/proc/PID/ns/mnt` show
//! is given away again as soon as a namespace is gone, to the next container as a rule, so that it alone does not tell one from another.

use std::fmt;

/// Which mount namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountNamespace {
    /// Its inode number.
    pub inode: u64,
    /// The kernel's number for it, which is never given twice (`NS_GET_MNTNS_ID`); `None` before Linux 6.11.
    pub id: Option<u64>,
}

impl MountNamespace {
    /// Whether it is that one, as far as can be told.
    #[must_use]
    pub fn is(self, other: Self) -> bool {
        let ids_differ = matches!((self.id, other.id), (Some(one), Some(two)) if one != two);
        self.inode == other.inode && !ids_differ
    }
}

/// Whether a mount namespace is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceState {
    /// A process lives in it.
    Lives,
    /// No process of the machine does.
    Gone,
    /// No process that can be seen from here does, and not all of the machine's can.
    Untold,
}

/// What to do about a volume whose mounts are in another mount namespace, or may be.
pub const OUT_OF_REACH_HELP: &str = "run csictl in that namespace (nsenter --mount), or end its processes, which csictl who shows; a container knows of \
                                     them if it sees the machine's processes (hostPID, --pid=host)";

impl fmt::Display for MountNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inode.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_given_again_is_another_namespace_where_the_kernel_tells() {
        let of = |inode, id| MountNamespace { inode, id };
        assert!(of(1, Some(7)).is(of(1, Some(7))));
        assert!(!of(1, Some(7)).is(of(1, Some(8))));
        assert!(!of(1, Some(7)).is(of(2, Some(7))));
        assert!(of(1, None).is(of(1, Some(7))) && of(1, Some(7)).is(of(1, None)));
        assert_eq!(of(4_026_531_841, Some(7)).to_string(), "4026531841");
    }
}
