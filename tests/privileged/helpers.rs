//! What the programs that csictl starts get to see of whoever started csictl.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use crate::support::Place;

const MANIFEST: &str = r#"
version = 1
project = "p"

[pools.main]
path = "./images"

[volumes.data]
capacity = "128MiB"
image    = { allocate = "sparse" }
fs       = { type = "btrfs" }
"#;

/// A helper that writes down what it sees and fails, in the place of the real one in this test's mount namespace.
fn spy(place: &Place, tool: &str) {
    let seen = place.join("seen");
    let text = format!("#!/bin/sh\nls -l /proc/$$/fd >{0}\nenv >>{0}\nexit 1\n", seen.display());
    let script = place.write("spy", &text);
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    mount(Some(&script), tool, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

#[test]
fn descriptors_and_environment_of_the_caller_stop_at_csictl() {
    let place = Place::new();
    place.write("p.toml", MANIFEST);
    spy(&place, "/usr/sbin/mkfs.btrfs");
    let evil = place.write("evil/mkfs.btrfs", "#!/bin/sh\necho evil >../seen\n");
    fs::set_permissions(&evil, Permissions::from_mode(0o755)).unwrap();
    let csictl = place.csictl();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec 9</dev/zero; exec \"$0\" apply --yes p.toml"]).arg(csictl.get_program());
    shell.current_dir(place.path()).env("PATH", format!("{}:/usr/bin:/bin", place.join("evil").display()));
    shell.env("CSICTL_STATE_DIR", place.state()).env("CSICTL_RUN_DIR", place.run()).env("SECRET", "canary");

    let output = shell.output().unwrap();

    let seen = fs::read_to_string(place.join("seen")).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(seen.contains(" 0 -> "), "{seen}");
    for strange in ["/dev/zero", "canary", "evil"] {
        assert!(!seen.contains(strange), "{strange} came through: {seen}");
    }
}
