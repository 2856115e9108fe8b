//! `tapctl redact`: what redaction would do to the HTTP in a file, and why. Nothing leaves the machine.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use tap_flow::Exchange;
use tap_redact::{Key, Keyring, Redactor, Settings};

use super::{Verdict, WrongUsage};
use crate::{
    cli::{self, Output},
    input::{self, Input},
    render::{
        Style,
        redactions::{Effect, Effects, changes},
    },
};

pub(super) fn run(
    arguments: cli::Redact,
    output: Output,
    style: &Style,
    out: &mut impl Write,
) -> Result<Verdict> {
    let cli::Redact { file, profile, rules, key_file, show_values, write } = arguments;
    let redactor = redactor(profile, rules.as_deref(), key_file.as_deref())?;
    let input = input::read(&read(&file)?).with_context(|| file.display().to_string())?;
    if let Some(destination) = write {
        let Input::Document(document) = &input else {
            return Err(WrongUsage(format!(
                "--write: {} is HTTP; only JSON can be written",
                file.display()
            )))?;
        };
        let redacted = rewritten(&redactor, document)?;
        if destination.as_os_str() == "-" {
            out.write_all(&redacted)?;
            return Ok(Verdict::Good);
        }
        fs::write(&destination, &redacted).with_context(|| format!("write {}", destination.display()))?;
    }
    let exchanges = input.exchanges();
    let mut effects = Effects::default();
    let mut shown = String::new();
    for (name, exchange) in &exchanges {
        let redacted = redactor.redact(Exchange::clone(exchange));
        for redaction in redacted.redactions() {
            effects.push(Effect::of(name, redaction));
        }
        if show_values {
            shown.push_str(&changes(name, exchange, redacted.get()));
        }
    }
    match output {
        Output::Table => {
            out.write_all(effects.table(style, "EXCHANGE").as_bytes())?;
            out.write_all(shown.as_bytes())?;
            let count = exchanges.len();
            eprintln!(
                "{} of {count} {}",
                effects.sum("replaced or dropped"),
                if count == 1 { "exchange" } else { "exchanges" }
            );
        }
        Output::Json => out.write_all(effects.json()?.as_bytes())?,
        Output::Jsonl => out.write_all(effects.jsonl()?.as_bytes())?,
    }
    Ok(Verdict::Good)
}

/// The document as redaction leaves it.
fn rewritten(redactor: &Redactor, document: &Exchange) -> Result<Vec<u8>> {
    let redacted = redactor.redact(document.clone());
    let body = redacted.get().request.as_ref().map(|request| &request.body);
    let before = document.request.as_ref().map_or(0, |request| request.body.content.len());
    match body {
        Some(body) if !body.content.is_empty() || before == 0 => Ok(body.content.to_vec()),
        _ => {
            let reasons: Vec<_> = redacted
                .redactions()
                .iter()
                .filter(|redaction| redaction.rule.starts_with("body."))
                .map(|redaction| redaction.rule.as_str())
                .collect();
            bail!("--write: redaction drops the document as a whole ({})", reasons.join(", "))
        }
    }
}

/// With the file's settings, if there is one, and the profile, which wins over the file's.
pub(super) fn redactor(
    profile: Option<String>,
    rules: Option<&Path>,
    key_file: Option<&Path>,
) -> Result<Redactor> {
    let mut settings = match rules {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            settings(&text).map_err(|problem| WrongUsage(format!("{}: {problem}", path.display())))?
        }
        None => Settings::default(),
    };
    if profile.is_some() {
        settings.profile = profile;
    }
    let keys = match key_file {
        Some(path) => {
            let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            Keyring::parse(&content).map_err(|error| WrongUsage(format!("{}: {error}", path.display())))?
        }
        None => Keyring::from(Key::new(&rand::random::<[u8; 32]>()).context("make a key")?),
    };
    let redactor = Redactor::new(&settings, keys);
    Ok(redactor.map_err(|errors| WrongUsage(errors.to_string()))?)
}

/// The settings of a file: by themselves, or under `redaction:` as in the agent's file.
fn settings(text: &str) -> Result<Settings, String> {
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    match value.get("redaction") {
        // Of the agent's file, these are not about what is redacted.
        Some(section) => {
            let mut section = section.clone();
            if let Some(mapping) = section.as_mapping_mut() {
                mapping.remove("key_file");
            }
            serde_yaml_ng::from_value(section).map_err(|error| format!("redaction: {error}"))
        }
        // Once more from the text: errors then have positions.
        None if value.is_null() => Ok(Settings::default()),
        None => serde_yaml_ng::from_str(text).map_err(|error| error.to_string()),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut content = Vec::new();
        io::stdin().read_to_end(&mut content).context("read standard input")?;
        return Ok(content);
    }
    fs::read(file).with_context(|| format!("read {}", file.display()))
}
