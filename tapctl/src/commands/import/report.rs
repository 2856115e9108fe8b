//! What an import tells of a file.

use std::path::Path;

use serde_json::{Map, Value, json};
use tap_formats::pcap::Summary;

use super::{account::Account, sending::Sent};
use crate::{
    cli::ImportFormat,
    render::{escape, unit},
};

/// One file's import.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    pub(super) format: ImportFormat,
    pub(super) agent: &'a str,
    pub(super) read: &'a Account,
    pub(super) sent: &'a Sent,
    pub(super) dry_run: bool,
}

impl Report<'_> {
    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { file, format, agent, read, sent, dry_run } = *self;
        let file = escape::text(&file.display().to_string());
        let mut text = format!("{file}: {} as {agent}\n", format.as_str());
        if let Some(packets) = &read.packets {
            text += &self::packets(packets);
        }
        text += &format!("  exchanges    {} read", unit::count(read.read.exchanges));
        if dry_run {
            text += &format!(", {} would be stored", unit::count(read.batched.exchanges));
        } else {
            text += &format!(", {} stored", unit::count(sent.stored.exchanges));
            if sent.before.exchanges > 0 {
                text += &format!(" ({} before)", unit::count(sent.before.exchanges));
            }
        }
        for ((_, reason), lost) in read.losses.iter().filter(|(_, lost)| lost.exchanges > 0) {
            text += &format!("; {} lost: {reason}", unit::count(lost.exchanges));
        }
        text + "\n"
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Self { file, format: _, agent, read, sent, dry_run } = *self;
        let losses: Vec<_> = read
            .losses
            .iter()
            .map(|((stage, reason), lost)| {
                json!({"stage": stage.as_str(), "reason": reason, "exchanges": lost.exchanges, "bytes": lost.bytes})
            })
            .collect();
        let mut report = json!({
            "file": file.display().to_string(),
            "agent": agent,
            "dryRun": dry_run,
            "read": read.read.exchanges,
            "stored": sent.stored.exchanges,
            "storedBefore": sent.before.exchanges,
            "losses": losses,
        });
        if let (Some(packets), Some(report)) = (&read.packets, report.as_object_mut()) {
            report.insert("packets".to_owned(), packets_json(packets));
        }
        report
    }
}

fn packets(summary: &Summary) -> String {
    let flow = &summary.flow;
    let mut text = format!(
        "  packets      {}: {} TCP segments",
        unit::count(summary.packets),
        unit::count(summary.segments)
    );
    for (reason, packets) in summary.others().into_iter().filter(|(_, packets)| *packets > 0) {
        text += &format!(", {reason} {}", unit::count(packets));
    }
    if summary.ends_early {
        text += "; the file ends within a packet";
    }
    text += &format!(
        "\n  payload      {}: {} in exchanges",
        unit::bytes(flow.bytes_in),
        unit::bytes(flow.bytes_in_exchanges)
    );
    for (reason, bytes) in summary.lost_bytes().filter(|(_, bytes)| *bytes > 0) {
        text += &format!(", {reason} {}", unit::bytes(bytes));
    }
    if flow.gaps > 0 || summary.cut_segments > 0 {
        text += &format!(
            "\n  not in the file  {} in {} gaps; {} segments cut by {}",
            unit::bytes(flow.gap_bytes),
            unit::count(flow.gaps),
            unit::count(summary.cut_segments),
            unit::bytes(summary.cut_bytes)
        );
    }
    text += &format!("\n  connections  {}", unit::count(flow.flows));
    for (protocol, flows) in [
        ("TLS", flow.flows_tls),
        ("HTTP/2", flow.flows_http2),
        ("other protocols", flow.flows_other),
        ("given up for room", flow.flows_evicted),
    ] {
        if flows > 0 {
            text += &format!(", {} {protocol}", unit::count(flows));
        }
    }
    text + "\n"
}

fn packets_json(summary: &Summary) -> Value {
    let flow = &summary.flow;
    let others: Map<String, Value> =
        summary.others().into_iter().map(|(reason, packets)| (reason.to_owned(), packets.into())).collect();
    json!({
        "packets": summary.packets,
        "segments": summary.segments,
        "others": others,
        "cutSegments": summary.cut_segments,
        "cutBytes": summary.cut_bytes,
        "endsEarly": summary.ends_early,
        "payloadBytes": flow.bytes_in,
        "bytesInExchanges": flow.bytes_in_exchanges,
        "gaps": flow.gaps,
        "gapBytes": flow.gap_bytes,
        "connections": flow.flows,
        "tls": flow.flows_tls,
        "http2": flow.flows_http2,
        "otherProtocols": flow.flows_other,
    })
}
