//! A size as a call asks for it (CSI 1.12, CapacityRange), and the size that is chosen from it.

use tonic::Status;

use super::proto::CapacityRange as Wanted;
use crate::model::{Capacity, CapacityRange};

/// No image is larger: the largest file of ext4, which most pools lie on (ext4(5), 4 KiB blocks).
pub const MOST: u64 = (16 << 40) - 4096;

/// A size as asked for: both numbers, zero for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The least.
    pub required: u64,
    /// The most.
    pub limit: Option<u64>,
}

impl Range {
    /// Reads it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for negative numbers, a range of nothing, or a limit below what is required.
    pub fn read(range: Option<&Wanted>) -> Result<Self, Status> {
        let Some(range) = range else { return Ok(Self::default()) };
        let bytes = |field: &str, number: i64| {
            u64::try_from(number).map_err(|_| Status::invalid_argument(format!("capacity_range.{field} is negative")))
        };
        let required = bytes("required_bytes", range.required_bytes)?;
        let limit = Some(bytes("limit_bytes", range.limit_bytes)?).filter(|limit| *limit > 0);
        if limit.is_some_and(|limit| limit < required) {
            return Err(Status::invalid_argument("capacity_range: limit_bytes is less than required_bytes"));
        }
        Ok(Self { required, limit })
    }

    /// As a spec has it, for a comparison with what is there.
    pub fn of_spec(self) -> CapacityRange {
        CapacityRange { required: Capacity::bytes(self.required), limit: self.limit.map(Capacity::bytes) }
    }

    /// The size a volume gets that can't be smaller than `least`, and is `default` where none is asked for.
    ///
    /// # Errors
    /// OUT_OF_RANGE when that is more than the limit, or than any image can have.
    pub fn choose(self, least: Capacity, default: Capacity) -> Result<Capacity, Status> {
        let most = self.limit.unwrap_or(MOST);
        let wanted = match self.required {
            0 => default.get().min(most / 4096 * 4096),
            required => required,
        };
        let size = Capacity::bytes(wanted.max(least.get())).rounded_up();
        if size.get() > most {
            let most = Capacity::bytes(most);
            return Err(Status::out_of_range(format!("the volume would have {size}, the most is {most}")));
        }
        if size.get() > MOST {
            let most = Capacity::bytes(MOST);
            return Err(Status::out_of_range(format!("{size} is more than an image can have ({most})")));
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_range_that_is_none_is_refused() {
        for (required_bytes, limit_bytes) in [(-1, 0), (0, -1), (2, 1)] {
            let range = Wanted { required_bytes, limit_bytes };
            assert_eq!(Range::read(Some(&range)).unwrap_err().code(), Code::InvalidArgument, "{range:?}");
        }
    }
}
