//! `tapctl export`: stored exchanges in other tools' formats, page by page.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use tap_formats::{Fit, Fits, curl, gor, har, jsonl, pcap};
use tap_proto::v1::{Exchange, Order, SearchRequest, SearchResponse};
use tap_store::parquet;

use super::{Session, Verdict, WrongUsage};
use crate::{
    cli::{self, ExportFormat},
    connect::explain,
    render::unit,
};

/// The protocol's largest page.
const MAX_PAGE: u64 = 1_000;

/// What writes a format.
enum Writer<W: Write> {
    Har(har::Writer<W>),
    Jsonl(W),
    Gor(gor::Writer<W>),
    Curl(curl::Writer<W>),
    Pcapng(Box<pcap::Writer<W>>),
    Parquet(Box<parquet::Writer>, W),
}

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Export) -> Result<Verdict> {
    let Session { collector, output: _, style: _, out } = session;
    let cli::Export { selection, range, format, write, limit, strict } = arguments;
    let to_stdout = write.as_os_str() == "-";
    if to_stdout && format.is_binary() && io::stdout().is_terminal() {
        return Err(WrongUsage(
            "the format is not for a terminal: give --write FILE, or redirect".to_owned(),
        ))?;
    }
    let now = Timestamp::now();
    let remaining = if limit == 0 { u64::MAX } else { limit };
    let search = SearchRequest {
        filter: selection.condition(),
        start_time: range.since.map(|since| since.resolve(now)),
        // With a fixed end, an export of a live capture comes to one.
        end_time: Some(range.until.unwrap_or(cli::Moment::At(now)).resolve(now)),
        order: Order::OldestFirst.into(),
        page_size: remaining.min(MAX_PAGE) as u32,
        ..SearchRequest::default()
    };
    let filter = search.filter.clone();
    let pages = collector.pages(search);
    let mut sink: Box<dyn Write + '_> = if to_stdout {
        Box::new(out)
    } else {
        // Captures are nobody else's on this machine.
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&write);
        Box::new(file.with_context(|| format!("open {}", write.display()))?)
    };
    let mut writer = Writer::new(format, BufWriter::new(&mut sink))?;
    let fits = copy(pages, &mut writer, remaining, &filter).await?;
    writer.finish()?;
    tell(&fits);
    Ok(if strict && !fits.is_whole() { Verdict::Bad } else { Verdict::Good })
}

async fn copy<W: Write>(
    pages: impl futures::Stream<Item = Result<SearchResponse, tonic::Status>>,
    writer: &mut Writer<W>,
    mut remaining: u64,
    filter: &str,
) -> Result<Fits> {
    let mut fits = Fits::default();
    pin_mut!(pages);
    while remaining > 0
        && let Some(page) = pages.next().await
    {
        for exchange in page.map_err(|status| explain(&status, filter))?.exchanges {
            if remaining == 0 {
                break;
            }
            remaining -= 1;
            fits.count(writer.write(exchange)?);
        }
    }
    Ok(fits)
}

/// How much the file has of what was asked for.
fn tell(fits: &Fits) {
    let mut told = format!("{} exchanges written", unit::count(fits.written()));
    for (unfit, count) in &fits.partly {
        told += &format!("; {} of them not whole: {}", unit::count(*count), unfit.as_str());
    }
    for (unfit, count) in &fits.not {
        told += &format!("; {} left out: {}", unit::count(*count), unfit.as_str());
    }
    eprintln!("{told}");
}

impl<W: Write> Writer<W> {
    fn new(format: ExportFormat, out: W) -> Result<Self> {
        Ok(match format {
            ExportFormat::Har => Self::Har(har::Writer::new(out)),
            ExportFormat::Jsonl => Self::Jsonl(out),
            ExportFormat::Gor => Self::Gor(gor::Writer::new(out)),
            ExportFormat::Curl => Self::Curl(curl::Writer::new(out)),
            ExportFormat::Pcapng => Self::Pcapng(Box::new(pcap::Writer::new(out))),
            ExportFormat::Parquet => {
                let writer = parquet::Writer::new().map_err(anyhow::Error::from_boxed);
                Self::Parquet(Box::new(writer.context("begin the file")?), out)
            }
        })
    }

    fn write(&mut self, exchange: Exchange) -> Result<Fit> {
        let fit = match self {
            Self::Har(writer) => writer.write(&exchange),
            Self::Gor(writer) => writer.write(&exchange),
            Self::Curl(writer) => writer.write(&exchange),
            Self::Pcapng(writer) => writer.write(&exchange),
            Self::Jsonl(out) => out.write_all(jsonl::line(&exchange)?.as_bytes()).map(|()| Fit::Whole),
            Self::Parquet(writer, out) => {
                let bytes = writer.write(exchange).map_err(anyhow::Error::from_boxed).context("encode")?;
                out.write_all(&bytes).map(|()| Fit::Whole)
            }
        };
        fit.context("write")
    }

    fn finish(self) -> Result<()> {
        let out = match self {
            Self::Har(writer) => writer.finish(),
            Self::Gor(writer) => writer.finish(),
            Self::Curl(writer) => writer.finish(),
            Self::Pcapng(writer) => writer.finish(),
            Self::Jsonl(out) => Ok(out),
            Self::Parquet(writer, mut out) => {
                let bytes = writer.finish().map_err(anyhow::Error::from_boxed).context("encode")?;
                out.write_all(&bytes).map(|()| out)
            }
        };
        out.and_then(|mut out| out.flush()).context("write")
    }
}
