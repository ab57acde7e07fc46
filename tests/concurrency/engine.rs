//! The engine that gRPC calls are handed to.

use std::num::NonZeroUsize;
use std::time::Duration;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::{Arc, mpsc};
use shuttle::thread;

use crate::exec::engine::Engine;
use crate::exec::lanes::Lane;

/// Shuttle's clock stands still: a wait with a limit waits for ever.
const FOREVER: Duration = Duration::from_secs(3600);

fn engine(parallelism: usize) -> Engine {
    Engine::new(NonZeroUsize::new(parallelism).unwrap()).unwrap()
}

pub fn everything_is_answered() {
    let engine = engine(2);
    let (answer, answers) = mpsc::channel();
    let callers: Vec<_> = [Lane::Kernel, Lane::Mkfs, Lane::Copy]
        .into_iter()
        .map(|lane| {
            let (engine, answer) = (engine.clone(), answer.clone());
            thread::spawn(move || {
                for number in 0..2 {
                    let answer = answer.clone();
                    engine.submit(lane, move || number, move |number| answer.send((lane, number.unwrap())).unwrap());
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert!(engine.drain(FOREVER));
    assert!(Lane::ALL.into_iter().all(|lane| engine.load(lane) == (0, 0)), "idle when drained");
    drop(answer);
    let mut answered: Vec<_> = answers.iter().collect();
    answered.sort_unstable();
    let all = [Lane::Kernel, Lane::Mkfs, Lane::Copy].into_iter().flat_map(|lane| [(lane, 0), (lane, 1)]);
    assert_eq!(answered, all.collect::<Vec<_>>(), "each once");
}

pub fn copies_leave_room() {
    let engine = engine(3);
    let running = Arc::new(AtomicUsize::new(0));
    let (answer, answers) = mpsc::channel();
    for _ in 0..3 {
        let (running, answer) = (running.clone(), answer.clone());
        let copy = move || {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "one copy at a time");
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
        };
        engine.submit(Lane::Copy, copy, move |ended| answer.send(ended.is_ok()).unwrap());
    }
    drop(answer);
    assert!(engine.drain(FOREVER));
    assert_eq!(answers.iter().collect::<Vec<_>>(), [true; 3]);
}
