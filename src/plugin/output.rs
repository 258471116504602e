//! What is printed: tables, JSON, YAML, colours.

use crate::args::Format;
use crate::error::{Error, Result};
use crate::picture::Gap;
use serde::Serialize;
use std::io::{BufRead, Write};

/// Where a command prints and reads.
pub struct Terminal<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Progress, notes and errors.
    pub err: &'a mut dyn Write,
    /// Answers of a person.
    pub input: &'a mut dyn BufRead,
    /// Whether `out` shows colours.
    pub colour: bool,
}

/// How a word is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Good,
    Bad,
    Waiting,
}

impl Terminal<'_> {
    /// A text in a colour, where colours are shown.
    pub(crate) fn paint(&self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Good => "32",
            Colour::Bad => "31",
            Colour::Waiting => "33",
            Colour::Plain => return text.into(),
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    /// Says what could not be read.
    pub(crate) fn gaps(&mut self, gaps: &[Gap]) -> Result<()> {
        for gap in gaps {
            writeln!(self.err, "left out: {gap}")?;
        }
        Ok(())
    }

    /// A value as JSON or YAML; `false`: a table is wanted.
    pub(crate) fn structured(&mut self, format: Format, value: &impl Serialize) -> Result<bool> {
        let text = match format {
            Format::Table => return Ok(false),
            Format::Json => serde_json::to_string_pretty(value).map_err(|e| Error::Text(e.to_string()))?,
            Format::Yaml => serde_yaml::to_string(value).map_err(|e| Error::Text(e.to_string()))?,
        };
        writeln!(self.out, "{}", text.trim_end())?;
        Ok(true)
    }

    /// Columns beside each other; the last one is not filled up. A cell is a text and its colour.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<(String, Colour)>]) -> Result<()> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
            cells.chain([head[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let head: Vec<(String, Colour)> = head.iter().map(|word| ((*word).to_owned(), Colour::Plain)).collect();
        for row in [&head].into_iter().chain(rows) {
            let mut line = String::new();
            for (column, (text, colour)) in row.iter().enumerate() {
                let fill = widths[column].saturating_sub(text.chars().count()) + 2;
                line += &self.paint(text, *colour);
                line += &" ".repeat(if column + 1 == row.len() { 0 } else { fill });
            }
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
