//! From a request to the volume it describes: class, parameters, capabilities, size and source come together in one spec. Pure, so that every
//! rule has a test of its own.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Status;

use super::capability::Capability;
use super::parameters::{Parameters, mount_option_words, shown};
use super::size_range::Range;
use crate::model::mount_options::{self, MountKind};
use crate::model::{
    Asked, Backing, Capacity, CapacityRange, FormatPolicy, FsSpec, FsType, ImageBacking, Owner, Pool, Reclaim,
    SectorSize, Source, StorageClass, StorageConfig, VolumeId, VolumeMode, VolumeSpec, mkfs_options,
};

/// The size of a volume for which none is asked.
const DEFAULT_SIZE: Capacity = Capacity::gib(1);

/// What a new volume is copied from, as far as it decides what the volume is.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Which.
    pub source: Source,
    /// Its size.
    pub size: Capacity,
    /// Its file system; `None` for raw block.
    pub fs_type: Option<FsType>,
    /// The sector size it was made for.
    pub sector_size: SectorSize,
}

/// Mounted or raw: all capabilities of one volume have to agree.
///
/// # Errors
/// INVALID_ARGUMENT where they do not.
pub fn volume_mode(capabilities: &[Capability]) -> Result<VolumeMode, Status> {
    let mut modes = capabilities.iter().map(|capability| capability.volume_mode);
    let first = modes.next().unwrap_or_default();
    if modes.any(|mode| mode != first) {
        return Err(Status::invalid_argument("volume_capabilities: a volume is either mounted or raw block, not both"));
    }
    Ok(first)
}

/// The file system asked for, by the capabilities or by the parameters; `None` where it is left open.
///
/// # Errors
/// INVALID_ARGUMENT where they contradict each other.
pub fn fs_type_asked(capabilities: &[Capability], parameters: &Parameters) -> Result<Option<FsType>, Status> {
    let mut asked = capabilities.iter().filter_map(|capability| capability.fs_type).chain(parameters.fs_type);
    let Some(first) = asked.next() else { return Ok(None) };
    match asked.find(|other| *other != first) {
        Some(other) => Err(Status::invalid_argument(format!("both fs_type {first} and {other} are asked for"))),
        None => Ok(Some(first)),
    }
}

/// The class that the parameters name, or what holds without one.
///
/// # Errors
/// INVALID_ARGUMENT for an unknown one.
pub fn class_of<'a>(config: &'a StorageConfig, parameters: &Parameters) -> Result<&'a StorageClass, Status> {
    let Some(name) = &parameters.class else { return Ok(&config.default) };
    let known = || config.classes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let unknown =
        || Status::invalid_argument(format!("there is no class '{name}' in --config: known are [{}]", known()));
    config.classes.get(name).ok_or_else(unknown)
}

/// Parameters with the defaults written out that they leave to the class: two calls that differ in nothing else ask for the same. A parameter
/// may be among the mutable ones too.
pub fn written_out(config: &StorageConfig, asked: &Asked) -> BTreeMap<String, String> {
    let mut all: BTreeMap<_, _> = asked.parameters.clone().into_iter().chain(asked.mutable.clone()).collect();
    let named = all.get("class").and_then(|name| config.classes.get(name.as_str()));
    let class = named.unwrap_or(&config.default);
    let defaults = [
        ("allocate", class.allocate.as_str().to_owned()),
        ("backing", "image".to_owned()),
        ("direct_io", class.direct_io.to_string()),
        ("sector_size", class.sector_size.bytes().to_string()),
        ("mount_options", class.mount_options.join(",")),
    ];
    let pool = class.pool.as_ref().map(|pool| ("pool", pool.to_string()));
    for (key, value) in defaults.into_iter().chain(pool) {
        all.entry(key.to_owned()).or_insert(value);
    }
    // Written with commas or spaces, it is the same list.
    if let Some(options) = all.get_mut("mount_options") {
        *options = mount_option_words(options).join(",");
    }
    all
}

/// A retry, with what it asks for in the first call's own words wherever it asks for the same.
pub fn in_words_of(config: &StorageConfig, first: &Asked, retry: Asked) -> Asked {
    let (is, asks) = (written_out(config, first), written_out(config, &retry));
    let keys: BTreeSet<&String> = is.keys().chain(asks.keys()).filter(|key| is.get(*key) != asks.get(*key)).collect();
    let unsaid = |key: &String| !retry.parameters.contains_key(key) && !retry.mutable.contains_key(key);
    let merged = |first: &BTreeMap<String, String>, retry: &BTreeMap<String, String>| {
        let mut merged = first.clone();
        for key in &keys {
            let default = merged.remove(*key).and(asks.get(*key)).filter(|_| unsaid(key));
            if let Some(value) = retry.get(*key).or(default) {
                merged.insert((*key).clone(), value.clone());
            }
        }
        merged
    };
    let parameters = merged(&first.parameters, &retry.parameters);
    let mutable = merged(&first.mutable, &retry.mutable);
    Asked { parameters, mutable, ..retry }
}

/// The pool of a volume's image.
///
/// # Errors
/// INVALID_ARGUMENT for an unknown one, or where several are there and nobody chooses.
pub fn pool_of<'a>(
    config: &'a StorageConfig,
    class: &StorageClass,
    parameters: &Parameters,
) -> Result<&'a Pool, Status> {
    let known = || config.pools.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Some(name) = parameters.pool.as_ref().or(class.pool.as_ref()) else {
        return Err(Status::invalid_argument(format!(
            "there are several pools: set parameter pool to one of {}",
            known()
        )));
    };
    let unknown = || Status::invalid_argument(format!("there is no pool '{name}' in --config: known are {}", known()));
    config.pools.get(name).ok_or_else(unknown)
}

/// Everything a request for a new volume says.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Its id.
    pub id: VolumeId,
    /// Its name.
    pub name: &'a str,
    /// How it is to be used; at least one.
    pub capabilities: &'a [Capability],
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// Its size.
    pub range: Range,
    /// What it is copied from.
    pub origin: Option<&'a Origin>,
}

/// The volume that is wished for.
///
/// # Errors
/// INVALID_ARGUMENT for what contradicts itself, OUT_OF_RANGE for a size that can't be.
pub fn spec(config: &StorageConfig, wish: &Wish<'_>) -> Result<VolumeSpec, Status> {
    let parameters = wish.parameters;
    let class = class_of(config, parameters)?;
    let pool = pool_of(config, class, parameters)?;
    let mode = volume_mode(wish.capabilities)?;
    let asked = fs_type_asked(wish.capabilities, parameters)?;
    let fs = match mode {
        VolumeMode::Block => None,
        VolumeMode::Filesystem => Some(filesystem(class, parameters, asked, wish.origin)?),
    };
    if let Some(origin) = wish.origin
        && origin.fs_type.is_some() != fs.is_some()
    {
        return Err(Status::invalid_argument("a mounted and a raw block volume can't be made from each other"));
    }
    let least = fs.as_ref().map_or(Capacity::bytes(4096), |fs| fs.fs_type.min_capacity());
    let copied = wish.origin.map_or(Capacity::default(), |origin| origin.size);
    if wish.range.required > 0 && wish.range.required < copied.get() {
        let required = Capacity::bytes(wish.range.required);
        return Err(Status::out_of_range(format!("{required} is less than its source has ({copied})")));
    }
    let default = if wish.origin.is_some() { copied } else { DEFAULT_SIZE };
    let required = wish.range.choose(least.max(copied), default)?;
    let sector_size = parameters.sector_size.unwrap_or(class.sector_size);
    if let (Some(asked), Some(origin)) = (parameters.sector_size, wish.origin)
        && asked != origin.sector_size
    {
        let (asked, is) = (asked.bytes(), origin.sector_size.bytes());
        let message = format!("parameter sector_size: {asked} is asked for, and a copy keeps the {is} of its source");
        return Err(Status::invalid_argument(message));
    }
    Ok(VolumeSpec {
        id: wish.id.clone(),
        owner: Owner::Csi,
        name: wish.name.to_owned(),
        description: parameters.description.clone(),
        volume_mode: mode,
        // The limit is this call's: a later ControllerExpandVolume has one of its own.
        capacity: Some(CapacityRange { required, limit: None }),
        access_mode: widest(wish.capabilities),
        backing: Backing::Image(ImageBacking {
            pool: pool.name.clone(),
            pool_path: pool.path.clone(),
            allocate: parameters.mutable.allocate.unwrap_or(class.allocate),
            direct_io: parameters.direct_io.unwrap_or(class.direct_io),
            sector_size: wish.origin.map_or(sector_size, |origin| origin.sector_size),
        }),
        mount_options: mount_options_of(class, parameters, fs.as_ref().map(|fs| fs.fs_type))?,
        fs,
        fs_type_given: asked.is_some(),
        source: wish.origin.map(|origin| origin.source.clone()),
        reclaim: Reclaim::Delete,
        prevent_destroy: class.prevent_destroy,
        ownership: if mode == VolumeMode::Block { crate::model::Ownership::default() } else { class.ownership },
        fs_group: None,
        ephemeral: false,
    })
}

/// The file system to make, or the one that comes with the source. What a class or parameter says of making one does not apply to a copy.
fn filesystem(
    class: &StorageClass,
    parameters: &Parameters,
    asked: Option<FsType>,
    origin: Option<&Origin>,
) -> Result<FsSpec, Status> {
    if let Some(fs_type) = origin.and_then(|origin| origin.fs_type) {
        if let Some(asked) = asked.filter(|asked| *asked != fs_type) {
            return Err(Status::invalid_argument(format!("fs_type {asked} is asked for, its source has {fs_type}")));
        }
        return Ok(FsSpec::plain(fs_type));
    }
    let of_class = class.fs_type.unwrap_or(FsType::Ext4);
    let fs_type = asked.unwrap_or(of_class);
    // What the class says of its own file system means nothing to another one.
    let (label, options) =
        if fs_type == of_class { (class.label.as_ref(), &class.mkfs_options[..]) } else { (None, &[][..]) };
    let label = parameters.label.as_ref().or(label).cloned();
    if let Some(label) = &label {
        let most = fs_type.label_max();
        if label.is_empty() || label.len() > most || label.starts_with('-') || label.chars().any(char::is_control) {
            let label = shown(label);
            return Err(Status::invalid_argument(format!(
                "label '{label}': {fs_type} takes 1 to {most} bytes of text"
            )));
        }
    }
    let options = parameters.mkfs_options.clone().unwrap_or_else(|| options.to_vec());
    if let Err(refused) = mkfs_options::check(fs_type, &options) {
        let text: Vec<_> = refused.iter().map(ToString::to_string).collect();
        return Err(Status::invalid_argument(text.join("; ")));
    }
    Ok(FsSpec { fs_type, format: FormatPolicy::IfBlank, label, mkfs_options: options })
}

fn mount_options_of(
    class: &StorageClass,
    parameters: &Parameters,
    fs_type: Option<FsType>,
) -> Result<Vec<String>, Status> {
    let Some(fs_type) = fs_type else { return Ok(Vec::new()) };
    match &parameters.mutable.mount_options {
        Some(options) => checked(fs_type, options),
        None => {
            let suits = |option: &&String| mount_options::check(MountKind::Fs(fs_type), option).is_ok();
            Ok(class.mount_options.iter().filter(suits).cloned().collect())
        }
    }
}

/// Mount options that all suit this file system.
///
/// # Errors
/// INVALID_ARGUMENT naming those that do not.
pub fn checked(fs_type: FsType, options: &[String]) -> Result<Vec<String>, Status> {
    match mount_options::check_all(MountKind::Fs(fs_type), options) {
        Ok(_) => Ok(options.to_vec()),
        Err(refused) => {
            let text: Vec<_> = refused.iter().map(|(_, refused)| refused.to_string()).collect();
            Err(Status::invalid_argument(text.join("; ")))
        }
    }
}

/// The access mode that allows all that is asked for.
fn widest(capabilities: &[Capability]) -> crate::model::AccessMode {
    use crate::model::AccessMode::{
        SingleNodeMultiWriter, SingleNodeReaderOnly, SingleNodeSingleWriter, SingleNodeWriter,
    };
    let widest_first = [SingleNodeMultiWriter, SingleNodeWriter, SingleNodeSingleWriter, SingleNodeReaderOnly];
    let asked = |mode: &_| capabilities.iter().any(|capability| capability.access_mode == *mode);
    widest_first.into_iter().find(asked).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;

    use super::*;
    use crate::model::{AccessMode, Allocate, Layout};

    const MIB: u64 = 1 << 20;

    fn capability(volume_mode: VolumeMode, fs_type: Option<FsType>) -> Capability {
        let access_mode = AccessMode::SingleNodeWriter;
        Capability { volume_mode, fs_type, mount_flags: Vec::new(), group: None, access_mode }
    }

    fn config() -> StorageConfig {
        let mut config = StorageConfig::of_layout(&Layout::new("/state", "/run/csictl"));
        let mut fast = StorageClass::plain("default".parse().ok());
        fast.fs_type = Some(FsType::Xfs);
        fast.label = Some("fast".to_owned());
        fast.mkfs_options = vec!["-m".to_owned(), "reflink=0".to_owned()];
        fast.mount_options = vec!["noatime".to_owned(), "logbufs=8".to_owned()];
        config.classes.insert("fast".parse().unwrap(), fast);
        config
    }

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let map: HashMap<_, _> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Parameters::read(&map, &HashMap::new()).unwrap()
    }

    fn made(
        pairs: &[(&str, &str)],
        capabilities: &[Capability],
        range: Range,
        origin: Option<&Origin>,
    ) -> Result<VolumeSpec, Status> {
        let parameters = parameters(pairs);
        let id = "vol-1".parse().unwrap();
        spec(&config(), &Wish { id, name: "one", capabilities, parameters: &parameters, range, origin })
    }

    fn mounted(fs_type: Option<FsType>) -> [Capability; 1] {
        [capability(VolumeMode::Filesystem, fs_type)]
    }

    #[test]
    fn without_a_word_it_is_a_full_gibibyte_of_ext4() {
        let spec = made(&[], &mounted(None), Range::default(), None).unwrap();
        assert_eq!(spec.fs_type(), Some(FsType::Ext4));
        assert_eq!(spec.required(), Some(Capacity::gib(1)));
        assert_eq!(spec.backing.as_image().unwrap().allocate, Allocate::Full);
        assert_eq!(spec.access_mode, AccessMode::SingleNodeWriter);
    }

    #[test]
    fn a_class_settles_what_is_left_open_and_what_suits_its_file_system() {
        let open = made(&[("class", "fast")], &mounted(None), Range::default(), None).unwrap();
        let fs = open.fs.unwrap();
        assert_eq!((fs.fs_type, fs.label.as_deref(), fs.mkfs_options.len()), (FsType::Xfs, Some("fast"), 2));
        assert_eq!(open.mount_options, ["noatime", "logbufs=8"]);
        let asked = made(&[("class", "fast")], &mounted(Some(FsType::Ext4)), Range::default(), None).unwrap();
        let fs = asked.fs.unwrap();
        assert_eq!((fs.fs_type, fs.label, fs.mkfs_options.len()), (FsType::Ext4, None, 0));
        assert_eq!(asked.mount_options, ["noatime"]);
    }

    #[test]
    fn sizes_are_rounded_raised_and_bounded() {
        let bytes = |required, limit| Range { required, limit };
        for (range, answer) in [
            (bytes(0, None), Ok(1024 * MIB)),
            (bytes(0, Some(100 * MIB + 5)), Ok(100 * MIB)),
            (bytes(20 * MIB + 1, None), Ok(20 * MIB + 4096)),
            (bytes(MIB, None), Ok(16 * MIB)),
            (bytes(MIB, Some(15 * MIB)), Err(Code::OutOfRange)),
            (bytes(20 * MIB + 1, Some(20 * MIB + 2)), Err(Code::OutOfRange)),
            (bytes(i64::MAX.unsigned_abs(), None), Err(Code::OutOfRange)),
            (bytes(0, Some(1)), Err(Code::OutOfRange)),
        ] {
            let spec = made(&[], &mounted(None), range, None);
            let size = spec.map(|spec| spec.required().unwrap().get()).map_err(|status| status.code());
            assert_eq!(size, answer, "{range:?}");
        }
    }

    #[test]
    fn a_copy_has_its_sources_file_system_and_at_least_its_size() {
        let origin = Origin {
            source: Source::Volume("shop.db".parse().unwrap()),
            size: Capacity::mib(500),
            fs_type: Some(FsType::Xfs),
            sector_size: SectorSize::B4096,
        };
        let sized = |required, limit| made(&[], &mounted(None), Range { required, limit }, Some(&origin));
        let same = sized(0, None).unwrap();
        assert_eq!((same.fs_type(), same.required()), (Some(FsType::Xfs), Some(Capacity::mib(500))));
        assert_eq!(same.backing.as_image().unwrap().sector_size, SectorSize::B4096);
        assert_eq!(sized(600 * MIB, None).unwrap().required(), Some(Capacity::mib(600)));
        assert_eq!(sized(400 * MIB, None).unwrap_err().code(), Code::OutOfRange);
        assert_eq!(sized(0, Some(400 * MIB)).unwrap_err().code(), Code::OutOfRange);
        let sectors = |size| made(&[("sector_size", size)], &mounted(None), Range::default(), Some(&origin));
        assert_eq!(sectors("512").unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(sectors("4096").unwrap().backing.as_image().unwrap().sector_size, SectorSize::B4096);
        for capabilities in [mounted(Some(FsType::Ext4)), [capability(VolumeMode::Block, None)]] {
            let refused = made(&[], &capabilities, Range::default(), Some(&origin)).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{capabilities:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let both = [capability(VolumeMode::Block, None), capability(VolumeMode::Filesystem, None)];
        for (pairs, capabilities) in [
            (&[("csi.storage.k8s.io/fstype", "xfs")][..], &mounted(Some(FsType::Ext4))[..]),
            (&[("class", "slow")], &mounted(None)),
            (&[("pool", "other")], &mounted(None)),
            (&[("mkfs_options", "-d /etc")], &mounted(None)),
            (&[("mount_options", "suid")], &mounted(None)),
            (&[("label", "a label that is far too long")], &mounted(None)),
            (&[], &both),
        ] {
            let refused = made(pairs, capabilities, Range::default(), None).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{pairs:?}");
            assert!(!refused.message().is_empty());
        }
    }

    #[test]
    fn a_default_that_is_written_out_is_the_default() {
        let asked = |parameters: &[(&str, &str)], mutable: &[(&str, &str)]| {
            let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let asked = Asked { parameters: map(parameters), mutable: map(mutable), ..Asked::default() };
            written_out(&config(), &asked)
        };
        assert_eq!(asked(&[], &[]), asked(&[("allocate", "full"), ("backing", "image")], &[]));
        assert_eq!(asked(&[], &[]), asked(&[], &[("allocate", "full")]));
        assert_ne!(asked(&[], &[]), asked(&[("allocate", "sparse")], &[]));
        assert_ne!(asked(&[], &[]), asked(&[("class", "fast")], &[]));
    }

    #[test]
    fn several_pools_need_a_choice() {
        let mut config = config();
        config.default.pool = None;
        let refused = pool_of(&config, &config.default, &Parameters::default()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
