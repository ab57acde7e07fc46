//! Calls in flight: never two on one object, and none is left claimed.

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::in_flight::InFlight;

pub fn one_call_at_a_time() {
    let all = InFlight::default();
    let inside = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = [["a", "b"], ["b", "c"], ["b", "a"]]
        .into_iter()
        .map(|ids| {
            let (all, inside) = (all.clone(), inside.clone());
            thread::spawn(move || {
                let Ok(_claim) = all.claim(ids) else { return };
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "all three want b");
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert!(all.is_empty());
}
