//! Every RPC of CSI 1.12 with its flags and an example: the one table that help, completions, manual pages and requests are made from.

use super::flag::{
    BASE_SNAPSHOT_ID, CAP, CAPS, FROM_SNAPSHOT, FROM_VOLUME, Flag, GROUP_SNAPSHOT_ID, LIMIT_BYTES, MAX_ENTRIES,
    MAX_RESULTS, MUTABLE_PARAMS, NAME, NODE_ID, PARAMS, PREFERRED, PUBLISH_CONTEXT, READONLY, REQUIRED_BYTES,
    REQUISITE, SECRETS, SNAPSHOT_ID, SNAPSHOT_IDS, SOURCE_VOLUME_ID, SOURCE_VOLUME_IDS, STAGING_PATH, STARTING_OFFSET,
    STARTING_TOKEN, TARGET_PATH, TARGET_SNAPSHOT_ID, TOPOLOGY, VOLUME_CONTEXT, VOLUME_ID, VOLUME_PATH,
};

/// One call.
#[derive(Debug, PartialEq, Eq)]
pub struct Rpc {
    /// Its service: `Controller`.
    pub service: &'static str,
    /// Its name: `CreateVolume`.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// What an example has behind the call's name.
    pub example: &'static str,
}

impl Rpc {
    /// As typed: `create-volume`.
    pub fn command(&self) -> String {
        let mut text = String::with_capacity(self.name.len() + 4);
        for c in self.name.chars() {
            if c.is_ascii_uppercase() && !text.is_empty() {
                text.push('-');
            }
            text.push(c.to_ascii_lowercase());
        }
        text
    }

    /// The call that is typed so.
    pub fn find(command: &str) -> Option<&'static Self> {
        RPCS.iter().find(|rpc| rpc.command() == command)
    }
}

const fn rpc(
    service: &'static str,
    name: &'static str,
    about: &'static str,
    flags: &'static [Flag],
    example: &'static str,
) -> Rpc {
    Rpc { service, name, about, flags, example }
}

const IDENTITY: &str = "Identity";
const CONTROLLER: &str = "Controller";
const NODE: &str = "Node";
const GROUP: &str = "GroupController";
const METADATA: &str = "SnapshotMetadata";

/// The services, in the order of the specification.
pub const SERVICES: [&str; 5] = [IDENTITY, CONTROLLER, NODE, GROUP, METADATA];

/// All calls, by service.
pub const RPCS: &[Rpc] = &[
    rpc(IDENTITY, "GetPluginInfo", "Name and version of the plugin", &[], ""),
    rpc(IDENTITY, "GetPluginCapabilities", "Which services it offers", &[], ""),
    rpc(IDENTITY, "Probe", "Whether it can serve calls now", &[], ""),
    rpc(
        CONTROLLER,
        "CreateVolume",
        "Make a volume, or find the one made under this name before",
        &[
            NAME,
            REQUIRED_BYTES,
            LIMIT_BYTES,
            CAPS,
            PARAMS,
            MUTABLE_PARAMS,
            FROM_SNAPSHOT,
            FROM_VOLUME,
            REQUISITE,
            PREFERRED,
            SECRETS,
        ],
        "--name data --required-bytes 1GiB --cap SINGLE_NODE_WRITER,mount,ext4,noatime --params allocate=sparse",
    ),
    rpc(CONTROLLER, "DeleteVolume", "Remove a volume and its data", &[VOLUME_ID, SECRETS], "--volume-id vol-1"),
    rpc(
        CONTROLLER,
        "ControllerPublishVolume",
        "Attach a volume to a node",
        &[VOLUME_ID, NODE_ID, CAP, READONLY, VOLUME_CONTEXT, SECRETS],
        "--volume-id vol-1 --node-id node-1 --cap SINGLE_NODE_WRITER,mount",
    ),
    rpc(
        CONTROLLER,
        "ControllerUnpublishVolume",
        "Detach a volume from a node, or from all",
        &[VOLUME_ID, NODE_ID, SECRETS],
        "--volume-id vol-1 --node-id node-1",
    ),
    rpc(
        CONTROLLER,
        "ValidateVolumeCapabilities",
        "Whether a volume could be used so",
        &[VOLUME_ID, CAPS, VOLUME_CONTEXT, PARAMS, MUTABLE_PARAMS, SECRETS],
        "--volume-id vol-1 --cap SINGLE_NODE_WRITER,mount,ext4",
    ),
    rpc(CONTROLLER, "ListVolumes", "All volumes, page by page", &[MAX_ENTRIES, STARTING_TOKEN], "--max-entries 100"),
    rpc(
        CONTROLLER,
        "GetCapacity",
        "How much could still be made",
        &[CAPS, PARAMS, TOPOLOGY],
        "--params pool=fast --topology topology.csi.csictl.io/node=node-1",
    ),
    rpc(CONTROLLER, "ControllerGetCapabilities", "Which optional controller calls are served", &[], ""),
    rpc(
        CONTROLLER,
        "CreateSnapshot",
        "Take a snapshot, or find the one taken under this name before",
        &[NAME, SOURCE_VOLUME_ID, PARAMS, SECRETS],
        "--name monday --source-volume-id vol-1",
    ),
    rpc(CONTROLLER, "DeleteSnapshot", "Remove a snapshot", &[SNAPSHOT_ID, SECRETS], "--snapshot-id snap-1"),
    rpc(
        CONTROLLER,
        "ListSnapshots",
        "All snapshots, page by page, or those of one volume or id",
        &[SOURCE_VOLUME_ID, SNAPSHOT_ID, MAX_ENTRIES, STARTING_TOKEN, SECRETS],
        "--source-volume-id vol-1",
    ),
    rpc(CONTROLLER, "GetSnapshot", "One snapshot (alpha)", &[SNAPSHOT_ID, SECRETS], "--snapshot-id snap-1"),
    rpc(
        CONTROLLER,
        "ControllerExpandVolume",
        "Grow a volume as far as that is done away from its node",
        &[VOLUME_ID, REQUIRED_BYTES, LIMIT_BYTES, CAP, SECRETS],
        "--volume-id vol-1 --required-bytes 2GiB",
    ),
    rpc(
        CONTROLLER,
        "ControllerGetVolume",
        "One volume, where it is published, and how it is (alpha)",
        &[VOLUME_ID],
        "--volume-id vol-1",
    ),
    rpc(
        CONTROLLER,
        "ControllerModifyVolume",
        "Change mutable parameters of a volume",
        &[VOLUME_ID, MUTABLE_PARAMS, SECRETS],
        "--volume-id vol-1 --mutable-params allocate=full",
    ),
    rpc(
        NODE,
        "NodeStageVolume",
        "Format a volume if it is blank and mount it once on the node",
        &[VOLUME_ID, STAGING_PATH, CAP, PUBLISH_CONTEXT, VOLUME_CONTEXT, SECRETS],
        "--volume-id vol-1 --staging-path /var/lib/stage/vol-1 --cap SINGLE_NODE_WRITER,mount",
    ),
    rpc(
        NODE,
        "NodeUnstageVolume",
        "Take that mount away",
        &[VOLUME_ID, STAGING_PATH],
        "--volume-id vol-1 --staging-path /var/lib/stage/vol-1",
    ),
    rpc(
        NODE,
        "NodePublishVolume",
        "Show a staged volume at the path of one workload",
        &[VOLUME_ID, STAGING_PATH, TARGET_PATH, CAP, READONLY, PUBLISH_CONTEXT, VOLUME_CONTEXT, SECRETS],
        "--volume-id vol-1 --staging-path /var/lib/stage/vol-1 --target-path /srv/data --cap SINGLE_NODE_WRITER,mount",
    ),
    rpc(
        NODE,
        "NodeUnpublishVolume",
        "Take it away from that path",
        &[VOLUME_ID, TARGET_PATH],
        "--volume-id vol-1 --target-path /srv/data",
    ),
    rpc(
        NODE,
        "NodeGetVolumeStats",
        "Use and health of a volume",
        &[VOLUME_ID, VOLUME_PATH, STAGING_PATH],
        "--volume-id vol-1 --volume-path /srv/data",
    ),
    rpc(
        NODE,
        "NodeExpandVolume",
        "Grow what the node has of a volume: device and file system",
        &[VOLUME_ID, VOLUME_PATH, STAGING_PATH, REQUIRED_BYTES, LIMIT_BYTES, CAP, SECRETS],
        "--volume-id vol-1 --volume-path /srv/data --required-bytes 2GiB",
    ),
    rpc(NODE, "NodeGetCapabilities", "Which optional node calls are served", &[], ""),
    rpc(NODE, "NodeGetInfo", "Name, volume limit and topology of the node", &[], ""),
    rpc(GROUP, "GroupControllerGetCapabilities", "Which group calls are served", &[], ""),
    rpc(
        GROUP,
        "CreateVolumeGroupSnapshot",
        "Take a snapshot of several volumes at one moment",
        &[NAME, SOURCE_VOLUME_IDS, PARAMS, SECRETS],
        "--name monday --source-volume-id vol-1 --source-volume-id vol-2",
    ),
    rpc(
        GROUP,
        "DeleteVolumeGroupSnapshot",
        "Remove a group snapshot and the snapshots in it",
        &[GROUP_SNAPSHOT_ID, SNAPSHOT_IDS, SECRETS],
        "--group-snapshot-id group-1 --snapshot-id snap-1 --snapshot-id snap-2",
    ),
    rpc(
        GROUP,
        "GetVolumeGroupSnapshot",
        "One group snapshot",
        &[GROUP_SNAPSHOT_ID, SNAPSHOT_IDS, SECRETS],
        "--group-snapshot-id group-1",
    ),
    rpc(
        METADATA,
        "GetMetadataAllocated",
        "The ranges of a snapshot that hold data (alpha)",
        &[SNAPSHOT_ID, STARTING_OFFSET, MAX_RESULTS, SECRETS],
        "--snapshot-id snap-1",
    ),
    rpc(
        METADATA,
        "GetMetadataDelta",
        "The ranges in which two snapshots differ (alpha)",
        &[BASE_SNAPSHOT_ID, TARGET_SNAPSHOT_ID, STARTING_OFFSET, MAX_RESULTS, SECRETS],
        "--base-snapshot-id snap-1 --target-snapshot-id snap-2",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor, Value};

    use super::*;
    use crate::csi::contract;

    #[test]
    fn names_are_typed_in_words() {
        assert_eq!(Rpc::find("node-get-volume-stats").unwrap().name, "NodeGetVolumeStats");
        assert_eq!(Rpc::find("NodeGetVolumeStats"), None);
    }

    #[test]
    fn the_table_has_every_call_of_the_contract_once() {
        let services = contract::descriptors().services();
        let contract: BTreeSet<String> =
            services.flat_map(|s| s.methods().map(|m| m.full_name().to_owned()).collect::<Vec<_>>()).collect();
        let table: BTreeSet<String> = RPCS.iter().map(|rpc| format!("csi.v1.{}.{}", rpc.service, rpc.name)).collect();
        assert_eq!(table, contract);
        assert_eq!(table.len(), RPCS.len());
    }

    fn is_secret(field: &FieldDescriptor) -> bool {
        let mark = contract::descriptors().get_extension_by_name("csi.v1.csi_secret").unwrap();
        *field.options().get_extension(&mark) == Value::Bool(true)
    }

    /// The fields that flags are for: those of the request, and the parts of those that have no text of their own.
    fn fields(message: &MessageDescriptor, prefix: &str, into: &mut BTreeSet<String>) {
        const PARTED: [&str; 5] = [
            "csi.v1.CapacityRange",
            "csi.v1.VolumeContentSource",
            "csi.v1.VolumeContentSource.SnapshotSource",
            "csi.v1.VolumeContentSource.VolumeSource",
            "csi.v1.TopologyRequirement",
        ];
        for field in message.fields() {
            let name = format!("{prefix}{}", field.name());
            match field.kind() {
                FieldKind::Message(part) if PARTED.contains(&part.full_name()) => {
                    fields(&part, &format!("{name}."), into);
                }
                _ => drop(into.insert(name)),
            }
        }
    }

    #[test]
    fn every_field_of_every_request_has_one_flag_and_secrets_come_from_files() {
        for rpc in RPCS {
            let request = contract::method(rpc).input();
            let mut contract = BTreeSet::new();
            fields(&request, "", &mut contract);
            let table: BTreeSet<String> = rpc.flags.iter().map(|flag| flag.field.to_owned()).collect();
            assert_eq!(table, contract, "{}", rpc.name);
            let names: BTreeSet<_> = rpc.flags.iter().map(|flag| flag.name).collect();
            assert_eq!(names.len(), rpc.flags.len(), "{}", rpc.name);
            for flag in rpc.flags {
                let field = request.get_field_by_name(flag.field.split('.').next().unwrap()).unwrap();
                let secret = is_secret(&field);
                assert_eq!(flag.kind == super::super::Kind::Secrets, secret, "{} {}", rpc.name, flag.name);
            }
        }
    }
}
