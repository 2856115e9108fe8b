//! What people and programs read. Pure: values in, text out.

pub(crate) mod coverage;
pub mod escape;
pub(crate) mod exchange;
pub(crate) mod json;
pub(crate) mod ledger;
pub(crate) mod mirror;
pub(crate) mod mock;
pub(crate) mod redactions;
pub(crate) mod report;
pub(crate) mod rows;
pub(crate) mod stats;
pub(crate) mod stats_plot;
pub(crate) mod unit;

use std::io::{self, IsTerminal as _};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};

/// How to print for people.
#[derive(Clone, Debug)]
pub struct Style {
    /// Columns of the terminal; none where the output is not one: nothing is cut off there.
    pub width: Option<u16>,
    pub colour: bool,
    /// In which times are shown.
    pub zone: TimeZone,
}

impl Style {
    /// For the terminal, file or pipe that standard output is. `NO_COLOR` is respected (no-color.org).
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { width: Table::new().width(), colour: terminal && !no_colour, zone: TimeZone::system() }
    }

    /// A table without lines, as kubectl's, no wider than the terminal.
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if let Some(width) = self.width {
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
        }
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    /// A time in this style's zone: to the millisecond, with the date where asked.
    fn time(&self, time: Option<&prost_types::Timestamp>, with_date: bool) -> String {
        let format = if with_date { "%m-%d %H:%M:%S%.3f" } else { "%H:%M:%S%.3f" };
        self.zoned(time).map_or_else(|| "-".to_owned(), |zoned| zoned.strftime(format).to_string())
    }

    fn zoned(&self, time: Option<&prost_types::Timestamp>) -> Option<jiff::Zoned> {
        let time = time?;
        let timestamp = Timestamp::new(time.seconds, time.nanos).ok()?;
        Some(timestamp.to_zoned(self.zone.clone()))
    }
}

/// A column's padding: none at its left, this much at its right.
const GAP: u16 = 2;

fn pad(table: &mut Table, gap: u16) {
    for column in table.column_iter_mut() {
        column.set_padding((0, gap));
    }
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The lines of `table`, without the padding at their ends.
fn lines(table: &Table) -> String {
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}
