//! Looking at many things at once: threads of the caller's own, so that they see the caller's mount namespace, and none where few
//! things are asked about.

use std::num::NonZero;
use std::thread;

/// Below this many, starting threads takes longer than looking.
const WORTH_IT: usize = 64;

/// `look` of each item, in order.
pub(in crate::driver::local) fn map<T: Send, R: Send>(items: Vec<T>, look: impl Fn(T) -> R + Sync) -> Vec<R> {
    // How many there may be is read from files of the machine, so it is asked only where it matters.
    let threads = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if items.len() < WORTH_IT { 1 } else { threads() };
    if threads == 1 {
        return items.into_iter().map(look).collect();
    }
    let share = items.len().div_ceil(threads);
    let mut rest = items;
    let mut shares = Vec::with_capacity(threads);
    while !rest.is_empty() {
        let tail = rest.split_off(share.min(rest.len()));
        shares.push(std::mem::replace(&mut rest, tail));
    }
    let look = &look;
    thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(look).collect::<Vec<R>>()))
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_nothing_is_left_out() {
        for count in [0, 1, WORTH_IT - 1, WORTH_IT, 1001] {
            let doubled = map((0..count).collect(), |n| n * 2);

            assert_eq!(doubled, (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
