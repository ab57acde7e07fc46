//! What every request is checked for before anything else: required fields, and the size limits of CSI 1.12 ("Size Limits").

use std::collections::HashMap;

use tonic::Status;

/// Bytes of a string field.
pub const STRING_MAX: usize = 128;
/// Bytes of all keys and values of a map field.
pub const MAP_MAX: usize = 4 << 10;
/// Bytes of a path; the kernel's own limit, which CSI leaves to the platform.
pub const PATH_MAX: usize = 4096;

/// A field that has to be there, of at most [`STRING_MAX`] bytes, without control characters.
///
/// # Errors
/// INVALID_ARGUMENT naming the field.
pub fn required<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(format!("{field} is missing")));
    }
    if text.len() > STRING_MAX {
        let len = text.len();
        return Err(Status::invalid_argument(format!("{field} has {len} bytes, the most is {STRING_MAX}")));
    }
    if text.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!("{field} has a control character")));
    }
    Ok(text)
}

/// A path that has to be there and absolute, without `..`.
///
/// # Errors
/// INVALID_ARGUMENT naming the field.
pub fn path<'a>(field: &str, text: &'a str) -> Result<&'a std::path::Path, Status> {
    let path = std::path::Path::new(text);
    let refuse = |why: &str| Err(Status::invalid_argument(format!("{field} {why}")));
    match () {
        () if text.is_empty() => refuse("is missing"),
        () if text.len() > PATH_MAX => refuse("is longer than 4096 bytes"),
        () if text.contains('\0') => refuse("has a zero byte"),
        () if !path.is_absolute() => refuse("is not absolute"),
        () if path.components().any(|part| part == std::path::Component::ParentDir) => refuse("contains '..'"),
        () => Ok(path),
    }
}

/// A map within [`MAP_MAX`].
///
/// # Errors
/// INVALID_ARGUMENT naming the field.
pub fn map(field: &str, map: &HashMap<String, String>) -> Result<(), Status> {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAP_MAX {
        return Err(Status::invalid_argument(format!("{field} has {size} bytes, the most is {MAP_MAX}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_specification() {
        assert!(required("name", &"x".repeat(STRING_MAX)).is_ok());
        assert!(required("name", "Ünïcödé 名前").is_ok());
        for bad in ["", "a\nb", &"x".repeat(STRING_MAX + 1)] {
            assert!(required("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_absolute_and_goes_only_down() {
        assert!(path("target_path", "/var/lib/x").is_ok());
        for bad in ["", "var", "/a/../b", "/a\0b"] {
            assert!(path("target_path", bad).is_err(), "{bad:?}");
        }
    }
}
