//! Reads data files: some columns, some rows.

use std::{ops::Range, sync::Arc};

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
use tap_proto::v1::Exchange;

use crate::{
    Cause,
    columns::{self, DETAIL_COLUMNS},
    schema,
    view::DataFile,
};

/// The footer and the page index of a file of one commit are within this, so they come with one request.
const FOOTER_BYTES: usize = 64 * 1024;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1024;

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

    pub(crate) fn path(&self) -> &Path {
        &self.object.path
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
        builder = builder.with_projection(projection).with_batch_size(BATCH_ROWS);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(rows);
        }
        Ok(builder.build()?.map(|batch| Ok(columns::conform(batch?)?)))
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
        let selection = rows
            .map(|rows| RowSelection::from_consecutive_ranges(rows.iter().map(|row| *row..row + 1), count));
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
