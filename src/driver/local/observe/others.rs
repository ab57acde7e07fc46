//! What other projects need of this machine, from their records, which are read anyway.

use crate::model::{Backing, Claims, Owner};

use super::Look;

impl Look<'_> {
    /// The claims of everybody but the project that is looked at.
    pub(super) fn others(&self) -> Claims {
        let mut claims = Claims::default();
        let Some(desired) = self.desired else { return claims };
        let ours = Owner::Project(desired.project.clone());
        let present = || self.records.values().filter_map(|record| record.present());
        present().filter(|record| record.spec.owner != ours).for_each(|record| claims.add_record(record));
        for (id, run) in &self.runs {
            let record = self.records.get(id).and_then(|record| record.present());
            let owner = record.map_or_else(|| Owner::by_id(id), |record| record.spec.owner.clone());
            if owner != ours {
                claims.add_run(run, &owner, |path| self.mounts.top(path).is_some());
            }
        }
        if desired.volumes.values().any(|spec| matches!(spec.backing, Backing::Device(_))) {
            let paths: Vec<_> = claims.devices().map(ToOwned::to_owned).collect();
            for path in paths {
                if let Ok(Some(device)) = self.host.device(&path) {
                    claims.add_device(&path, device);
                }
            }
        }
        claims
    }
}
