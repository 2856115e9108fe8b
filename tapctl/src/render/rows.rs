//! Exchanges as rows of a table whose columns keep their width, so that a list may grow page by page.

use comfy_table::{Cell, Color, ColumnConstraint, Row, Width};
use tap_proto::v1::{Completeness, Exchange, Role, completeness::State};

use super::{Style, escape, exchange::end_name, lines, right, unit};

/// From this width on there is room for dates, all sizes and both ends.
const WIDE: u16 = 150;
/// From this width on there is room for the response's size.
const MEDIUM: u16 = 100;
/// Of an id, where it does not fit: its time and 12 random bits, which `get` takes.
const ID_PREFIX: usize = 18;
const GAP: u16 = 1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Time,
    DateTime,
    Role,
    Method,
    Status,
    Duration,
    RequestSize,
    ResponseSize,
    Whole,
    Id,
    IdPrefix,
    From,
    To,
    Request,
}

/// The list's layout: its columns depend on the terminal's width alone.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    style: &'a Style,
    columns: &'static [Column],
}

impl<'a> Rows<'a> {
    pub(crate) fn new(style: &'a Style) -> Self {
        use Column::{
            DateTime, Duration, From, Id, IdPrefix, Method, Request, RequestSize, ResponseSize, Role, Status,
            Time, To, Whole,
        };
        let columns: &[Column] = match style.width {
            Some(..MEDIUM) => &[Time, Role, Method, Status, Duration, Whole, IdPrefix, Request],
            Some(MEDIUM..WIDE) => {
                &[Time, Role, Method, Status, Duration, ResponseSize, Whole, IdPrefix, Request]
            }
            Some(WIDE..) => &[
                DateTime,
                Role,
                Method,
                Status,
                Duration,
                RequestSize,
                ResponseSize,
                Whole,
                IdPrefix,
                From,
                To,
                Request,
            ],
            None => &[
                DateTime,
                Role,
                Method,
                Status,
                Duration,
                RequestSize,
                ResponseSize,
                Whole,
                Id,
                From,
                To,
                Request,
            ],
        };
        Self { style, columns }
    }

    pub(crate) fn header(&self) -> String {
        self.table([self.columns.iter().map(|column| column.align(column.title())).collect::<Vec<_>>()])
    }

    pub(crate) fn rows(&self, exchanges: &[Exchange]) -> String {
        if exchanges.is_empty() {
            return String::new();
        }
        self.table(exchanges.iter().map(|exchange| {
            self.columns.iter().map(|column| column.of(exchange, self.style)).collect::<Vec<_>>()
        }))
    }

    fn table(&self, rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let mut table = self.style.table();
        table.set_truncation_indicator("…");
        for cells in rows {
            let mut row = Row::from(cells);
            if self.style.width.is_some() {
                row.max_height(1);
            }
            table.add_row(row);
        }
        for (&column, cells) in self.columns.iter().zip(table.column_iter_mut()) {
            cells.set_padding((0, GAP));
            if let Some(width) = column.width() {
                let width = Width::Fixed(width + GAP);
                cells.set_constraint(match self.style.width {
                    Some(_) => ColumnConstraint::Absolute(width),
                    None => ColumnConstraint::LowerBoundary(width),
                });
            }
        }
        lines(&table)
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Time | Self::DateTime => "TIME",
            Self::Role => "ROLE",
            Self::Method => "METHOD",
            Self::Status => "CODE",
            Self::Duration => "TOOK",
            Self::RequestSize => "SENT",
            Self::ResponseSize => "RECEIVED",
            Self::Whole => "WHOLE",
            Self::Id | Self::IdPrefix => "ID",
            Self::From => "FROM",
            Self::To => "TO",
            Self::Request => "REQUEST",
        }
    }

    /// None for the last column, which takes what is left.
    fn width(self) -> Option<u16> {
        match self {
            Self::Time => Some(12),
            Self::DateTime => Some(18),
            Self::Role | Self::Status => Some(4),
            Self::Method | Self::Duration => Some(7),
            Self::RequestSize | Self::ResponseSize => Some(8),
            Self::Whole => Some(5),
            Self::Id => Some(36),
            Self::IdPrefix => Some(ID_PREFIX as u16),
            Self::From | Self::To => Some(21),
            Self::Request => None,
        }
    }

    fn align(self, text: impl ToString) -> Cell {
        match self {
            Self::Status | Self::Duration | Self::RequestSize | Self::ResponseSize => right(text),
            _ => Cell::new(text),
        }
    }

    fn of(self, exchange: &Exchange, style: &Style) -> Cell {
        let request = exchange.request.as_ref();
        let response = exchange.response.as_ref();
        let text = match self {
            Self::Time => style.time(exchange.time.as_ref(), false),
            Self::DateTime => style.time(exchange.time.as_ref(), true),
            Self::Role => role(exchange.role()).to_owned(),
            Self::Method => request.map_or_else(unknown, |request| escape::text(&request.method)),
            Self::Status => {
                let Some(response) = response else { return right("-") };
                let cell = right(response.status);
                return match response.status {
                    400..500 => cell.fg(Color::Yellow),
                    500.. => cell.fg(Color::Red),
                    _ => cell,
                };
            }
            Self::Duration => exchange.duration.as_ref().map_or_else(unknown, unit::duration),
            Self::RequestSize => size(request.is_some(), request.and_then(|request| request.body.as_ref())),
            Self::ResponseSize => {
                size(response.is_some(), response.and_then(|response| response.body.as_ref()))
            }
            Self::Whole => {
                let whole = whole(exchange);
                let cell = Cell::new(whole);
                return if whole == "yes" { cell } else { cell.fg(Color::Yellow) };
            }
            Self::Id => escape::text(&exchange.id),
            Self::IdPrefix => escape::text(&exchange.id.chars().take(ID_PREFIX).collect::<String>()),
            Self::From => exchange.source.as_ref().map_or_else(unknown, |end| escape::text(&end_name(end))),
            Self::To => {
                exchange.destination.as_ref().map_or_else(unknown, |end| escape::text(&end_name(end)))
            }
            Self::Request => request.map_or_else(unknown, |request| {
                let separator = if request.query.is_empty() { "" } else { "?" };
                escape::text(&format!("{}{}{separator}{}", request.host, request.path, request.query))
            }),
        };
        self.align(text)
    }
}

pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "-",
        Role::Inbound => "in",
        Role::Outbound => "out",
    }
}

fn unknown() -> String {
    "-".to_owned()
}

fn size(seen: bool, body: Option<&tap_proto::v1::Body>) -> String {
    if seen { unit::bytes(body.map_or(0, |body| body.size)) } else { unknown() }
}

/// Whether both messages are complete; else what is the matter with the worse one, in five letters.
fn whole(exchange: &Exchange) -> &'static str {
    let state = |completeness: Option<&Completeness>| {
        completeness.map_or(State::Missing, |completeness| completeness.state())
    };
    let request = state(exchange.request.as_ref().and_then(|request| request.completeness.as_ref()));
    let response = state(exchange.response.as_ref().and_then(|response| response.completeness.as_ref()));
    match request.max(response) {
        State::Unspecified => "-",
        State::Complete => "yes",
        State::Truncated => "trunc",
        State::Gap => "gap",
        State::JoinedMidstream => "late",
        State::Missing => "half",
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tap_proto::v1::{Body, Endpoint, Request, Response};

    use super::*;

    fn style(width: Option<u16>) -> Style {
        Style { width, colour: false, zone: TimeZone::UTC }
    }

    fn exchange(path: &str) -> Exchange {
        let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
        Exchange {
            id: "018bcfe5-6805-7abc-8def-0123456789ab".into(),
            role: Role::Inbound.into(),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            duration: Some(prost_types::Duration { seconds: 0, nanos: 1_234_567 }),
            source: Some(Endpoint { ip: "10.244.1.1".into(), port: 4_321, ..Endpoint::default() }),
            destination: Some(Endpoint {
                ip: "10.244.2.3".into(),
                port: 8_080,
                namespace: "shop".into(),
                pod: "cart-7f9-x2".into(),
                workload: "Deployment/cart".into(),
                ..Endpoint::default()
            }),
            request: Some(Request {
                method: "GET".into(),
                host: "shop".into(),
                path: path.into(),
                query: "a=1".into(),
                completeness: complete.clone(),
                ..Request::default()
            }),
            response: Some(Response {
                status: 200,
                body: Some(Body { size: 2_048, ..Body::default() }),
                completeness: complete,
                ..Response::default()
            }),
            ..Exchange::default()
        }
    }

    #[test]
    fn a_pipe_gets_everything() {
        let style = style(None);
        let rows = Rows::new(&style);
        assert_eq!(
            rows.header() + &rows.rows(&[exchange("/cart"), Exchange::default()]),
            "\
TIME               ROLE METHOD  CODE    TOOK     SENT RECEIVED WHOLE ID                                   FROM                  TO                    REQUEST
11-14 22:13:20.005 in   GET      200 1.23 ms      0 B 2.00 KiB yes   018bcfe5-6805-7abc-8def-0123456789ab 10.244.1.1:4321       shop/cart-7f9-x2      shop/cart?a=1
-                  -    -          -       -        -        - half                                       -                     -                     -
"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_one_line_each() {
        let style = style(Some(80));
        let rows = Rows::new(&style);
        assert_eq!(
            rows.header() + &rows.rows(&[exchange("/a/long/path"), exchange("/")]),
            "\
TIME         ROLE METHOD  CODE    TOOK WHOLE ID                 REQUEST
22:13:20.005 in   GET      200 1.23 ms yes   018bcfe5-6805-7abc shop/a/long/pa…
22:13:20.005 in   GET      200 1.23 ms yes   018bcfe5-6805-7abc shop/?a=1
"
        );
    }

    #[test]
    fn hostile_text_stays_in_its_cell() {
        let mut hostile = exchange("/\u{1b}[31m\r\n\u{202e}");
        hostile.request.as_mut().unwrap().method = "G\nT".into();
        for width in [None, Some(80), Some(120), Some(200)] {
            let style = style(width);
            let printed = Rows::new(&style).rows(&[hostile.clone()]);
            assert_eq!(printed.lines().count(), 1, "{printed:?}");
            assert!(!printed.trim_end().chars().any(char::is_control), "{printed:?}");
        }
    }

    #[test]
    fn the_worse_message_decides_what_is_whole() {
        let mut exchange = exchange("/");
        assert_eq!(whole(&exchange), "yes");
        exchange.request.as_mut().unwrap().completeness =
            Some(Completeness { state: State::Gap.into(), ..Completeness::default() });
        assert_eq!(whole(&exchange), "gap");
        exchange.response = None;
        assert_eq!(whole(&exchange), "half");
    }
}
