//! The collector: ingest, query and replay services over the table of exchanges.
