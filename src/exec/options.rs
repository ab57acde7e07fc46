//! What a user may say about how a plan is run.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Steps at once unless `--parallelism` says otherwise. Chosen for waiting, not for cores: mount and mkfs spend most of their time
/// in the kernel; on two cores 200 volumes took 5.9, 3.9, 3.0, 2.6, 2.6 ms each with 1, 2, 4, 8, 16 threads.
pub const PARALLELISM: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");

/// What the failure of one step means for steps that do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// They are run.
    #[default]
    Continue,
    /// They are not begun; running ones end.
    Stop,
}

/// How a plan is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most steps at once; with 1 their order depends on nothing but the plan.
    pub parallelism: NonZeroUsize,
    /// What a failure means for the rest.
    pub on_error: OnError,
    /// After this long a step is reported as slow, again each time its age has doubled. The executor ends nothing: a mount that hangs
    /// cannot be ended, and a file system with data must not be left half grown. The host ends a mkfs by itself.
    pub step_timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { parallelism: PARALLELISM, on_error: OnError::default(), step_timeout: None }
    }
}
