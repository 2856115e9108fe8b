//! What exchanges can be grouped by, and the value that a row has of it.

use std::{borrow::Cow, str::FromStr};

use deltalake::arrow::{
    array::{Array, AsArray, Int32Array, MapArray, RecordBatch, StringArray},
    datatypes::Int32Type,
};

/// Longest name of a label, as in Kubernetes: prefix, slash, name.
const MAX_LABEL_BYTES: usize = 317;

/// One of the values that tell groups apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension(Source);

/// The name means nothing that exchanges can be grouped by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is nothing to group by; there are {}, labels.NAME", NAMES.map(|(name, _)| name).join(", "))]
pub struct UnknownDimension {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Text(&'static str),
    Integer(&'static str),
    HostWithoutPort,
    PathTemplate,
    StatusClass,
    Label(String),
}

/// As conditions call them, without `request.` and `response.`.
const NAMES: [(&str, Source); 28] = [
    ("workload", Source::Text("workload")),
    ("namespace", Source::Text("namespace")),
    ("pod", Source::Text("pod")),
    ("container", Source::Text("container")),
    ("node", Source::Text("node")),
    ("target", Source::Text("target")),
    ("role", Source::Text("role")),
    ("method", Source::Text("method")),
    ("scheme", Source::Text("scheme")),
    ("host", Source::Text("host")),
    ("path", Source::Text("path")),
    ("path_template", Source::PathTemplate),
    ("query", Source::Text("query")),
    ("status", Source::Integer("status")),
    ("status_class", Source::StatusClass),
    ("source.ip", Source::Text("source_ip")),
    ("source.port", Source::Integer("source_port")),
    ("source.namespace", Source::Text("source_namespace")),
    ("source.pod", Source::Text("source_pod")),
    ("source.service", Source::Text("source_service")),
    ("source.workload", Source::Text("source_workload")),
    ("destination.host", Source::HostWithoutPort),
    ("destination.ip", Source::Text("destination_ip")),
    ("destination.port", Source::Integer("destination_port")),
    ("destination.namespace", Source::Text("destination_namespace")),
    ("destination.pod", Source::Text("destination_pod")),
    ("destination.service", Source::Text("destination_service")),
    ("destination.workload", Source::Text("destination_workload")),
];

impl FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(name: &str) -> Result<Self, UnknownDimension> {
        let short = name
            .strip_prefix("request.")
            .filter(|field| ["method", "scheme", "host", "path", "query"].contains(field))
            .or_else(|| name.strip_prefix("response.").filter(|field| *field == "status"))
            .unwrap_or(name);
        if let Some(label) = short.strip_prefix("labels.")
            && (1..=MAX_LABEL_BYTES).contains(&label.len())
        {
            return Ok(Self(Source::Label(label.to_owned())));
        }
        let found = NAMES.iter().find(|(known, _)| *known == short);
        found.map(|(_, source)| Self(source.clone())).ok_or_else(|| UnknownDimension {
            // From outside: no longer than a name could be.
            name: name.chars().filter(|c| !c.is_control()).take(64).collect(),
        })
    }
}

impl Dimension {
    /// The column that has its values.
    pub(super) fn column(&self) -> &'static str {
        match &self.0 {
            Source::Text(column) | Source::Integer(column) => column,
            Source::HostWithoutPort => "host",
            Source::PathTemplate => "path",
            Source::StatusClass => "status",
            Source::Label(_) => "labels",
        }
    }

    pub(super) fn is_path_template(&self) -> bool {
        self.0 == Source::PathTemplate
    }

    /// Its values in a batch.
    pub(super) fn values<'a>(&'a self, batch: &'a RecordBatch) -> Values<'a> {
        let column = batch.column_by_name(self.column());
        let text = || column.and_then(|column| column.as_string_opt::<i32>());
        let integer = || column.and_then(|column| column.as_primitive_opt::<Int32Type>());
        match &self.0 {
            Source::Text(_) | Source::PathTemplate => text().map_or(Values::Absent, Values::Text),
            Source::HostWithoutPort => text().map_or(Values::Absent, Values::HostWithoutPort),
            Source::Integer(_) => integer().map_or(Values::Absent, Values::Integer),
            Source::StatusClass => integer().map_or(Values::Absent, Values::StatusClass),
            Source::Label(name) => {
                let labels = column.and_then(|column| column.as_map_opt());
                labels.map_or(Values::Absent, |labels| Values::Label(name, labels))
            }
        }
    }
}

/// The values of a dimension in one batch.
pub(super) enum Values<'a> {
    /// The file has no such column.
    Absent,
    Text(&'a StringArray),
    HostWithoutPort(&'a StringArray),
    Integer(&'a Int32Array),
    StatusClass(&'a Int32Array),
    Label(&'a str, &'a MapArray),
}

impl Values<'_> {
    /// Empty where the exchange has none.
    pub(super) fn at(&self, row: usize) -> Cow<'_, str> {
        match self {
            Self::Absent => Cow::Borrowed(""),
            Self::Text(column) => Cow::Borrowed(text(column, row)),
            Self::HostWithoutPort(column) => Cow::Borrowed(tap_expr::without_port(text(column, row))),
            Self::Integer(column) => integer(column, row).map_or(Cow::Borrowed(""), |v| v.to_string().into()),
            Self::StatusClass(column) => match integer(column, row) {
                Some(status @ 100..1000) => format!("{}xx", status / 100).into(),
                Some(_) => Cow::Borrowed("other"),
                None => Cow::Borrowed(""),
            },
            Self::Label(name, column) => Cow::Borrowed(label(name, column, row).unwrap_or_default()),
        }
    }

    /// A number that stands for the value within this batch's dimension, where the column has numbers: no text is made of it.
    pub(super) fn number(&self, row: usize) -> Option<i64> {
        match self {
            Self::Integer(column) => Some(integer(column, row).map_or(-1, i64::from)),
            Self::StatusClass(column) => {
                Some(integer(column, row).map_or(-1, |status| i64::from(status / 100)))
            }
            _ => None,
        }
    }
}

fn text(column: &StringArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row) }
}

/// Negative ones stand for numbers beyond the column's type: they are none of a port or a status.
fn integer(column: &Int32Array, row: usize) -> Option<i32> {
    (!column.is_null(row)).then(|| column.value(row)).filter(|value| *value >= 0)
}

fn label<'a>(name: &str, column: &'a MapArray, row: usize) -> Option<&'a str> {
    if column.is_null(row) {
        return None;
    }
    let keys = column.keys().as_string_opt::<i32>()?;
    let values = column.values().as_string_opt::<i32>()?;
    let [start, end] = [column.value_offsets()[row], column.value_offsets()[row + 1]];
    let entries = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    let entry = entries.into_iter().find(|entry| keys.value(*entry) == name)?;
    Some(text(values, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn every_name_is_a_column_and_means_itself() {
        for (name, source) in &NAMES {
            let dimension: Dimension = name.parse().unwrap();
            assert_eq!(dimension.0, *source);
            assert!(schema::FILE.field_with_name(dimension.column()).is_ok(), "{name}");
        }
        assert_eq!("request.method".parse::<Dimension>(), "method".parse());
        assert_eq!("response.status".parse::<Dimension>(), "status".parse());
        assert_eq!("labels.app/x".parse(), Ok(Dimension(Source::Label("app/x".to_owned()))));
    }

    #[test]
    fn what_is_no_name_is_told_the_names() {
        for name in ["", "labels.", "request.status", "body", "request.path_template\n\u{1b}[31m"] {
            let error = name.parse::<Dimension>().unwrap_err().to_string();
            assert!(error.contains("path_template, query, status"), "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }
}
