//! `tapctl tail`: the exchanges that match, as they are stored.
//!
//! A collector that goes away is waited for: the stream continues after the last answer that was printed, so
//! that nothing is skipped and nothing shown twice.

use std::io::Write;

use anyhow::Result;
use futures::{Stream, StreamExt as _};
use tap_proto::v1::{Exchange, TailRequest, TailResponse};
use tonic::Status;

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::{RETRY, explain, has_gone},
    render::{json, rows::Rows},
};

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Tail) -> Result<Verdict> {
    let cli::Tail { selection, limit } = arguments;
    let mut remaining = if limit == 0 { u64::MAX } else { limit };
    let Session { collector, output, style, out } = session;
    let rows = Rows::new(&style);
    let mut request = TailRequest {
        filter: selection.condition(),
        resume_token: String::new(),
        summary: output == Output::Table,
    };
    if output == Output::Table {
        out.write_all(rows.header().as_bytes())?;
        out.flush()?;
    }
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut was_connected = false;
    let mut told = false;
    loop {
        let ended = match collector.captures().tail(request.clone()).await {
            Ok(stream) => {
                if told {
                    eprintln!("the collector is back");
                }
                (was_connected, told) = (true, false);
                let mut stream = stream.into_inner();
                loop {
                    tokio::select! {
                        _ = &mut interrupted => return Ok(Verdict::Good),
                        answer = next(&mut stream) => match answer {
                            Err(status) => break status,
                            Ok(TailResponse { mut exchanges, resume_token }) => {
                                exchanges.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
                                remaining -= exchanges.len() as u64;
                                print(out, output, &rows, &exchanges)?;
                                request.resume_token = resume_token;
                                if remaining == 0 {
                                    return Ok(Verdict::Good);
                                }
                            }
                        },
                    }
                }
            }
            Err(status) => status,
        };
        if !(was_connected && has_gone(&ended)) {
            return Err(explain(&ended, &request.filter));
        }
        if !told {
            eprintln!("the collector has gone; waiting for it");
            told = true;
        }
        tokio::select! {
            _ = &mut interrupted => return Ok(Verdict::Good),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// The next answer; the end of a stream that has none is an error like a broken connection.
async fn next(
    stream: &mut (impl Stream<Item = Result<TailResponse, Status>> + Unpin),
) -> Result<TailResponse, Status> {
    stream.next().await.unwrap_or_else(|| Err(Status::unavailable("the stream ended")))
}

fn print(out: &mut impl Write, output: Output, rows: &Rows<'_>, exchanges: &[Exchange]) -> Result<()> {
    match output {
        Output::Table => out.write_all(rows.rows(exchanges).as_bytes())?,
        // A stream has no end at which one document could be closed: one object a line either way.
        Output::Json | Output::Jsonl => {
            for exchange in exchanges {
                out.write_all(json::line(exchange)?.as_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
