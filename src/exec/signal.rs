//! Asking an execution to stop, by Ctrl-C, SIGTERM, a closed terminal (SIGHUP) or from code.
//!
//! The first request lets running steps end and begins no more. The second leaves at once with the shell's exit code for the
//! signal: every step may be killed at any moment, and the next apply finishes the work. Helper programs run in process groups of
//! their own, so the terminal's Ctrl-C does not reach them.

use std::fmt;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Added to a signal's number to make the exit code (POSIX shells: 130 for SIGINT, 143 for SIGTERM).
const EXIT_SIGNAL_BASE: i32 = 128;

type Listener = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// The signal, or 0 when it was asked from code.
    requested: Option<i32>,
    listeners: Vec<Listener>,
}

/// Whether to stop; clones share one answer.
#[derive(Clone, Default)]
pub struct Stop(Arc<Mutex<State>>);

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.lock().requested).finish()
    }
}

impl Stop {
    /// Stops only when [`Stop::request`] is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops at the first SIGINT, SIGTERM or SIGHUP from now on; the second one ends the process. Call it when work is about to begin, not
    /// before a prompt: until then Ctrl-C simply ends the program. A signal the process was started to ignore (`nohup`, a shell's
    /// background job) stays ignored.
    ///
    /// # Errors
    /// When the handlers or the thread that waits for them cannot be set up.
    pub fn on_signals() -> io::Result<Self> {
        let ignored = std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_signals(&status));
        let listen = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let mut signals = Signals::new(listen)?;
        let stop = Self::new();
        let watched = stop.clone();
        let wait = move || {
            for signal in signals.forever() {
                if watched.is_requested() {
                    std::process::exit(EXIT_SIGNAL_BASE + signal);
                }
                watched.ask(signal);
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        // A file beyond the limit of this process (ulimit -f) is then an error of its write, and not the end without a word.
        signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default())?;
        Ok(stop)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, signal: i32) {
        let listeners = {
            let mut state = self.lock();
            state.requested.get_or_insert(signal);
            std::mem::take(&mut state.listeners)
        };
        listeners.into_iter().for_each(|listener| listener());
    }

    /// Asks from code, as a first signal would.
    pub fn request(&self) {
        self.ask(0);
    }

    /// Whether it was asked.
    pub fn is_requested(&self) -> bool {
        self.lock().requested.is_some()
    }

    /// The exit code of a command that was interrupted by a signal: 130, 143 or 129.
    pub fn exit_code(&self) -> Option<u8> {
        let signal = self.lock().requested.filter(|&signal| signal != 0)?;
        u8::try_from(EXIT_SIGNAL_BASE + signal).ok()
    }

    /// Calls `listener` once when it is asked, on the thread that asks, or now if it already was.
    pub fn when_requested(&self, listener: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.requested.is_some() {
            drop(state);
            listener();
        } else {
            state.listeners.push(Box::new(listener));
        }
    }
}

/// The mask of ignored signals in a process's status file (proc(5), `SigIgn`), bit 0 for signal 1.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn every_clone_and_listener_learns_of_it_once() {
        let stop = Stop::new();
        let (heard, hears) = channel();
        let early = heard.clone();
        stop.when_requested(move || early.send("early").unwrap());
        stop.clone().request();
        stop.request();
        stop.when_requested(move || heard.send("late").unwrap());
        assert!(stop.is_requested());
        assert_eq!(hears.iter().collect::<Vec<_>>(), ["early", "late"]);
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (signal, code) in [(SIGINT, Some(130)), (SIGTERM, Some(143)), (SIGHUP, Some(129)), (0, None)] {
            let stop = Stop::new();
            assert_eq!(stop.exit_code(), None);
            stop.ask(signal);
            assert_eq!(stop.exit_code(), code);
        }
    }

    /// Only the first signal can be tried here: the second ends the process.
    #[test]
    fn the_first_signal_is_a_request() {
        let stop = Stop::on_signals().unwrap();
        let (heard, hears) = channel();
        stop.when_requested(move || heard.send(()).unwrap());
        assert!(!stop.is_requested());
        nix::sys::signal::raise(nix::sys::signal::SIGTERM).unwrap();
        hears.recv_timeout(std::time::Duration::from_secs(10)).expect("the signal is heard");
        assert_eq!(stop.exit_code(), Some(143));
    }

    #[test]
    fn ignored_signals_are_read_from_the_status_file() {
        assert_eq!(ignored_signals("Name:\tx\nSigIgn:\t0000000000001002\nSigCgt:\tffff\n"), 0x1002);
        assert_eq!(ignored_signals("Name:\tx\n"), 0);
    }
}
