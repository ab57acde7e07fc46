//! One call at a time on one object: a second one is told to come back (CSI 1.12, "Error Scheme": ABORTED, operation pending). The claim
//! lives as long as the work, not as long as the call, so that a client that gave up cannot start a second mkfs beside the first.

use std::collections::BTreeSet;

use tonic::Status;

use crate::sync::{Arc, Mutex, PoisonError};

/// The objects that are worked on now. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<BTreeSet<String>>>);

/// A claim on objects; dropping it lets the next call in.
#[derive(Debug)]
pub struct Claim {
    all: InFlight,
    ids: Vec<String>,
}

impl InFlight {
    /// Claims all of these or none.
    ///
    /// # Errors
    /// ABORTED when a call on one of them is still running.
    pub fn claim<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<Claim, Status> {
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.iter().find(|id| busy.contains(**id)) {
            return Err(Status::aborted(format!("{id}: an earlier call on it is still running; try again")));
        }
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        busy.extend(ids.iter().cloned());
        Ok(Claim { all: self.clone(), ids })
    }

    /// How many objects are worked on.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing is worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut busy = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            busy.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_on_one_object_is_aborted_until_the_first_ends() {
        let all = InFlight::default();
        let claim = all.claim(["a", "b"]).unwrap();
        assert_eq!(all.claim(["c", "b"]).unwrap_err().code(), tonic::Code::Aborted);
        assert!(all.claim(["c"]).is_ok(), "nothing of a refused claim is kept");
        drop(claim);
        assert!(all.claim(["a", "b", "a"]).is_ok());
        assert!(all.is_empty());
    }
}
