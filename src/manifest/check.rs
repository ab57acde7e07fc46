//! Holds a parsed text against the shape: unknown keys, missing keys, wrong types, words, names and numbers, all of them.
//! What passes here can be read into plain structs without a further question; what doesn't is reported here and only here.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diag::{Sink, Span};
use super::shape::{Key, Kind, Table};
use super::{codes, paths, suggest, value};

/// Where a key stands: `volumes.pgdata.fs`. A list on the stack, turned into text only for a message.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    key: &'a str,
    index: Option<usize>,
}

impl<'a> Place<'a> {
    /// The manifest itself.
    pub const ROOT: Place<'static> = Place { parent: None, key: "", index: None };

    fn child<'b>(&'b self, key: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        Place { parent: Some(self), key, index: None }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return f.write_str("the manifest") };
        if parent.parent.is_some() {
            write!(f, "{parent}.")?;
        }
        write!(f, "{}", printable(self.key))?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

/// Text of a user's that goes into a message: without control characters, and not longer than a line takes.
pub(super) fn printable(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.escape_debug().take(MOST).collect();
    if text.chars().count() > MOST {
        shown.push('…');
    }
    shown
}

/// Checks a table; `at` is where it begins, for what is missing in it.
pub(super) fn table(shape: &'static Table, table: &DeTable<'_>, place: &Place<'_>, at: Span, sink: &mut Sink) {
    for (name, value) in table {
        match shape.key(name.get_ref()) {
            Some(key) => check_value(key.kind, value, &place.child(name.get_ref()), name.span().into(), sink),
            None => unknown_key(shape, name.get_ref(), name.span().into(), place, sink),
        }
    }
    for key in shape.keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
        // A key that was misspelt was reported already.
        if !table.keys().any(|name| suggest::nearest(name.get_ref(), [key.name]).is_some()) {
            missing(key, place, at, sink);
        }
    }
}

fn unknown_key(shape: &'static Table, name: &str, at: Span, place: &Place<'_>, sink: &mut Sink) {
    let keys = shape.keys.iter().map(|key| key.name);
    sink.report(codes::UNKNOWN_KEY, at, format!("{place}: unknown key '{}'", printable(name)))
        .label("not a key of this table")
        .help(suggest::help(name, keys, "keys"));
}

fn missing(key: &'static Key, place: &Place<'_>, at: Span, sink: &mut Sink) {
    sink.report(codes::MISSING_KEY, at, format!("{place}: '{}' is missing", key.name))
        .label("in this table")
        .help(format!("add {} = …: {}", key.name, key.kind.describe()));
}

fn check_value(kind: Kind, value: &Spanned<DeValue<'_>>, place: &Place<'_>, key: Span, sink: &mut Sink) {
    let at = Span::from(value.span());
    match (kind, value.get_ref()) {
        (Kind::Table(shape) | Kind::SizeOrTable(shape), DeValue::Table(inner)) => table(shape, inner, place, key, sink),
        (Kind::Named(shape), DeValue::Table(inner)) => named(shape, inner, place, sink),
        (Kind::Many(shape), DeValue::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let place = Place { index: Some(index), ..*place };
                check_value(Kind::Table(shape), item, &place, item.span().into(), sink);
            }
        }
        (Kind::Texts, DeValue::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let place = Place { index: Some(index), ..*place };
                check_value(Kind::Text, item, &place, item.span().into(), sink);
            }
        }
        (Kind::Flag, DeValue::Boolean(_)) => {}
        (Kind::Integer(allowed), DeValue::Integer(_)) => {
            if !value::integer(value.get_ref()).is_some_and(|number| allowed.contains(&number)) {
                sink.report(codes::UNKNOWN_VALUE, at, format!("{place}: this value is not known"))
                    .label(format!("expected {}", kind.describe()))
                    .help(format!("write {}", kind.describe()));
            }
        }
        (Kind::GroupId, DeValue::Integer(_)) => {
            if value::integer(value.get_ref()).and_then(value::group_id).is_none() {
                sink.report(codes::INVALID_OWNER, at, format!("{place}: this is not a group number"))
                    .help("group numbers go from 0 to 4294967294");
            }
        }
        (_, DeValue::String(text)) if takes_text(kind) => check_text(kind, text, place, at, sink),
        (_, found) => {
            let error = sink.report(
                codes::WRONG_TYPE,
                at,
                format!("{place}: expected {}, found {}", kind.describe(), article(found.type_str())),
            );
            error.label(format!("{} here", found.type_str()));
            match (kind, found) {
                (Kind::Size | Kind::SizeOrZero | Kind::SizeOrTable(_), DeValue::Integer(_)) => {
                    error.help("write the size as text with a unit: \"10GiB\"");
                }
                (Kind::Mode, DeValue::Integer(_)) => {
                    error.help("write the permissions as text: \"0750\"");
                }
                (Kind::Many(_), DeValue::Table(_)) => {
                    error.help("write the header with double brackets, [[…]]: there may be several");
                }
                (Kind::Texts, DeValue::String(_)) => {
                    error.help("write a list: [\"…\", \"…\"]");
                }
                (Kind::Flag, DeValue::String(_)) => {
                    error.help("write true or false without quotes");
                }
                _ => {}
            }
        }
    }
}

const fn takes_text(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Text
            | Kind::Name(_)
            | Kind::Word(_)
            | Kind::Size
            | Kind::SizeOrZero
            | Kind::SizeOrTable(_)
            | Kind::Path(_)
            | Kind::Owner
            | Kind::Mode
    )
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

fn check_text(kind: Kind, text: &str, place: &Place<'_>, at: Span, sink: &mut Sink) {
    let shown = printable(text);
    match kind {
        Kind::Text if text.is_empty() => {
            sink.report(codes::EMPTY, at, format!("{place} is empty")).help("give it a value, or leave the key out");
        }
        Kind::Text if text.chars().any(char::is_control) => {
            sink.report(codes::CONTROL, at, format!("{place}: '{shown}' holds a control character"))
                .help("line ends, tabs and other control characters are not allowed here");
        }
        Kind::Name(of) => {
            if let Err(cause) = text.parse::<crate::model::Name>() {
                sink.report(codes::INVALID_NAME, at, format!("{place}: '{shown}' is not the name of a {of}"))
                    .label(cause.to_string());
            }
        }
        Kind::Word(words) if !words.contains(&text) => {
            let help = match (words.first(), text) {
                (Some(&"if-blank"), "always") => {
                    "there is no \"always\": only what is proven blank is ever formatted".to_owned()
                }
                _ => suggest::help(text, words.iter().copied(), "known values"),
            };
            sink.report(codes::UNKNOWN_VALUE, at, format!("{place}: '{shown}' is not a value of this key"))
                .label("not known")
                .help(help);
        }
        Kind::SizeOrZero if value::is_zero_size(text) => {}
        Kind::Size | Kind::SizeOrZero | Kind::SizeOrTable(_) => {
            if let Err(cause) = text.parse::<crate::model::Capacity>() {
                sink.report(codes::INVALID_SIZE, at, format!("{place}: '{shown}' is not a size"))
                    .label(cause.to_string())
                    .help("sizes look like \"512MiB\", \"1.5GiB\" (binary) or \"20GB\" (decimal)");
            }
        }
        Kind::Owner if value::owner(text).is_none() => {
            sink.report(codes::INVALID_OWNER, at, format!("{place}: '{shown}' is not \"uid:gid\"")).help(
                "two numbers from 0 to 4294967294: \"999:999\"; names differ between host and pod and are not taken",
            );
        }
        Kind::Mode if value::mode(text).is_none() => {
            sink.report(codes::INVALID_MODE, at, format!("{place}: '{shown}' is not octal permissions"))
                .help("three or four octal digits: \"0750\"");
        }
        Kind::Path(kind) => {
            if let Err(cause) = paths::check(kind, text) {
                sink.report(codes::INVALID_PATH, at, format!("{place}: '{shown}' {cause}")).help(cause.help());
            }
        }
        _ => {}
    }
}

fn named(shape: &'static Table, tables: &DeTable<'_>, place: &Place<'_>, sink: &mut Sink) {
    for (name, value) in tables {
        let at = Span::from(name.span());
        if let Err(cause) = name.get_ref().parse::<crate::model::Name>() {
            let shown = printable(name.get_ref());
            sink.report(codes::INVALID_NAME, at, format!("{place}: '{shown}' is not a name")).label(cause.to_string());
        }
        check_value(Kind::Table(shape), value, &place.child(name.get_ref()), at, sink);
    }
}
