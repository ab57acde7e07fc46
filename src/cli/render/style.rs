//! The few colors csictl uses and what each means. Color only adds: every line reads the same without it, and the printer
//! takes it out where it is not wanted.

use std::fmt::{self, Display};

use clap::builder::styling::{AnsiColor, Style, Styles};

/// Something new.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Something that changes, or deserves a look.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Something lost or wrong.
pub const RED: Style = AnsiColor::Red.on_default();
/// A heading or a name.
pub const BOLD: Style = Style::new().bold();
/// Something beside the point.
pub const DIM: Style = Style::new().dimmed();

/// The styles of clap's help and usage errors.
pub const HELP: Styles = Styles::styled()
    .header(BOLD)
    .usage(BOLD)
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(Style::new())
    .error(RED.bold())
    .valid(GREEN)
    .invalid(YELLOW);

/// Text in a style.
#[derive(Debug, Clone, Copy)]
pub struct Painted<T>(pub Style, pub T);

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_plain() {
            return self.1.fmt(f);
        }
        write!(f, "{}", self.0.render())?;
        // Width and fill go to the text, so that escapes never count as columns.
        self.1.fmt(f)?;
        write!(f, "{}", self.0.render_reset())
    }
}

/// A count with its noun: `1 volume`, `2 volumes`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
