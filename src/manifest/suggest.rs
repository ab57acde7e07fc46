//! "Did you mean": the word a typo was meant to be.

/// The candidate nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may differ, or the word is another one.
    let reach = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= reach * 4)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to change; '-' for '_' and upper for lower case count as none, for these are the commonest slips.
fn distance(word: &str, candidate: &str) -> usize {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    strsim::damerau_levenshtein(&plain(word), &plain(candidate))
}

/// `did you mean 'X'?`, or what there is to choose from.
pub fn help<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone, noun: &str) -> String {
    /// How many candidates a line takes.
    const LISTED: usize = 12;
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean '{near}'?");
    }
    let mut listed: Vec<&str> = candidates.into_iter().take(LISTED + 1).collect();
    let more = listed.len() > LISTED;
    listed.truncate(LISTED);
    match listed.is_empty() {
        true => format!("the manifest has no {noun}"),
        false => format!("{noun}: {}{}", listed.join(", "), if more { ", …" } else { "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let words = ["capacity", "access_mode", "reclaim", "fs"];
        for (slip, meant) in [
            ("capcity", Some("capacity")),
            ("access-mode", Some("access_mode")),
            ("Reclaim", Some("reclaim")),
            ("size", None),
            ("zz", None),
        ] {
            assert_eq!(nearest(slip, words), meant, "{slip}");
        }
    }
}
