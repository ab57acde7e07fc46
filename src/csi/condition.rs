//! VolumeCondition (CSI 1.12, alpha): what the driver finds wrong with a volume, in one sentence for the orchestrator.

use super::proto::VolumeCondition;

/// The longest message (CSI 1.12, "Size Limits", leaves it open; orchestrators put it into events).
const MESSAGE_MAX: usize = 1024;

/// The condition of a volume with these problems.
pub fn of(problems: &[String]) -> VolumeCondition {
    if problems.is_empty() {
        return VolumeCondition { abnormal: false, message: "the volume is as it should be".to_owned() };
    }
    let mut message = problems.join("; ");
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
    }
    VolumeCondition { abnormal: true, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_what_is_wrong_and_stays_short() {
        assert!(!of(&[]).abnormal);
        let two = of(&["its image is gone".to_owned(), "the pool is full".to_owned()]);
        assert_eq!((two.abnormal, two.message.as_str()), (true, "its image is gone; the pool is full"));
        assert!(of(&["ü".repeat(2000)]).message.len() <= MESSAGE_MAX);
    }
}
