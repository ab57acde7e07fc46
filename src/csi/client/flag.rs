//! The flags of the client's calls: each fills one field of a request, wherever in the request it is.

/// What a flag takes, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text; the flag may be given several times.
    Texts,
    /// A whole number.
    Number,
    /// A size: `1GiB`, `4096`.
    Size,
    /// True when given.
    Switch,
    /// `KEY=VALUE,KEY=VALUE`; may be given several times.
    Map,
    /// A file with secrets; never a value on the command line, where every process could read it.
    Secrets,
    /// One volume capability.
    Capability,
    /// Volume capabilities; one a flag.
    Capabilities,
    /// One topology: `KEY=VALUE,KEY=VALUE`.
    Topology,
    /// Topologies; one a flag.
    Topologies,
}

impl Kind {
    /// Whether the flag may be given more than once.
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Texts | Self::Map | Self::Capabilities | Self::Topologies)
    }

    /// How help names its value.
    pub const fn value_name(self) -> &'static str {
        match self {
            Self::Text | Self::Texts => "TEXT",
            Self::Number => "N",
            Self::Size => "SIZE",
            Self::Switch => "",
            Self::Map | Self::Topology | Self::Topologies => "K=V,…",
            Self::Secrets => "FILE",
            Self::Capability | Self::Capabilities => "MODE,…",
        }
    }
}

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// As typed, without the dashes.
    pub name: &'static str,
    /// The field it fills, by the names of the specification: `capacity_range.required_bytes`.
    pub field: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Help.
    pub help: &'static str,
}

const fn flag(name: &'static str, field: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, field, kind, help }
}

macro_rules! flags {
    ($($id:ident = $name:literal, $field:literal, $kind:ident, $help:literal;)*) => {
        $(pub(super) const $id: Flag = flag($name, $field, Kind::$kind, $help);)*
    };
}

flags! {
    NAME = "name", "name", Text, "The name of the request: a second call with it answers the same object";
    VOLUME_ID = "volume-id", "volume_id", Text, "The volume's id";
    NODE_ID = "node-id", "node_id", Text, "The node's id";
    SNAPSHOT_ID = "snapshot-id", "snapshot_id", Text, "The snapshot's id";
    SNAPSHOT_IDS = "snapshot-id", "snapshot_ids", Texts, "A snapshot of the group; may be given several times";
    GROUP_SNAPSHOT_ID = "group-snapshot-id", "group_snapshot_id", Text, "The group snapshot's id";
    SOURCE_VOLUME_ID = "source-volume-id", "source_volume_id", Text, "The volume it is taken of";
    SOURCE_VOLUME_IDS = "source-volume-id", "source_volume_ids", Texts, "A volume it is taken of; may be given several times";
    BASE_SNAPSHOT_ID = "base-snapshot-id", "base_snapshot_id", Text, "The earlier snapshot";
    TARGET_SNAPSHOT_ID = "target-snapshot-id", "target_snapshot_id", Text, "The later snapshot";
    REQUIRED_BYTES = "required-bytes", "capacity_range.required_bytes", Size, "The least size, such as 1GiB";
    LIMIT_BYTES = "limit-bytes", "capacity_range.limit_bytes", Size, "The largest size";
    CAP = "cap", "volume_capability", Capability, "How it is used: MODE,block or MODE,mount[,FS[,OPTION…]]";
    CAPS = "cap", "volume_capabilities", Capabilities, "How it will be used: MODE,block or MODE,mount[,FS[,OPTION…]]; may be given several times";
    PARAMS = "params", "parameters", Map, "Parameters of the class; may be given several times";
    MUTABLE_PARAMS = "mutable-params", "mutable_parameters", Map, "Parameters that may change later";
    SECRETS = "secrets", "secrets", Secrets, "A file of KEY=VALUE lines, or a JSON object; '-' reads stdin";
    FROM_SNAPSHOT = "from-snapshot", "volume_content_source.snapshot.snapshot_id", Text, "The snapshot to restore";
    FROM_VOLUME = "from-volume", "volume_content_source.volume.volume_id", Text, "The volume to clone";
    REQUISITE = "requisite", "accessibility_requirements.requisite", Topologies, "A topology it may be made in; may be given several times";
    PREFERRED = "preferred", "accessibility_requirements.preferred", Topologies, "A topology it best is in, the best first";
    TOPOLOGY = "topology", "accessible_topology", Topology, "The topology asked about";
    READONLY = "readonly", "readonly", Switch, "Read-only";
    VOLUME_CONTEXT = "volume-context", "volume_context", Map, "What CreateVolume answered as volume_context";
    PUBLISH_CONTEXT = "publish-context", "publish_context", Map, "What ControllerPublishVolume answered";
    STAGING_PATH = "staging-path", "staging_target_path", Text, "Where the volume is staged";
    TARGET_PATH = "target-path", "target_path", Text, "Where the workload sees it";
    VOLUME_PATH = "volume-path", "volume_path", Text, "Where it is mounted";
    MAX_ENTRIES = "max-entries", "max_entries", Number, "The most entries to answer";
    STARTING_TOKEN = "starting-token", "starting_token", Text, "The next_token of the page before";
    STARTING_OFFSET = "starting-offset", "starting_offset", Number, "The byte to begin at";
    MAX_RESULTS = "max-results", "max_results", Number, "The most ranges in one message";
}
