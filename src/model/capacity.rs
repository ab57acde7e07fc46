//! Sizes in bytes, as people write and read them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Image sizes are rounded up to this many bytes: the page size, so that any loop sector size divides them.
pub const CAPACITY_STEP: u64 = 4096;

/// A number of bytes. In JSON a plain integer, in a manifest text with a unit (`"10GiB"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capacity(u64);

/// Why a text is not a capacity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidCapacity {
    /// No number at the front, or something that is no number.
    #[error("'{0}' does not begin with a number")]
    Number(String),
    /// A unit that is not known.
    #[error("unknown unit '{0}'")]
    Unit(String),
    /// `G`, `M`: decimal or binary is anyone's guess.
    #[error("unit '{0}' is ambiguous: write {0}iB (binary) or {0}B (decimal)")]
    Ambiguous(String),
    /// Zero, or more than the kernel can address (2⁶³ - 1 bytes).
    #[error("it must be more than 0 and less than 8 EiB")]
    Range,
}

const UNITS: [(&str, u64); 12] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
];

impl Capacity {
    /// A capacity of `bytes` bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A capacity of `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// A capacity of `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// As a manifest has it, to the byte: `64MiB`, `4097B`.
    pub fn to_manifest(self) -> String {
        let whole = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let unit = UNITS[..6].iter().rev().find(whole);
        unit.map_or_else(|| format!("{}B", self.0), |(unit, factor)| format!("{}{unit}", self.0 / factor))
    }

    /// Rounded up to the next multiple of [`CAPACITY_STEP`].
    pub const fn rounded_up(self) -> Self {
        Self(self.0.div_ceil(CAPACITY_STEP).saturating_mul(CAPACITY_STEP))
    }
}

impl FromStr for Capacity {
    type Err = InvalidCapacity;

    /// Reads `10GiB`, `1.5 GiB`, `512MB` or plain bytes `4096B`; a bare number is bytes too.
    fn from_str(text: &str) -> Result<Self, InvalidCapacity> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let factor = match unit {
            "" | "B" => 1,
            "K" | "k" | "M" | "G" | "T" | "P" | "E" => return Err(InvalidCapacity::Ambiguous(unit.to_uppercase())),
            _ => UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, factor)| *factor)
                .ok_or_else(|| InvalidCapacity::Unit(unit.to_owned()))?,
        };
        let not_a_number = || InvalidCapacity::Number(text.to_owned());
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || (number.ends_with('.')) {
            return Err(not_a_number());
        }
        let whole: u128 = whole.parse().map_err(|_| not_a_number())?;
        // Nine digits of a fraction are finer than a byte of any unit below GiB and plenty above.
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let billionths: u128 = digits.parse().map_err(|_| not_a_number())?;
        let bytes = whole
            .checked_mul(u128::from(factor))
            .and_then(|bytes| bytes.checked_add(billionths * u128::from(factor) / 1_000_000_000))
            .ok_or(InvalidCapacity::Range)?;
        match u64::try_from(bytes) {
            Ok(bytes) if bytes > 0 && bytes <= i64::MAX as u64 => Ok(Self(bytes)),
            _ => Err(InvalidCapacity::Range),
        }
    }
}

impl fmt::Display for Capacity {
    /// The largest binary unit that gives at least 1, with one decimal where it is not whole: `10 GiB`, `1.5 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, factor)) = UNITS[..6].iter().rev().find(|(_, factor)| self.0 >= *factor) else {
            return f.pad(&format!("{} B", self.0));
        };
        let tenths = (u128::from(self.0) * 10 + u128::from(*factor) / 2) / u128::from(*factor);
        let text = if tenths.is_multiple_of(10) {
            format!("{} {unit}", tenths / 10)
        } else {
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        };
        f.pad(&text)
    }
}

/// How large a volume has to be and may become (CSI 1.12, CapacityRange). The volume gets `required`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityRange {
    /// The size the volume gets, already rounded up to [`CAPACITY_STEP`].
    pub required: Capacity,
    /// The size it may not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Capacity>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_written() {
        for (text, bytes) in
            [("10GiB", 10 << 30), ("1.5 GiB", 3 << 29), ("2GB", 2_000_000_000), ("4096", 4096), ("1kB", 1000)]
        {
            assert_eq!(text.parse(), Ok(Capacity::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn a_bare_letter_is_refused_with_both_readings() {
        let error = "10G".parse::<Capacity>().unwrap_err();
        assert_eq!(error.to_string(), "unit 'G' is ambiguous: write GiB (binary) or GB (decimal)");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "GiB",
            "-1GiB",
            "1..2GiB",
            "0",
            "9EiB",
            "1.GiB",
            "10 gigs",
            "99999999999999999999999999999999999999999PB",
        ] {
            assert!(bad.parse::<Capacity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn display_is_short() {
        assert_eq!(Capacity::gib(20).to_string(), "20 GiB");
        assert_eq!(Capacity::bytes(1_288_490_189).to_string(), "1.2 GiB");
        assert_eq!(Capacity::bytes(12).to_string(), "12 B");
    }
}
