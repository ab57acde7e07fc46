//! Volume capabilities as people type them: `SINGLE_NODE_WRITER,mount,ext4,noatime`, `single-node-writer,block`.

use serde_json::{Value, json};

use crate::csi::proto::volume_capability::access_mode::Mode;

/// Introduces the group that a volume's files belong to, among the options.
const GROUP: &str = "group=";

/// Reads one into the JSON of a VolumeCapability.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut words = text.split(',');
    let mode = words.next().unwrap_or_default();
    let name = mode.to_ascii_uppercase().replace('-', "_");
    let mode =
        Mode::from_str_name(&name).ok_or_else(|| format!("'{mode}' is no access mode: use one of {}", modes()))?;
    let access_mode = json!({ "mode": mode.as_str_name() });
    match words.next() {
        Some("block") => match words.next() {
            None => Ok(json!({ "access_mode": access_mode, "block": {} })),
            Some(more) => Err(format!("'{more}': a block volume has no file system and no options")),
        },
        Some("mount") => {
            let fs_type = words.next().unwrap_or_default();
            let (groups, options): (Vec<&str>, Vec<&str>) = words.partition(|word| word.starts_with(GROUP));
            let group = groups.last().map_or("", |group| &group[GROUP.len()..]);
            let mount = json!({ "fs_type": fs_type, "mount_flags": options, "volume_mount_group": group });
            Ok(json!({ "access_mode": access_mode, "mount": mount }))
        }
        other => Err(format!(
            "'{}' is neither block nor mount: write MODE,block or MODE,mount[,FS[,OPTION…]]",
            other.unwrap_or_default()
        )),
    }
}

/// The access modes by name, for help and completion.
pub fn mode_names() -> impl Iterator<Item = &'static str> {
    (1..).map_while(|number| Mode::try_from(number).ok()).map(|mode| mode.as_str_name())
}

fn modes() -> String {
    mode_names().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_the_message() {
        let mount = parse("single-node-writer,mount,ext4,noatime,group=1000").unwrap();
        assert_eq!(mount["access_mode"]["mode"], "SINGLE_NODE_WRITER");
        assert_eq!(
            mount["mount"],
            json!({"fs_type": "ext4", "mount_flags": ["noatime"], "volume_mount_group": "1000"})
        );
        assert_eq!(parse("UNKNOWN,mount").unwrap()["mount"]["fs_type"], "");
        assert_eq!(parse("SINGLE_NODE_READER_ONLY,block").unwrap()["block"], json!({}));
        assert_eq!(mode_names().count(), 7);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, named) in [
            ("", "access mode"),
            ("RWO,mount", "RWO"),
            ("SINGLE_NODE_WRITER", "neither"),
            ("SINGLE_NODE_WRITER,block,ext4", "ext4"),
        ] {
            assert!(parse(bad).unwrap_err().contains(named), "{bad}");
        }
    }
}
