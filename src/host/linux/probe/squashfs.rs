//! squashfs: a superblock at the very start, in either byte order before version 4.

use super::view::{View, be16, le16};
use super::{Finding, Found};

pub(super) fn find(view: &View<'_>) -> Found {
    let Some(head) = view.bytes(0, 32)? else { return Ok(None) };
    let major = match &head[..4] {
        b"hsqs" => le16(&head, 28),
        b"sqsh" => be16(&head, 28),
        _ => return Ok(None),
    };
    let kind = if major < 4 { "squashfs3" } else { "squashfs" };
    Ok(Some(Finding::new(kind, 0, &head[..4]).sound((1..=4).contains(&major))))
}
