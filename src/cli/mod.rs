//! The command line: arguments in, text and exit codes out. Nothing below this layer prints, asks or exits.
//!
//! Way in: [`printer::Printer`] for every line that users see.

pub mod printer;
pub mod render;
