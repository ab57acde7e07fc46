//! Every error code with its long explanation, for `csictl explain`: the manifest's own, and those of guards, locks, the
//! machine, plan files and the command line.

use crate::manifest::codes;
use crate::model::explain::Explanation;

const fn explain(code: &'static str, title: &'static str, text: &'static str) -> Explanation {
    Explanation { code, title, text }
}

/// Every code there is, by layer.
pub fn all() -> impl Iterator<Item = &'static Explanation> {
    CLI.iter().chain(GUARDS).chain(HOST).chain(codes::EXPLANATIONS).chain(rpc())
}

/// What a CSI server answers.
#[cfg(feature = "serve")]
fn rpc() -> impl Iterator<Item = &'static Explanation> {
    crate::csi::code::ERRORS.iter().map(|facts| &facts.explanation)
}

#[cfg(not(feature = "serve"))]
fn rpc() -> impl Iterator<Item = &'static Explanation> {
    std::iter::empty()
}

/// The explanation of a code, given whole or by its last part.
pub fn find(code: &str) -> Option<&'static Explanation> {
    let ends =
        |explanation: &&Explanation| explanation.code.strip_suffix(code).is_some_and(|rest| rest.ends_with("::"));
    all().find(|explanation| explanation.code == code).or_else(|| all().find(ends))
}

const CLI: &[Explanation] = &[
    explain(
        "csictl::cli::usage",
        "The command line makes no sense",
        "A flag, argument or their combination is not one csictl knows. 'csictl COMMAND -h' shows what the command takes, with examples. Exit code 64.",
    ),
    explain(
        "csictl::cli::file",
        "A file could not be read or written",
        "The path is in the message, the system's reason in the cause. Nothing on the machine was changed.",
    ),
    explain(
        "csictl::cli::not-confirmed",
        "Nobody said yes",
        "apply, destroy and their kin show what they are about to do and ask. Without a terminal there is nobody to ask, so they do nothing and exit 5. In scripts pass --yes. A loss of data is never covered by it: it needs --approve volume.NAME=delete or =wipe for each object.",
    ),
    explain(
        "csictl::cli::unknown-name",
        "No such volume, snapshot or pod",
        "Names on the command line are VOLUME where only one project has a volume of that name, PROJECT.VOLUME, or the id that 'csictl get volumes -o wide' shows.",
    ),
    explain(
        "csictl::cli::ambiguous-name",
        "Several projects have something of that name",
        "Write PROJECT.NAME, as the help of the error lists them.",
    ),
    explain(
        "csictl::serve::start",
        "The server could not begin",
        "The system gave it no threads, signals or descriptors; the cause says which. Nothing was served and nothing changed. Exit code 1.",
    ),
    explain(
        "csictl::serve::in-use",
        "Another server has the socket",
        "A csictl serve holds the lock beside the socket, or something answers at it. It goes on serving; this one did nothing. A socket whose server is gone is taken over without asking. Exit code 1.",
    ),
    explain(
        "csictl::serve::not-a-socket",
        "There is a file in the socket's place",
        "csictl replaces a socket that was left by a dead server and nothing else. Exit code 5.",
    ),
    explain(
        "csictl::serve::socket",
        "The socket could not be made",
        "Its directory is missing and can't be made, is read-only, or the path is longer than the 107 bytes a unix socket's name may have. Exit code 1.",
    ),
    explain(
        "csictl::serve::passed",
        "What the service manager passed is no socket to serve on",
        "With LISTEN_PID and LISTEN_FDS a service manager passes sockets. csictl takes exactly one, a unix stream socket that listens. Exit code 1.",
    ),
    explain(
        "csictl::serve::metrics",
        "Metrics can't be served",
        "Something else listens at --metrics-addr, or the address is none of this machine's. The server does not begin without what it was told to offer. Exit code 1.",
    ),
    explain("csictl::cli::unknown-code", "No such error code", "'csictl explain' without a code lists all of them."),
    explain(
        "csictl::cli::privilege",
        "It takes root",
        "Attaching loop devices and mounting need CAP_SYS_ADMIN; records and images belong to root. plan, status and validate run without, and say what they could not see. Exit code 77.",
    ),
    explain(
        "csictl::cli::missing-tool",
        "A helper program is not installed",
        "csictl runs the file systems' own tools and looks for them in /usr/sbin, /sbin, /usr/bin, /bin and /run/current-system/sw/bin only. All tools a plan needs are looked for before its first step. Exit code 69.",
    ),
    explain(
        "csictl::cli::unknown-state",
        "Something could not be read",
        "csictl does not guess: for a volume whose state could not be read nothing is planned and nothing done. The cause says what could not be read; often it takes root.",
    ),
    explain(
        "csictl::plan::stale",
        "The plan file no longer fits",
        "A plan file holds the manifest and a fingerprint of the plan that was shown. apply looks at the machine again, plans again and refuses when the outcome is another one, so that nothing is done that nobody saw. Make a new plan with 'csictl plan MANIFEST --out FILE'.",
    ),
    explain(
        "csictl::plan::bad-file",
        "Not a plan file of this csictl",
        "Plan files are written by 'csictl plan --out' and read by the same version of csictl on the same machine, with the same state and run directories.",
    ),
    explain(
        "csictl::plan::not-a-manifest",
        "A plan file was given where a manifest belongs",
        "'csictl apply FILE' does what a plan file holds. Every other command reads the manifest itself: the plan file says of which manifest it was made.",
    ),
    explain(
        "csictl::plan::not-a-plan",
        "Something else lies where the plan file should go",
        "'csictl plan --out FILE' replaces an older plan file and nothing else: a typing mistake must not cost an image or a disk. Give another name.",
    ),
    explain(
        "csictl::lock::held",
        "Another csictl works on it",
        "Each volume has a lock that is held while a step works on it, also by a mkfs or fsck whose csictl was killed: it ends with that helper. csictl waits 30 seconds, or as long as --lock-timeout says. Exit code 7.",
    ),
    explain(
        "csictl::state::insecure",
        "Others could write into a directory csictl trusts",
        "Whoever can write records could make csictl mount or delete what they like. The state directory belongs to root and nobody else may write into it. Exit code 5.",
    ),
    explain(
        "csictl::state::bad-document",
        "Not an exported state",
        "'csictl state import' takes the document that 'csictl state export' printed, of a csictl that is not newer. Records that exist are never overwritten.",
    ),
];

const GUARDS: &[Explanation] = &[
    explain(
        "csictl::guard::not-blank",
        "Storage that is not blank would have been formatted",
        "csictl formats only storage it has proven blank: every byte range that could hold a signature was read and holds none. A device that holds a file system of the type its manifest asks for already is used as it is; anything else on it is refused. What was found, and at which offset, is in the message. If the data is not needed, zero it yourself (blkdiscard --zeroout DEVICE) and apply again; there is no --force. wipefs is not enough: it leaves the other bytes, and csictl calls blank only what holds none.",
    ),
    explain(
        "csictl::guard::lost-filesystem",
        "It looks blank though csictl formatted it once",
        "A volume that had a file system and seems to have none may have a failing device, a truncated image, or been overwritten. It is never formatted again by itself. Restore it, or delete the volume by name and let it be made anew.",
    ),
    explain(
        "csictl::guard::wrong-identity",
        "The storage is not the one it should be",
        "Device size, serial number or World Wide Name, the file system's UUID, or the image's device and inode differ from what the manifest expects or the record remembers. Check the path and the cabling; nothing was written.",
    ),
    explain(
        "csictl::guard::protected",
        "It is protected",
        "prevent_destroy = true is remembered in the volume's record and holds even when its block has left the manifest. Set prevent_destroy = false, apply, then repeat. A record that was rebuilt counts as protected until its manifest is applied again.",
    ),
    explain(
        "csictl::guard::busy",
        "It is in use",
        "Processes keep files open in it, or it is mounted elsewhere. 'csictl who TARGET' names them. csictl never detaches lazily behind their back.",
    ),
    explain(
        "csictl::guard::unapproved",
        "It would lose data and nobody approved",
        "Each object that loses data needs an approval of its own: --approve volume.NAME=delete, --approve volume.NAME=wipe, --delete-data NAME with destroy, or the name typed at the prompt. --yes never covers it.",
    ),
    explain(
        "csictl::guard::foreign",
        "It belongs to somebody else",
        "Another project, an orchestrator, or nobody csictl knows owns it: a mount, loop device, image or target path that csictl did not make is never touched. Rename yours, or move the other away.",
    ),
    explain(
        "csictl::guard::other-namespace",
        "Another mount namespace holds its mounts",
        "The volume was staged in a mount namespace that still lives, whose mounts can't be seen from here. Run csictl there (nsenter -t PID -m csictl …), or end that namespace first.",
    ),
    explain(
        "csictl::guard::incompatible",
        "It does not fit what is there",
        "The access mode, or what was asked before under the same name, does not allow this. The message names both sides.",
    ),
    explain(
        "csictl::guard::exists",
        "It exists already with other properties",
        "Something of that name is there and differs from what is asked. Choose another name, or change the existing one through its manifest.",
    ),
    explain(
        "csictl::guard::not-found",
        "It is not there",
        "What the step needs does not exist: a source volume or snapshot, a device, a directory with create = false. The message has the path.",
    ),
    explain(
        "csictl::guard::not-ready",
        "Something has to be done first",
        "Steps build on each other: attach before stage, stage before publish, and the reverse on the way down. 'csictl apply MANIFEST' does all that is missing, in order.",
    ),
    explain(
        "csictl::guard::no-space",
        "No space is left, or a limit would be passed",
        "A pool's limit counts the nominal sizes of its images and snapshots; its reserve is kept free on the host file system. Raise the limit, free space, or make the volume smaller or sparse.",
    ),
    explain(
        "csictl::guard::out-of-range",
        "A size that can't be",
        "Volumes never shrink; a clone is at least as large as its source; each file system has a smallest size (ext4 16 MiB, btrfs 109 MiB, xfs 300 MiB).",
    ),
    explain(
        "csictl::guard::newer-record",
        "The record was written by a newer csictl",
        "This csictl does not touch records of a later format, but still unpublishes and unstages. Use the newer csictl. Exit code 69.",
    ),
    explain(
        "csictl::guard::unsupported",
        "This machine cannot do it",
        "The kernel, a capability or a tool is missing: growing a mounted ext4 needs CAP_SYS_RESOURCE, for one. 'csictl doctor' names what is missing and the way round. Exit code 69.",
    ),
    explain(
        "csictl::guard::unsafe-path",
        "A path with a symbolic link in it",
        "Targets are resolved below their pod's root without following links, so that whoever can write there can't redirect a mount. Replace the link by a directory, or set pods.NAME.root to the real path.",
    ),
];

const HOST: &[Explanation] = &[
    explain(
        "csictl::host::not-found",
        "Something is missing",
        "A file, device or mount that should be there is not. It may have been removed by hand between plan and step; apply again makes a new plan of what is there now.",
    ),
    explain(
        "csictl::host::exists",
        "Something is there already",
        "A file or directory stands where csictl would make its own, and it is not csictl's. Move it away and apply again.",
    ),
    explain(
        "csictl::host::busy",
        "The kernel says it is in use",
        "EBUSY: open files, a working directory or another mount hold it. 'csictl who TARGET' names the processes.",
    ),
    explain(
        "csictl::host::not-empty",
        "A directory is not empty",
        "csictl removes only empty directories it made, never their content.",
    ),
    explain(
        "csictl::host::no-space",
        "No space",
        "The file system below the pool or the state directory is full, or a quota is reached. What was done is kept; free space and apply again.",
    ),
    explain(
        "csictl::host::read-only",
        "A read-only file system",
        "The kernel refuses writes. File systems turn read-only after errors: look at the kernel log (dmesg) and check the device.",
    ),
    explain(
        "csictl::host::permission",
        "The kernel refused it",
        "A privilege is missing: run as root. In containers CAP_SYS_ADMIN, access to /dev/loop-control and the loop devices are needed; 'csictl doctor' checks each.",
    ),
    explain(
        "csictl::host::unsupported",
        "The kernel can't",
        "The running kernel lacks the call or feature. 'csictl doctor' lists what csictl uses and since which version Linux has it.",
    ),
    explain(
        "csictl::host::missing-tool",
        "A helper program is not installed",
        "Install the package that 'csictl doctor' names. Helpers are looked for in the system directories only, never in PATH.",
    ),
    explain(
        "csictl::host::tool-failed",
        "A helper program failed",
        "Its own words are shown as causes. csictl checks the effect of a tool, not only its exit status, so a tool that claims success may be shown here too.",
    ),
    explain(
        "csictl::host::lock-held",
        "A lock is held",
        "Another csictl, or a helper left by one that was killed, works on the same volume. Wait, or wait longer with --lock-timeout.",
    ),
    explain(
        "csictl::host::foreign",
        "It is not csictl's",
        "A mount, loop device or file at the place is not one csictl made. It is left alone; move it away and apply again.",
    ),
    explain(
        "csictl::host::unsafe-path",
        "A path that leaves its root",
        "A symbolic link, or a component exchanged while csictl looked at it, would have led elsewhere. Nothing was mounted there.",
    ),
    explain(
        "csictl::host::not-blank",
        "It is not blank",
        "The last look before mkfs found a signature. Nothing was written. See csictl::guard::not-blank.",
    ),
    explain(
        "csictl::host::verify",
        "What was written reads back wrong",
        "After a change csictl looks again; what it found is not what was made. The storage may be failing: look at the kernel log.",
    ),
    explain(
        "csictl::host::ungrowable",
        "The file system cannot be grown to that size",
        "ext4 that is not mounted is grown on a copy first, and what the tools made of the copy is not sound (bigalloc at some sizes, for one). The volume is as it was. Ask for another size, or for the one it has.",
    ),
    explain(
        "csictl::host::invalid",
        "Data that makes no sense",
        "A file or answer of the kernel could not be understood. A record like that is set aside and rebuilt, and never blocks other volumes.",
    ),
    explain(
        "csictl::host::timed-out",
        "It took too long",
        "The time allowed is over. What was begun is not killed half-way; look for a stuck device or process and apply again.",
    ),
    explain(
        "csictl::host::io",
        "The device answers with errors",
        "EIO or a file system that has shut down. Check the hardware and the kernel log before anything else; csictl has not formatted and will not.",
    ),
    explain(
        "csictl::host::other",
        "Another failure of the machine",
        "The cause has the system's own words. Steps are safe to repeat: apply again finishes what is missing.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::problem::host_code;
    use crate::driver::Refusal;
    use crate::host::ErrorKind;

    #[test]
    fn every_code_that_can_be_shown_is_explained() {
        use ErrorKind as K;
        use Refusal as R;
        let refusals = [
            R::NotBlank,
            R::LostFilesystem,
            R::WrongIdentity,
            R::Protected,
            R::Busy,
            R::Unapproved,
            R::Foreign,
            R::OtherNamespace,
            R::Incompatible,
            R::Exists,
            R::NotFound,
            R::NotReady,
            R::NoSpace,
            R::OutOfRange,
            R::NewerRecord,
            R::Unsupported,
            R::UnsafePath,
        ];
        let kinds = [
            K::NotFound,
            K::Exists,
            K::Busy,
            K::NotEmpty,
            K::NoSpace,
            K::ReadOnly,
            K::Permission,
            K::Unsupported,
            K::MissingTool,
            K::ToolFailed,
            K::LockHeld,
            K::Foreign,
            K::UnsafePath,
            K::NotBlank,
            K::Verify,
            K::Ungrowable,
            K::Invalid,
            K::TimedOut,
            K::Io,
            K::Other,
        ];
        let codes = refusals
            .map(|refusal| format!("csictl::guard::{}", refusal.code()))
            .into_iter()
            .chain(kinds.map(|kind| format!("csictl::host::{}", host_code(kind).0)));
        for code in codes {
            assert_eq!(find(&code).map(|explanation| explanation.code), Some(code.as_str()));
        }
    }

    #[test]
    fn the_last_part_is_enough() {
        assert_eq!(find("not-blank").map(|found| found.code), Some("csictl::guard::not-blank"));
        assert_eq!(find("guard::busy").map(|found| found.code), Some("csictl::guard::busy"));
        assert!(find("blank").is_none());
        assert!(find("").is_none());
    }
}
