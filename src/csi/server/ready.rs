//! Whether the machine can be served (CSI 1.12, Probe): records can be written, loop devices can be had. Orchestrators ask every few
//! seconds; one look at a time is enough, and a machine whose disk hangs is not asked again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::host::HostError;
use crate::host::linux::readiness::{can_attach, can_record};

/// How long an answer holds.
const FRESH: Duration = Duration::from_millis(500);

/// What the machine said, and when.
#[derive(Debug)]
struct Said {
    at: Instant,
    answer: Result<(), String>,
}

/// The last answer.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Option<Said>>>);

impl Readiness {
    /// Asks the machine, or remembers what it said a moment ago.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with what is missing and what to do.
    pub async fn ask(&self, plugin: &Plugin) -> Result<(), Status> {
        let mut last = self.0.lock().await;
        if let Some(said) = last.as_ref().filter(|said| said.at.elapsed() < FRESH) {
            return said.answer.clone().map_err(Status::failed_precondition);
        }
        let state = plugin.driver().layout().state.clone();
        let look = move || can_record(&state).and_then(|()| can_attach());
        let answer = match tokio::task::spawn_blocking(look).await {
            Ok(answer) => answer.map_err(|error| sentence(&error)),
            Err(_) => Err("the look at the machine failed".to_owned()),
        };
        *last = Some(Said { at: Instant::now(), answer: answer.clone() });
        answer.map_err(Status::failed_precondition)
    }
}

fn sentence(error: &HostError) -> String {
    let what = format!("can't {} {}: {}", error.act, error.object.display(), error.cause);
    if error.object.starts_with("/dev") {
        format!("{what}. Load the module (modprobe loop); in a container pass /dev into it")
    } else {
        format!("{what}. Make it a directory that this user can write to")
    }
}
