//! A Parquet file of exchanges on its own, with the columns of the table: `docs/table.md`.
//!
//! The partition's column `date`, which the table's files leave to their directory's name, is not in it: `time` says it.

use std::{fmt, mem, sync::Arc};

use deltalake::parquet::arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions};
use tap_proto::v1::Exchange;

use crate::{
    Cause,
    data_file::{batches, properties},
    schema,
};

/// Exchanges that wait to be encoded together.
const ROWS: usize = 1024;
/// A row group that holds this much is ended: it is in memory until then.
const ROW_GROUP_BYTES: usize = 64 * 1024 * 1024;

/// Makes a file, row group by row group. What is done of it is handed out, and is not kept.
pub struct Writer {
    rows: Vec<Exchange>,
    writer: ArrowWriter<Vec<u8>>,
}

impl Writer {
    pub fn new() -> Result<Self, Cause> {
        let options = ArrowWriterOptions::new().with_properties(properties()?).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema::FILE), options)?;
        Ok(Self { rows: Vec::new(), writer })
    }

    /// Adds a row. Returns the bytes of the file that come next, if there are any.
    pub fn write(&mut self, exchange: Exchange) -> Result<Vec<u8>, Cause> {
        self.rows.push(exchange);
        if self.rows.len() >= ROWS {
            self.encode()?;
        }
        Ok(mem::take(self.writer.inner_mut()))
    }

    /// Ends the file. Returns the last of its bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, Cause> {
        self.encode()?;
        Ok(self.writer.into_inner()?)
    }

    fn encode(&mut self) -> Result<(), Cause> {
        let rows = mem::take(&mut self.rows);
        let rows: Vec<&Exchange> = rows.iter().collect();
        for batch in batches(&rows) {
            self.writer.write(&batch?)?;
            if self.writer.memory_size() >= ROW_GROUP_BYTES {
                self.writer.flush()?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}
