//! The admin port of Podtap's servers, apart from the data path.
//!
//! | route            | answer                                                                        |
//! |------------------|-------------------------------------------------------------------------------|
//! | `GET /metrics`   | 200, the registry in the OpenMetrics text format                              |
//! | `GET /live`      | 200 while the process serves at all                                           |
//! | `GET /ready`     | 200, or 503 with the names of the conditions that are pending, one a line     |
//! | `GET /log-level` | 200, the log filter                                                           |
//! | `PUT /log-level` | 200 after the body (`info`, `tap_collector=debug,warn`, …) became the filter; |
//! |                  | 400 if it is none, 503 if the process logs elsewhere                          |
//!
//! A wrong method gets 405, another path 404 with the list of routes. `HEAD` works wherever `GET` does.
//!
//! There is no authentication: bind it to loopback or to a network of operators. Connections, header time
//! and body size are bounded, and the port never answers with anything that was captured.

#![forbid(unsafe_code)]

mod logging;
mod process;
mod readiness;
mod server;

pub use logging::{LogFormat, LogLevel, LoggingError, init_tracing};
pub use process::register_process_metrics;
pub use readiness::{Pending, Readiness};
pub use server::{Admin, run};
