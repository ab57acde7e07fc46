//! The shape of a manifest as data: every table, every key, its type, default and meaning. The check for unknown keys and
//! wrong types, the JSON Schema and the manual page all read this one definition, so they can't drift apart.

mod tables;

pub use tables::{ROOT, STORAGE};

/// A table with a fixed set of keys.
#[derive(Debug)]
pub struct Table {
    /// What it describes, in a sentence.
    pub about: &'static str,
    /// Its keys, in the order a manual lists them.
    pub keys: &'static [Key],
    /// What its keys have to do with each other, as far as a schema can say it; the rooms of `validate` hold these and more.
    pub rules: &'static [Rule],
}

/// How keys of one table go together.
#[derive(Debug)]
pub enum Rule {
    /// Not two of these.
    AtMostOne(&'static [&'static str]),
    /// One of these has to be there.
    AtLeastOne(&'static [&'static str]),
    /// Where one of `keys` is there (with this word), none of `others` may be.
    NotWith {
        /// The keys.
        keys: &'static [&'static str],
        /// What one of them has to say for this to hold; whatever it says where there is none.
        word: Option<&'static str>,
        /// What does not apply then.
        others: &'static [&'static str],
    },
}

impl Table {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it has to be there.
    pub required: bool,
    /// What holds when it isn't, in a manual's words; empty where nothing does.
    pub default: &'static str,
    /// What it means, in a sentence or two.
    pub about: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text but the empty one.
    Text,
    /// A name: a DNS label. The word says of what.
    Name(&'static str),
    /// `true` or `false`.
    Flag,
    /// One of these integers.
    Integer(&'static [i64]),
    /// A group number, 0 to 4294967294.
    GroupId,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A size with a unit.
    Size,
    /// A size with a unit that may be zero.
    SizeOrZero,
    /// A path; what is allowed depends on the key.
    Path(PathKind),
    /// A list of texts.
    Texts,
    /// `uid:gid`.
    Owner,
    /// Octal permissions as text.
    Mode,
    /// A table.
    Table(&'static Table),
    /// A size, or a table.
    SizeOrTable(&'static Table),
    /// A table of tables by name.
    Named(&'static Table),
    /// A list of tables.
    Many(&'static Table),
}

/// Which paths a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Absolute, or relative to the manifest.
    Host,
    /// Absolute.
    Absolute,
    /// Relative, below a volume's root.
    Inside,
    /// A stable name of a block device.
    Device,
}

impl Kind {
    /// What it is, for messages and the manual.
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Name(of) => format!("the name of a {of}"),
            Self::Flag => "true or false".to_owned(),
            Self::Integer(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
            Self::GroupId => "a group number".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::Size => "a size such as \"10GiB\"".to_owned(),
            Self::SizeOrZero => "a size such as \"10GiB\", or \"0GiB\"".to_owned(),
            Self::Path(PathKind::Host) => "a path, absolute or relative to the manifest".to_owned(),
            Self::Path(PathKind::Absolute) => "an absolute path".to_owned(),
            Self::Path(PathKind::Inside) => "a relative path".to_owned(),
            Self::Path(PathKind::Device) => "a stable device path".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::Owner => "\"uid:gid\"".to_owned(),
            Self::Mode => "octal permissions such as \"0750\"".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::SizeOrTable(_) => "a size such as \"10GiB\", or a table".to_owned(),
            Self::Named(_) => "a table of tables by name".to_owned(),
            Self::Many(_) => "a list of tables".to_owned(),
        }
    }
}

/// One row of the manual: a key with its whole path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key's path: `volumes.NAME.fs.type`.
    pub key: String,
    /// What it takes.
    pub values: String,
    /// Whether it has to be there.
    pub required: bool,
    /// Its default; empty where there is none.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Every key of a manifest in the order of the manual: what csictl.toml(5) is made of.
pub fn reference() -> Vec<Row> {
    let mut rows = Vec::new();
    collect("", &ROOT, &mut rows);
    rows
}

fn collect(prefix: &str, table: &'static Table, rows: &mut Vec<Row>) {
    for key in table.keys {
        let path = format!("{prefix}{}", key.name);
        rows.push(Row {
            key: path.clone(),
            values: key.kind.describe(),
            required: key.required,
            default: key.default,
            meaning: key.about,
        });
        match key.kind {
            Kind::Table(inner) | Kind::SizeOrTable(inner) => collect(&format!("{path}."), inner, rows),
            Kind::Named(inner) => collect(&format!("{path}.NAME."), inner, rows),
            Kind::Many(inner) => collect(&format!("{path}[]."), inner, rows),
            _ => {}
        }
    }
}
