//! Ids over gRPC: made from the hash of a name, so that a retry finds its volume; read with care, since a bad one may come from
//! anywhere and never becomes a path.

use uuid::Uuid;

use crate::model::{GroupId, SnapshotId, VolumeId};

/// What our name hashes live under, so that they meet nobody else's.
const VOLUMES: Uuid = Uuid::from_u128(0x8d3a_54f1_7c0e_4f6b_9a61_2f0b_63d8_71ce);
const SNAPSHOTS: Uuid = Uuid::from_u128(0x5be2_0d4c_91a7_4c15_b0f3_c44e_0a6d_92f8);
const GROUPS: Uuid = Uuid::from_u128(0x1f96_e3b0_4d28_47aa_8c57_6e1d_b925_03c4);

/// The id of the volume asked for under this name: `vol-` and a hash.
///
/// # Panics
/// Never: the text is in the grammar of ids.
pub fn of_volume(name: &str) -> VolumeId {
    let text = format!("vol-{}", Uuid::new_v5(&VOLUMES, name.as_bytes()).simple());
    text.parse().expect("letters, digits and '-'")
}

/// The id of the snapshot asked for under this name: `snap-` and a hash.
///
/// # Panics
/// Never: the text is in the grammar of ids.
pub fn of_snapshot(name: &str) -> SnapshotId {
    let text = format!("snap-{}", Uuid::new_v5(&SNAPSHOTS, name.as_bytes()).simple());
    text.parse().expect("letters, digits and '-'")
}

/// The id of the group snapshot asked for under this name: `group-` and a hash.
///
/// # Panics
/// Never: the text is in the grammar of ids.
pub fn of_group(name: &str) -> GroupId {
    let text = format!("group-{}", Uuid::new_v5(&GROUPS, name.as_bytes()).simple());
    text.parse().expect("letters, digits and '-'")
}

/// The id of a group's snapshot of one volume: `snap-` and a hash of both.
///
/// # Panics
/// Never: the text is in the grammar of ids.
pub fn of_member(group: &GroupId, volume: &VolumeId) -> SnapshotId {
    let text = format!("snap-{}", Uuid::new_v5(&GROUPS, format!("{group}/{volume}").as_bytes()).simple());
    text.parse().expect("letters, digits and '-'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id_whatever_characters_it_has() {
        assert_eq!(of_volume("pvc-1"), of_volume("pvc-1"));
        assert_ne!(of_volume("pvc-1"), of_volume("pvc-2"));
        assert!(of_volume("Ünïcödé /../ name").as_str().starts_with("vol-"));
        assert_ne!(of_volume("x").as_str()[4..], of_snapshot("x").as_str()[5..]);
    }
}
