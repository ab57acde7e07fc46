//! The manual pages: csictl(1), one page a command, csictl.toml(5). Made from the argument types and the manifest's own
//! table of keys; the copies in `man/` are compared with these by a test.

use std::io;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::manifest::shape;

/// A page: its file name and its text.
pub type Page = (String, Vec<u8>);

/// The first page, csictl(1).
///
/// # Errors
/// Never in practice: it is written to memory.
pub fn first() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(super::command()).manual("csictl").render(&mut text)?;
    Ok(text)
}

/// Every page.
///
/// # Errors
/// As [`first`].
pub fn pages() -> io::Result<Vec<Page>> {
    let mut command = super::command();
    command.build();
    let mut pages = vec![("csictl.1".to_owned(), first()?)];
    gather(&command, "csictl", &mut pages)?;
    pages.push(("csictl.toml.5".to_owned(), manifest_page()?));
    Ok(pages)
}

fn gather(command: &clap::Command, prefix: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    for sub in command.get_subcommands() {
        let name = format!("{prefix}-{}", sub.get_name());
        let mut text = Vec::new();
        let page = sub.clone().version(env!("CARGO_PKG_VERSION")).display_name(&name);
        Man::new(page).source(concat!("csictl ", env!("CARGO_PKG_VERSION"))).manual("csictl").render(&mut text)?;
        pages.push((format!("{name}.1"), text));
        gather(sub, &name, pages)?;
    }
    Ok(())
}

fn manifest_page() -> io::Result<Vec<u8>> {
    let mut page = Roff::new();
    page.control("TH", ["csictl.toml", "5", "", concat!("csictl ", env!("CARGO_PKG_VERSION")), "csictl"]);
    page.control("SH", ["NAME"]);
    page.text([roman("csictl.toml - what csictl brings a machine to")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A manifest is a TOML file that declares volumes and pods. Unknown keys are errors; 'csictl validate' reports all errors \
         of a manifest in one run, 'csictl schema' prints a JSON Schema for editors. Paths are absolute; those of pools, \
         directories and pod roots may be relative to the manifest.",
    )]);
    page.control("SH", ["KEYS"]);
    for row in shape::reference() {
        page.control("TP", []);
        let mut head = vec![bold(row.key.as_str()), roman("  "), italic(row.values.as_str())];
        if row.required {
            head.push(roman("  (required)"));
        } else if !row.default.is_empty() {
            head.push(roman(format!("  (default {})", row.default)));
        }
        page.text(head);
        page.text([roman(row.meaning)]);
    }
    page.control("SH", ["EXAMPLE"]);
    page.text([roman("What 'csictl init' writes:")]);
    page.control("PP", []);
    page.control("EX", []);
    for line in crate::manifest::STARTER.lines() {
        page.text([roman(line)]);
    }
    page.control("EE", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("csictl"), roman("(1)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(text)
}
