//! Values that are more than one TOML type tells: `uid:gid`, octal permissions, group numbers, and words that serde knows.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::de::DeValue;

use crate::model::Capacity;

/// The number of a TOML integer, where it fits.
pub fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A user or group number. The highest means "no change" to chown(2), so it is none.
pub fn group_id(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

/// `uid:gid` in decimal digits.
pub fn owner(text: &str) -> Option<(u32, u32)> {
    let id = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().and_then(group_id)
    };
    let (user, group) = text.split_once(':')?;
    Some((id(user)?, id(group)?))
}

/// Three or four octal digits.
pub fn mode(text: &str) -> Option<u32> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()
}

/// Whether a text is a size of nothing: `0GiB`.
pub fn is_zero_size(text: &str) -> bool {
    let unit = text.trim().trim_start_matches(['0', '.']);
    // With another number in front it would be a size.
    text.trim().starts_with('0')
        && format!("1{unit}").parse::<Capacity>().is_ok()
        && !unit.starts_with(|c: char| c.is_ascii_digit())
}

/// A word of one of the model's enums, spelled as serde spells it.
pub fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    let deserializer: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(deserializer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_two_numbers() {
        assert_eq!(owner("999:0"), Some((999, 0)));
        for bad in ["", ":", "1", "1:", ":1", "a:b", "-1:1", "+1:1", "1:2:3", "4294967295:0", "1 :2", "1:4294967296"] {
            assert_eq!(owner(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_is_a_size_too() {
        for (text, zero) in [
            ("0GiB", true),
            (" 0 B ", true),
            ("0", true),
            ("0.0MiB", true),
            ("0.5GiB", false),
            ("05GiB", false),
            ("0G", false),
            ("GiB", false),
            ("", false),
            ("1GiB", false),
        ] {
            assert_eq!(is_zero_size(text), zero, "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0750"), Some(0o750));
        assert_eq!(mode("755"), Some(0o755));
        assert_eq!(mode("7777"), Some(0o7777));
        for bad in ["", "8", "75", "0888", "rwx", "00750", "0o75", "+750"] {
            assert_eq!(mode(bad), None, "{bad}");
        }
    }
}
