//! What a helper says, read until it ends, or until its time is up and it is ended with all it started.

use std::io::{ErrorKind, PipeReader, Read, Result};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The most that is kept of what a helper says: its end, where errors are.
pub const OUTPUT_MAX: usize = 64 * 1024;

/// How long a killed helper is waited for: one that hangs in the kernel goes when the kernel lets it, with the volume's lock in its hands.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// How often a helper that has said all is looked at while it has time left.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How a helper ended.
pub enum End {
    /// By itself.
    Itself(ExitStatus),
    /// Its time was up and it was killed.
    Killed,
    /// Its time was up and it could not be killed.
    Hangs,
}

/// Reads all a helper says and waits for its end; with a limit, no longer than that. The helper leads a process group of its own.
///
/// # Errors
/// It could not be waited for.
pub fn until_end(child: &mut Child, pipe: &mut PipeReader, limit: Option<Duration>) -> Result<(End, String)> {
    let Some(limit) = limit else {
        let said = drain(pipe, |_| true);
        return Ok((End::Itself(child.wait()?), said));
    };
    let due = Instant::now() + limit;
    let said = drain(pipe, |pipe| readable(pipe, due));
    if let Some(status) = ended(child, due)? {
        return Ok((End::Itself(status), said));
    }
    // Its group, since a wrapper's children hold the lock and the storage as well.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let end = ended(child, Instant::now() + AFTER_KILL)?.map_or(End::Hangs, |_| End::Killed);
    Ok((end, said))
}

fn ended(child: &mut Child, due: Instant) -> Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= due {
            return Ok(status);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether there is something to read, or the end of it, before it is too late.
fn readable(pipe: &PipeReader, due: Instant) -> bool {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return true,
        }
    }
}

fn drain<R: Read>(pipe: &mut R, mut goes_on: impl FnMut(&R) -> bool) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while goes_on(pipe) {
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => kept.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        if kept.len() > 2 * OUTPUT_MAX {
            kept.drain(..kept.len() - OUTPUT_MAX);
        }
    }
    kept.drain(..kept.len().saturating_sub(OUTPUT_MAX));
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_output_keeps_its_end() {
        let text = "x".repeat(5 * OUTPUT_MAX) + "the error";
        let kept = drain(&mut text.as_bytes(), |_| true);
        assert!(kept.len() <= OUTPUT_MAX && kept.ends_with("the error"));
    }
}
