//! `tapctl mirror`: what mirrors send, and what becomes of it.

use std::io::Write;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use tap_proto::v1::{ListMirrorsRequest, Mirror, WatchMirrorRequest};

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::explain,
    render::{Style, escape, json, mirror},
};

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Mirror) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Mirror { name, watch } = arguments;
    if let (Some(name), true) = (&name, watch) {
        let request = WatchMirrorRequest { name: name.clone() };
        let updates = collector.mirrors().watch_mirror(request).await;
        let mut updates = updates.map_err(|status| explain(&status, ""))?.into_inner();
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                _ = &mut interrupted => return Ok(Verdict::Good),
                update = updates.next() => match update {
                    Some(Ok(mirror)) => {
                        show(out, output, &mirror, &style)?;
                        out.flush()?;
                    }
                    Some(Err(status)) => return Err(explain(&status, "")),
                    None => {
                        eprintln!("the mirror was taken away or changed, or the collector ends");
                        return Ok(Verdict::Good);
                    }
                },
            }
        }
    }
    let request = collector.request(ListMirrorsRequest {});
    let answer = collector.mirrors().list_mirrors(request).await;
    let mut list = answer.map_err(|status| explain(&status, ""))?.into_inner();
    if let Some(name) = &name {
        list.mirrors.retain(|mirror| mirror.name == *name);
        let Some(mirror) = list.mirrors.first() else {
            bail!("there is no mirror {} in this collector; `tapctl mirror` lists them", escape::text(name));
        };
        show(out, output, mirror, &style)?;
        return Ok(Verdict::Good);
    }
    match output {
        Output::Table if list.mirrors.is_empty() => eprintln!("this collector has no mirrors"),
        Output::Table => out.write_all(mirror::table(&list.mirrors, &style).as_bytes())?,
        Output::Json => out.write_all(json::pretty(&list)?.as_bytes())?,
        Output::Jsonl => {
            for mirror in &list.mirrors {
                out.write_all(json::line(mirror)?.as_bytes())?;
            }
        }
    }
    Ok(Verdict::Good)
}

fn show(out: &mut impl Write, output: Output, mirror: &Mirror, style: &Style) -> Result<()> {
    match output {
        Output::Table => out.write_all(mirror::render(mirror, style).as_bytes())?,
        Output::Json => out.write_all(json::pretty(mirror)?.as_bytes())?,
        Output::Jsonl => out.write_all(json::line(mirror)?.as_bytes())?,
    }
    Ok(())
}
