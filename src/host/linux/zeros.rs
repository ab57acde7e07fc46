//! Whether bytes are all zero, and where not, compared a page at a time: images are mostly zeros, and one byte after the other takes many times as long.

const PAGE: [u8; 4096] = [0; 4096];

/// Where the first byte is that is not zero.
pub fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    let page = bytes.chunks(PAGE.len()).position(|chunk| *chunk != PAGE[..chunk.len()])? * PAGE.len();
    bytes[page..].iter().position(|byte| *byte != 0).map(|at| page + at)
}

/// Whether every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    first_nonzero(bytes).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_counts() {
        assert!(is_zero(&[]));
        for len in [1, 4095, 4096, 4097, 10_000] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len}");
            for at in [0, len / 2, len - 1] {
                bytes[at] = 1;
                assert_eq!((first_nonzero(&bytes), is_zero(&bytes)), (Some(at), false), "{len}");
                bytes[at] = 0;
            }
        }
    }
}
