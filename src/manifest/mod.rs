//! The manifest layer: TOML text to [`Desired`], or every error with its place.
//!
//! ```text
//! text ── syntax (toml) ── tree ── check (against shape) ── raw (plain structs, spans) ── validate (rooms) ── Desired
//! ```
//!
//! Pure: it is given the text, the manifest's name and the directories it may refer to, and reads nothing itself. What a
//! manifest may say stands once, in [`shape`]; [`schema`] and [`shape::reference`] are made from it. [`codes`] has the long
//! explanation of every error.

mod check;
pub mod codes;
pub mod diag;
mod paths;
mod raw;
pub mod schema;
pub mod shape;
mod source;
mod suggest;
mod syntax;
mod validate;
mod value;

use std::path::Path;

pub use diag::{ManifestError, ManifestErrors};

use crate::model::{Desired, Layout, StorageConfig};

/// The longest manifest, in bytes of text.
pub const TEXT_MAX: usize = 16 << 20;
/// The most volumes of a manifest.
pub const VOLUMES_MAX: usize = 100_000;

/// A commented manifest to begin with: what `csictl init` writes.
pub const STARTER: &str = include_str!("starter.toml");

/// What a manifest is read against.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The manifest's name as the user typed it, for messages.
    pub name: &'a str,
    /// The directory relative paths begin at, absolute and without links: the manifest's own.
    pub base_dir: &'a Path,
    /// Where csictl keeps its records and, unless pools are declared, its images.
    pub layout: &'a Layout,
}

/// Reads a manifest.
///
/// # Errors
/// Every error of the text at once, each with code, place and help; nothing of a manifest with errors is used.
pub fn parse(text: &str, context: &Context<'_>) -> Result<Desired, ManifestErrors> {
    read(text, context, &shape::ROOT, validate::validate)
}

/// Reads the configuration of a server: pools, classes and defaults, written as in a manifest.
///
/// # Errors
/// As [`parse`]; a manifest's volumes, snapshots and pods have no place in it.
pub fn storage(text: &str, context: &Context<'_>) -> Result<StorageConfig, ManifestErrors> {
    read(text, context, &shape::STORAGE, validate::storage)
}

fn read<T>(
    text: &str,
    context: &Context<'_>,
    shape: &'static shape::Table,
    resolve: impl FnOnce(&raw::Manifest<'_>, &Context<'_>, &mut diag::Sink) -> T,
) -> Result<T, ManifestErrors> {
    let mut sink = diag::Sink::default();
    // A text past the cap is not even kept for showing it.
    if !syntax::check_size(text, &mut sink) {
        return Err(sink.into_errors(context.name, ""));
    }
    let tree = syntax::read(text, &mut sink);
    let broken = sink.count();
    if !syntax::check_count(tree.get_ref(), &mut sink) {
        return Err(sink.into_errors(context.name, text));
    }
    check::table(shape, tree.get_ref(), &check::Place::ROOT, diag::Span::default(), &mut sink);
    if broken > 0 {
        // What the parser made of a broken line is a guess: complaints about it, and about what it lacks, mislead.
        syntax::forget_guesses(text, broken, &mut sink);
        return Err(sink.into_errors(context.name, text));
    }
    let raw = raw::read(tree.get_ref());
    let resolved = resolve(&raw, context, &mut sink);
    match sink.count() {
        0 => Ok(resolved),
        _ => Err(sink.into_errors(context.name, text)),
    }
}
