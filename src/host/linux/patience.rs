//! Patience with "busy": a child that another worker just forked has copies of all our descriptors until it reaches its exec, so
//! what we closed a moment ago may still be held. What is truly in use still answers busy at the end.

use std::thread;
use std::time::Duration;

/// Milliseconds between tries.
const PAUSES: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Tries again for a moment while `is_busy` says so of the error.
pub fn patiently<T, E>(is_busy: impl Fn(&E) -> bool, mut act: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for pause in PAUSES {
        match act() {
            Err(error) if is_busy(&error) => thread::sleep(Duration::from_millis(pause)),
            answer => return answer,
        }
    }
    act()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_business_is_waited_for_and_lasting_business_is_told() {
        let mut tries = 0;
        let answer = patiently(
            |error: &&str| *error == "busy",
            || {
                tries += 1;
                if tries < 3 { Err("busy") } else { Ok(tries) }
            },
        );
        assert_eq!(answer, Ok(3));
        assert_eq!(patiently(|_| true, || Err::<(), _>("busy")), Err("busy"));
        assert_eq!(patiently(|error: &&str| *error == "busy", || Err::<(), _>("gone")), Err("gone"));
    }
}
