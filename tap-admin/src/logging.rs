//! Log output, and its filter at run time.
//!
//! A bare level is for Podtap's own events. Libraries then log warnings at most: at `info` some of them tell
//! every step, and at `debug` some show what they were given, which here is captured traffic. A filter that
//! names targets is taken as it is.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    str::FromStr,
};

use serde::Deserialize;
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::LevelFilter,
    fmt::{Layer, format},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

/// Logs an error for each read of the table's log that fails, however often it is tried again; who tries says
/// it once.
const TOLD_BY_US: &str = "deltalake_core::logstore";

/// How log lines are written, always to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object a line, its fields at the top level.
    Json,
}

/// The handle of the filter that decides what is logged.
#[derive(Clone, Debug, Default)]
pub struct LogLevel {
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log filter {filter:?}: {source}")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("log filter: must not be empty")]
    EmptyFilter,
    #[error("log format {0:?}: must be text or json")]
    Format(String),
    #[error("this process has a logger of its own")]
    NotOurs,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format(other.to_owned())),
        }
    }
}

/// Logs the process's events that pass `filter`: a level, or in the syntax of `EnvFilter`, `tap_agent=debug,warn`.
/// Fails where the process already has a logger.
pub fn init_tracing(filter: &str, format: LogFormat) -> Result<LogLevel, LoggingError> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = Layer::default().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).fmt_fields(format::JsonFields::new())).try_init()
        }
    }
    .map_err(|_| LoggingError::NotOurs)?;
    Ok(LogLevel { filter: Some(handle) })
}

impl LogLevel {
    /// The filter in use; empty where the process logs by other means.
    pub fn get(&self) -> String {
        self.filter
            .as_ref()
            .and_then(|filter| filter.with_current(EnvFilter::to_string).ok())
            .unwrap_or_default()
    }

    /// Takes effect at once.
    pub fn set(&self, filter: &str) -> Result<(), LoggingError> {
        let filter = parse(filter)?;
        self.filter.as_ref().ok_or(LoggingError::NotOurs)?.reload(filter).map_err(|_| LoggingError::NotOurs)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LoggingError> {
    let filter = filter.trim();
    // It would parse, as one that logs errors only.
    if filter.is_empty() {
        return Err(LoggingError::EmptyFilter);
    }
    let directives = match filter.parse::<LevelFilter>() {
        // The target of a directive is a prefix: this is every crate of ours.
        Ok(level) if level > LevelFilter::WARN => format!("warn,{TOLD_BY_US}=off,tap={level}"),
        _ => filter.to_owned(),
    };
    EnvFilter::try_new(directives)
        .map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })
}
