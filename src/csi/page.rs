//! Paging of lists (CSI 1.12, ListVolumes): a token is the last id of a page, with a version and a checksum, so that it stays valid
//! while entries come and go and anything else is recognised as no token of ours.

use tonic::Status;

const VERSION: &str = "1";

/// The token that continues behind `last`.
pub fn token(last: &str) -> String {
    format!("{VERSION}.{:08x}.{last}", crc32fast::hash(last.as_bytes()))
}

/// The id a token continues behind; `None` for the first page.
///
/// # Errors
/// ABORTED for anything that is no token of ours.
pub fn last_of(token: &str) -> Result<Option<&str>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let refuse = || Status::aborted("starting_token is none that this plugin gave: start again without one");
    let (version, rest) = token.split_once('.').ok_or_else(refuse)?;
    let (checksum, last) = rest.split_once('.').ok_or_else(refuse)?;
    if version != VERSION || checksum != format!("{:08x}", crc32fast::hash(last.as_bytes())) {
        return Err(refuse());
    }
    Ok(Some(last))
}

/// One page of `entries`, which are sorted by id: those behind the token, `max` at most (0: all), and the next token.
///
/// # Errors
/// ABORTED for a bad token, INVALID_ARGUMENT for a negative number.
pub fn page<T>(
    entries: impl Iterator<Item = T>,
    id: impl Fn(&T) -> &str,
    starting_token: &str,
    max: i32,
) -> Result<(Vec<T>, String), Status> {
    let most = usize::try_from(max).map_err(|_| Status::invalid_argument("max_entries is negative"))?;
    let behind = last_of(starting_token)?;
    let mut rest = entries.filter(|entry| behind.is_none_or(|last| id(entry) > last)).peekable();
    let page: Vec<T> = if most == 0 { rest.by_ref().collect() } else { rest.by_ref().take(most).collect() };
    let next = match (rest.peek(), page.last()) {
        (Some(_), Some(last)) => token(id(last)),
        _ => String::new(),
    };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_though_the_last_entry_is_gone() {
        let before = ["a", "b", "c", "d"];
        let (first, next) = page(before.into_iter(), |e| *e, "", 2).unwrap();
        assert_eq!(first, ["a", "b"]);
        let after = ["a", "c", "d"];
        let (second, end) = page(after.into_iter(), |e| *e, &next, 2).unwrap();
        assert_eq!((second, end.as_str()), (vec!["c", "d"], ""));
    }

    #[test]
    fn a_strangers_token_is_aborted() {
        for bad in ["-5", "5", "1.00000000.a", "2.e8b7be43.a", "x", "1..", "\u{0}"] {
            assert_eq!(last_of(bad).unwrap_err().code(), tonic::Code::Aborted, "{bad}");
        }
    }
}
