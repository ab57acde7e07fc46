//! Questions on the terminal: a yes before anything changes, and a name typed in full before data is lost.

use std::io::{BufRead, IsTerminal};

use super::printer::Printer;

/// Whether somebody is there to answer.
pub fn possible(printer: &Printer) -> bool {
    std::io::stdin().is_terminal() && printer.err_is_terminal()
}

/// One line of answer; nothing at the end of input.
fn answer(printer: &Printer, question: &str) -> Option<String> {
    printer.prompt(format_args!("{question} "));
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_owned()),
    }
}

/// Asks for a yes; anything else is a no.
pub fn yes(printer: &Printer, question: &str) -> bool {
    let answer = answer(printer, &format!("{question} [y/N]"));
    answer.is_some_and(|answer| matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a name to be typed in full.
pub fn typed(printer: &Printer, question: &str, name: &str) -> bool {
    answer(printer, question).is_some_and(|answer| answer == name)
}
