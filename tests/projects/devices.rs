//! One device, one volume, whichever projects want it.

use crate::support::world::{DISK, World};

fn manifest(project: &str, path: &str) -> String {
    format!(
        "version = 1\nproject = \"{project}\"\n[volumes.disk]\ndevice = {{ path = \"{path}\" }}\nfs = {{ type = \"ext4\" }}\n[pods.p]\nroot = \"/srv/{project}\"\n[[pods.p.mounts]]\nvolume = \"disk\"\npath = \"/d\"\n"
    )
}

#[test]
fn a_device_that_another_project_has_is_refused_even_while_it_is_down() {
    let world = World::new();
    let (first, second) = (manifest("dv", DISK), manifest("dw", DISK));
    world.apply(&first);
    world.destroy(&first);

    let plan = world.plan(&second);

    let said: Vec<_> = plan.refused.iter().map(|refused| (refused.code, refused.message.as_str())).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].0, "incompatible");
    assert!(said[0].1.contains("dv.disk") && said[0].1.contains("project:dv"), "{said:?}");
    world.apply(&first);
    world.settled(&first);
}
