//! What a server may be named and where it may stand: the rules of CSI 1.12 for plugin names (GetPluginInfoResponse), node ids
//! (NodeGetInfoResponse) and topology (Topology), held before anything is served.

use thiserror::Error;

use super::config::Config;
use super::request::MAP_MAX;

/// Characters of a plugin's name.
const NAME_MAX: usize = 63;
/// Bytes of a node id.
const NODE_ID_MAX: usize = 256;
/// Characters of a topology key's name, and of a value.
const SEGMENT_MAX: usize = 63;
/// Characters of a topology key's prefix.
const PREFIX_MAX: usize = 253;

/// A flag that can't be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{flag} '{}': {rule}", value.escape_debug())]
pub struct InvalidFlag {
    /// Which.
    pub flag: &'static str,
    /// What was given.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// Holds the rules.
///
/// # Errors
/// The first that is broken.
pub fn check(config: &Config) -> Result<(), InvalidFlag> {
    let refuse = |flag, value: &str, rule| Err(InvalidFlag { flag, value: value.to_owned(), rule });
    let (name, node) = (&config.driver_name, &config.node_id);
    if !is_plain(name, NAME_MAX, b"-.") {
        return refuse(
            "--driver-name",
            name,
            "write a domain name: at most 63 letters, digits, '-' and '.', a letter or digit at both ends",
        );
    }
    if node.is_empty() || node.len() > NODE_ID_MAX || node.chars().any(char::is_control) {
        return refuse("--node-id", node, "write 1 to 256 bytes without control characters");
    }
    for (key, value) in &config.topology {
        let (prefix, name) = key.split_once('/').map_or((None, key.as_str()), |(prefix, name)| (Some(prefix), name));
        if prefix.is_some_and(|prefix| !is_plain(prefix, PREFIX_MAX, b"-.")) || !is_plain(name, SEGMENT_MAX, b"-_.") {
            return refuse("--topology", key, "a key is NAME or DOMAIN/NAME, of letters, digits, '-', '_' and '.'");
        }
        if !is_plain(value, SEGMENT_MAX, b"-_.") {
            return refuse("--topology", value, "a value has at most 63 letters, digits, '-', '_' and '.'");
        }
    }
    let segments = config.segments();
    if segments.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAP_MAX {
        return refuse("--topology", "…", "all segments together have at most 4 KiB");
    }
    Ok(())
}

/// Letters, digits and these, a letter or digit at both ends.
fn is_plain(text: &str, most: usize, between: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= most
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || between.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::config::{DRIVER_NAME, Mode};
    use crate::model::{Layout, StorageConfig};

    fn config(name: &str, node: &str, topology: &[(&str, &str)]) -> Config {
        Config {
            driver_name: name.to_owned(),
            node_id: node.to_owned(),
            mode: Mode::All,
            node_local: false,
            announce_get_snapshot: false,
            max_volumes_per_node: None,
            topology: topology.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            storage: StorageConfig::of_layout(&Layout::new("/state", "/run")),
        }
    }

    #[test]
    fn what_the_specification_allows_is_allowed() {
        for (name, node, topology) in [
            (DRIVER_NAME, "node-1", &[][..]),
            ("a", "worker.example.com", &[("topology.kubernetes.io/zone", "eu-1_a")]),
            (&*"x".repeat(63), &*"n".repeat(256), &[("rack", "1")]),
        ] {
            assert_eq!(check(&config(name, node, topology)), Ok(()));
        }
    }

    #[test]
    fn what_it_does_not_is_named_with_its_flag() {
        let long = "x".repeat(300);
        for (flag, name, node, topology) in [
            ("--driver-name", "", "n", ("a", "b")),
            ("--driver-name", "a_b", "n", ("a", "b")),
            ("--driver-name", ".a", "n", ("a", "b")),
            ("--driver-name", &long[..64], "n", ("a", "b")),
            ("--node-id", "a", "", ("a", "b")),
            ("--node-id", "a", &long[..257], ("a", "b")),
            ("--node-id", "a", "n\n", ("a", "b")),
            ("--topology", "a", "n", ("a/b/c", "b")),
            ("--topology", "a", "n", ("/b", "b")),
            ("--topology", "a", "n", ("a", "b c")),
            ("--topology", "a", "n", ("a", &long[..64])),
        ] {
            assert_eq!(check(&config(name, node, &[topology])).unwrap_err().flag, flag, "{name} {node} {topology:?}");
        }
    }
}
