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
    page(&whole(), "csictl")
}

/// The command line with every flag's help: pages leave out what `-h` hides otherwise.
fn whole() -> clap::Command {
    let mut command = super::command().mut_args(|arg| arg.hide_short_help(false));
    command.build();
    command
}

/// One page. Examples keep their lines, which clap_mangen would fill into a paragraph.
fn page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let examples = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let command =
        command.clone().version(env!("CARGO_PKG_VERSION")).display_name(name).after_help("").after_long_help("");
    let has_more = command.has_subcommands();
    let mut text = Vec::new();
    let man = Man::new(command).source(concat!("csictl ", env!("CARGO_PKG_VERSION"))).manual("csictl");
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_more {
        man.render_subcommands_section(&mut text)?;
    }
    let mut end = Roff::new();
    if let Some(examples) = examples {
        for line in examples.lines() {
            match line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
                Some(title) => {
                    end.control("SH", [title.to_uppercase().as_str()]);
                    end.control("nf", []);
                }
                None => {
                    end.text([roman(line)]);
                }
            }
        }
        end.control("fi", []);
    }
    end.control("SH", ["SEE ALSO"]);
    end.text([bold("csictl"), roman("(1), "), bold("csictl.toml"), roman("(5)")]);
    end.to_writer(&mut text)?;
    Ok(text)
}

/// Every page.
///
/// # Errors
/// As [`first`].
pub fn pages() -> io::Result<Vec<Page>> {
    let command = whole();
    let mut pages = vec![("csictl.1".to_owned(), page(&command, "csictl")?)];
    gather(&command, "csictl", &mut pages)?;
    pages.push(("csictl.toml.5".to_owned(), manifest_page()?));
    Ok(pages)
}

fn gather(command: &clap::Command, prefix: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    for sub in command.get_subcommands() {
        let name = format!("{prefix}-{}", sub.get_name());
        pages.push((format!("{name}.1"), page(sub, &name)?));
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
