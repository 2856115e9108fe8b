//! Reads data files: some columns, some rows.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use bytes::Bytes;
use deltalake::{
    arrow::array::RecordBatch,
    parquet::{
        arrow::{
            ProjectionMask,
            arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection},
            async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder},
        },
        errors::{ParquetError, Result as ParquetResult},
        file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
    },
};
use futures::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tap_expr::Predicate;
use tap_proto::v1::Exchange;

use crate::{
    Cause,
    columns::{self, DETAIL_COLUMNS},
    footers::Footers,
    pages, schema,
    view::DataFile,
};

/// The footer and the page index of a file of one commit are within this, so they come with one request.
const FOOTER_BYTES: usize = 64 * 1024;

/// Rows decoded at a time: as many as have about so many bytes, within these bounds.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
const MIN_BATCH_ROWS: u64 = 16;
const MAX_BATCH_ROWS: u64 = 8192;

/// The table's files, with the footers of those that were read lately.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    objects: Arc<dyn ObjectStore>,
    footers: Arc<Footers>,
}

impl Files {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, footers: Arc<Footers>) -> Self {
        Self { objects, footers }
    }

    pub(crate) async fn open(&self, file: &DataFile) -> Result<OpenFile, Cause> {
        let objects = Arc::clone(&self.objects);
        if let Some(metadata) = self.footers.get(&file.path) {
            let object = Object { objects, path: file.path.clone(), size: file.size };
            return Ok(OpenFile { object, metadata });
        }
        let open = OpenFile::open(objects, file).await?;
        self.footers.put(&file.path, open.metadata.clone());
        Ok(open)
    }
}

/// A file whose footer has been read.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    object: Object,
    metadata: ArrowReaderMetadata,
}

impl OpenFile {
    pub(crate) async fn open(objects: Arc<dyn ObjectStore>, file: &DataFile) -> Result<Self, Cause> {
        let mut object = Object { objects, path: file.path.clone(), size: file.size };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load_async(&mut object, options).await?;
        Ok(Self { object, metadata })
    }

    /// The columns that are named, of all rows or of those selected.
    pub(crate) fn read(
        &self,
        named: &dyn Fn(&str) -> bool,
        rows: Option<RowSelection>,
    ) -> Result<impl Stream<Item = Result<RecordBatch, Cause>> + Send + Unpin + use<>, Cause> {
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.object.clone(), self.metadata.clone());
        let columns = builder.schema().fields().iter().enumerate();
        let roots: Vec<_> =
            columns.filter(|(_, field)| named(field.name())).map(|(index, _)| index).collect();
        let projection = ProjectionMask::roots(builder.parquet_schema(), roots);
        let batch_rows = BATCH_BYTES / self.row_bytes(&projection).max(1);
        let batch_rows = usize::try_from(batch_rows.clamp(MIN_BATCH_ROWS, MAX_BATCH_ROWS))?;
        builder = builder.with_projection(projection).with_batch_size(batch_rows);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(rows);
        }
        Ok(builder.build()?.map(|batch| Ok(columns::conform(batch?)?)))
    }

    /// Of the columns in an average row, decoded.
    fn row_bytes(&self, columns: &ProjectionMask) -> u64 {
        let groups = self.metadata.metadata().row_groups().iter();
        let chunks = groups.flat_map(|group| group.columns().iter().enumerate());
        let bytes: i64 = (chunks.filter(|(leaf, _)| columns.leaf_included(*leaf)))
            .map(|(_, chunk)| chunk.uncompressed_size().max(0))
            .fold(0, i64::saturating_add);
        bytes.unsigned_abs() / self.metadata.metadata().file_metadata().num_rows().unsigned_abs().max(1)
    }

    /// Of an average exchange, decoded.
    pub(crate) fn exchange_bytes(&self) -> u64 {
        self.row_bytes(&ProjectionMask::all())
    }

    /// The rows of one of these times, in microseconds, of which the predicate may be true; `None` for all rows.
    pub(crate) fn may_match(
        &self,
        predicate: &Predicate,
        times: &RangeInclusive<i64>,
    ) -> Option<RowSelection> {
        pages::select(&self.metadata, predicate, times)
    }

    /// These rows, which ascend.
    pub(crate) fn rows(&self, rows: impl Iterator<Item = usize>) -> Result<RowSelection, Cause> {
        let count = usize::try_from(self.metadata.metadata().file_metadata().num_rows())?;
        Ok(RowSelection::from_consecutive_ranges(rows.map(|row| row..row + 1), count))
    }

    /// The exchanges of the rows given, which ascend; of all where none are given.
    pub(crate) async fn exchanges(
        &self,
        rows: Option<&[usize]>,
        summary: bool,
    ) -> Result<Vec<Exchange>, Cause> {
        let named = |name: &str| {
            schema::FILE.field_with_name(name).is_ok() && !(summary && DETAIL_COLUMNS.contains(&name))
        };
        let count = usize::try_from(self.metadata.metadata().file_metadata().num_rows())?;
        let selection = rows.map(|rows| self.rows(rows.iter().copied())).transpose()?;
        let expected = rows.map_or(count, <[usize]>::len);
        let mut batches = self.read(&named, selection)?;
        let mut exchanges = Vec::with_capacity(expected);
        while let Some(batch) = batches.try_next().await? {
            exchanges.extend(columns::exchanges(&batch));
        }
        if exchanges.len() != expected {
            return Err(format!("{} rows instead of {expected}", exchanges.len()).into());
        }
        Ok(exchanges)
    }
}

/// An object as the Parquet reader wants it.
#[derive(Clone, Debug)]
struct Object {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.objects.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.objects.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
