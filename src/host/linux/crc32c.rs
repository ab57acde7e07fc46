//! CRC-32C (Castagnoli), the checksum of ext4, XFS, btrfs and EROFS superblocks. Superblocks are a few KiB, so a table of one
//! byte a step is fast enough and no dependency is needed.

const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        // `byte` is below 256, so nothing is cut off.
        #[allow(clippy::cast_possible_truncation)]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Continues a CRC from `seed`, without the inversions before and after: begin with `!0`; ext4 and EROFS store the result
/// as it is, XFS and btrfs store its complement.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
