//! The counts behind a progress bar: how far the steps are, which run, which volumes are finished. No drawing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{describe, lasted};
use crate::exec::Event;
use crate::model::ObjectRef;
use crate::plan::Step;

/// The most running steps that are shown with a line of their own.
const LINES: usize = 8;
/// The most characters of such a line, so that it fits a terminal of 80 columns with its indent.
const COLUMNS: usize = 76;

/// Where an execution stands.
pub(super) struct Tally {
    /// Steps of each object that have not ended.
    left: BTreeMap<ObjectRef, usize>,
    volumes: usize,
    finished: usize,
    failed: usize,
    skipped: usize,
    /// Running steps with their beginnings, by index.
    running: BTreeMap<usize, (String, Instant)>,
}

impl Tally {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut left = BTreeMap::new();
        for step in steps {
            *left.entry(step.object()).or_insert(0) += 1;
        }
        let volumes = left.keys().filter(|object| is_volume(object)).count();
        Self { volumes, left, finished: 0, failed: 0, skipped: 0, running: BTreeMap::new() }
    }

    /// Takes an event in; whether a step ended by it.
    pub(super) fn take(&mut self, event: &Event<'_>) -> bool {
        let step = match event {
            Event::Started { step } => {
                self.running.insert(step.index, (describe(step), Instant::now()));
                return false;
            }
            Event::Finished { step, .. } => {
                // A volume with a failed or skipped step never reaches 0, so it never counts as finished.
                if let Some(left) = self.left.get_mut(&step.object()) {
                    *left = left.saturating_sub(1);
                    self.finished += usize::from(*left == 0 && is_volume(&step.object()));
                }
                step
            }
            Event::Failed { step, .. } => {
                self.failed += 1;
                step
            }
            Event::Skipped { step, .. } => {
                self.skipped += 1;
                step
            }
            Event::Slow { .. } | Event::Interrupted => return false,
        };
        self.running.remove(&step.index);
        true
    }

    /// The counts in words: `3 of 12 volumes finished, 1 failed`.
    pub(super) fn words(&self) -> String {
        let mut text = format!("{} of {} volumes finished", self.finished, self.volumes);
        for (count, what) in [(self.failed, "failed"), (self.skipped, "skipped")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }

    /// A line for each running step, the oldest first, and one for those that have no room.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut running: Vec<_> = self.running.values().collect();
        running.sort_by_key(|(_, begun)| *begun);
        let shown = running.iter().take(LINES).map(|(text, begun)| shorten(text, &lasted(begun.elapsed())));
        let mut lines: Vec<_> = shown.collect();
        if running.len() > LINES {
            lines.push(format!("and {} more", running.len() - LINES));
        }
        lines
    }
}

fn is_volume(object: &ObjectRef) -> bool {
    matches!(object, ObjectRef::Volume(_))
}

/// Text and time in one line; a long text loses its middle, since both the volume and the end of the path tell which it is.
fn shorten(text: &str, time: &str) -> String {
    let room = COLUMNS.saturating_sub(time.len() + 1);
    let characters: Vec<char> = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if characters.len() <= room {
        return format!("{} {time}", characters.iter().collect::<String>());
    }
    let (head, tail) = (room / 2, room - room / 2 - 1);
    let (head, tail) = (&characters[..head], &characters[characters.len() - tail..]);
    format!("{}…{} {time}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixtures;
    use super::*;
    use crate::model::Done;

    fn finished(step: &Step) -> Event<'_> {
        Event::Finished { step, done: Done::Changed, notes: &[], took: Duration::ZERO }
    }

    #[test]
    fn a_volume_is_finished_when_all_its_steps_are() {
        let steps = fixtures::steps();
        let mut tally = Tally::new(&steps);
        assert!(tally.take(&finished(&steps[0])));
        assert_eq!(tally.words(), "0 of 2 volumes finished");
        tally.take(&finished(&steps[2]));
        assert_eq!(tally.words(), "1 of 2 volumes finished");
        tally.take(&Event::Skipped { step: &steps[1], because: "interrupted" });
        assert_eq!(tally.words(), "1 of 2 volumes finished, 1 skipped");
    }

    #[test]
    fn running_steps_have_lines_and_ended_ones_none() {
        let steps = fixtures::steps();
        let mut tally = Tally::new(&steps);
        assert!(!tally.take(&Event::Started { step: &steps[0] }));
        tally.take(&Event::Started { step: &steps[1] });
        tally.take(&finished(&steps[0]));
        let lines = tally.lines();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("s2 detach volume.logs "), "{lines:?}");
    }

    #[test]
    fn the_number_of_lines_and_their_width_are_bounded() {
        let mut steps: Vec<_> = (0..20).map(|_| fixtures::steps()[2].clone()).collect();
        for (index, step) in steps.iter_mut().enumerate() {
            step.index = index;
            step.path = Some(format!("/{}/ü", "x".repeat(200)).into());
        }
        let mut tally = Tally::new(&steps);
        steps.iter().for_each(|step| assert!(!tally.take(&Event::Started { step })));
        let lines = tally.lines();
        assert_eq!(lines.len(), LINES + 1);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:?}");
        assert_eq!(lines[LINES], "and 12 more");
        assert!(lines[0].contains("s1 detach volume.db at pod.web:/x") && lines[0].contains("x/ü "), "{lines:?}");
    }
}
