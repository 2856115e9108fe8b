//! Redaction's settings while the agent runs: a change of the file, or of the keys', takes effect without a restart.
//!
//! The files are looked at by time, not by events: a ConfigMap or Secret is swapped by links, which editors and mounts do
//! in as many ways as there are. What is not valid is logged with everything that is wrong, and what was valid stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{sync::watch, task, time::interval};
use tracing::{info, warn};

use crate::config::{Redaction, RedactionSettings, Settings};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Where redaction's settings come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The settings file; `None` where there is nothing to look at.
    pub file: Option<PathBuf>,
    /// Given as a flag, which wins over the file.
    pub key_file: Option<PathBuf>,
}

/// Follows the files until nobody listens.
pub async fn follow(source: Source, redaction_tx: watch::Sender<Redaction>) {
    let Some(file) = source.file.clone() else { return redaction_tx.closed().await };
    let mut seen = None;
    let mut ticks = interval(EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = redaction_tx.closed() => return,
        }
        let (file, source, current) = (file.clone(), source.clone(), redaction_tx.borrow().clone());
        let known = seen;
        let look = task::spawn_blocking(move || look(&file, &source, &current, known));
        let Ok((now, outcome)) = look.await else { continue };
        seen = Some(now);
        match outcome {
            Outcome::Same => {}
            Outcome::Changed(redaction) => {
                info!(settings = ?redaction.settings, "redaction has changed; it holds from now on");
                redaction.announce();
                redaction_tx.send_replace(*redaction);
            }
            Outcome::Invalid(problem) => {
                warn!("redaction has not changed, as its new settings are not valid: {problem}");
            }
        }
    }
}

/// What a look at the files gave.
#[derive(Debug)]
enum Outcome {
    Same,
    Changed(Box<Redaction>),
    Invalid(String),
}

/// Tells one state of the files from every other.
type Seen = [u8; 32];

/// Reads the files, and checks them if they are not what was seen before.
fn look(file: &Path, source: &Source, current: &Redaction, known: Option<Seen>) -> (Seen, Outcome) {
    let text = fs::read(file);
    let settings = text.as_deref().map_err(ToString::to_string).and_then(|text| redaction(text, source));
    let key_file = settings.as_ref().ok().and_then(|settings| settings.key_file.as_deref());
    let keys = key_file.map(fs::read);
    let now = seen(&text, keys.as_ref());
    let outcome = match settings {
        _ if known == Some(now) => Outcome::Same,
        Err(problem) => Outcome::Invalid(format!("{}: {problem}", file.display())),
        Ok(settings) => match Redaction::new(settings, Some(current)) {
            // The first look may find what the agent began with, and then there is nothing to tell.
            Ok(new) if known.is_none() && new.settings == current.settings => Outcome::Same,
            Ok(new) => Outcome::Changed(Box::new(new)),
            Err(problems) => Outcome::Invalid(problems.to_string()),
        },
    };
    (now, outcome)
}

/// The section of a settings file, with the flag over it.
fn redaction(text: &[u8], source: &Source) -> Result<RedactionSettings, String> {
    let settings: Option<Settings> = serde_yaml_ng::from_slice(text).map_err(|error| error.to_string())?;
    let mut redaction = settings.unwrap_or_default().redaction;
    if let Some(key_file) = &source.key_file {
        redaction.key_file = Some(key_file.clone());
    }
    Ok(redaction)
}

fn seen(text: &io::Result<Vec<u8>>, keys: Option<&io::Result<Vec<u8>>>) -> Seen {
    let mut hash = Sha256::new();
    for part in [Some(text), keys].into_iter().flatten() {
        let content = part.as_deref().unwrap_or(b"(unreadable)");
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_valid_change_takes_effect_and_an_invalid_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.yaml");
        let write = |redaction: &str| fs::write(&file, format!("redaction: {redaction}\n")).unwrap();
        write("{}");
        let first = Redaction::new(RedactionSettings::default(), None).unwrap();
        let (redaction_tx, mut redaction_rx) = watch::channel(first);
        let source = Source { file: Some(file.clone()), key_file: None };
        let following = tokio::spawn(follow(source.clone(), redaction_tx));

        write("{fields: [nick]}");
        redaction_rx.changed().await.unwrap();
        assert_eq!(redaction_rx.borrow_and_update().settings.fields, ["nick"]);

        let (seen, outcome) = {
            write("{rules: [{when: 'request.', field: x}], feilds: []}");
            look(&file, &source, &redaction_rx.borrow(), None)
        };
        assert!(matches!(outcome, Outcome::Invalid(_)), "{outcome:?}");
        let (_, again) = look(&file, &source, &redaction_rx.borrow(), Some(seen));
        assert!(matches!(again, Outcome::Same), "told once: {again:?}");

        write("{fields: [nick, alias]}");
        redaction_rx.changed().await.unwrap();
        assert_eq!(redaction_rx.borrow_and_update().settings.fields, ["nick", "alias"]);
        drop(redaction_rx);
        following.await.unwrap();
    }

    #[test]
    fn a_new_key_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let (file, key_file) = (directory.path().join("agent.yaml"), directory.path().join("key"));
        fs::write(&file, format!("redaction: {{key_file: {}}}", key_file.display())).unwrap();
        fs::write(&key_file, "the first key of the test").unwrap();
        let source = Source { file: Some(file.clone()), key_file: None };
        let settings = redaction(&fs::read(&file).unwrap(), &source).unwrap();
        let current = Redaction::new(settings, None).unwrap();
        let (first, outcome) = look(&file, &source, &current, None);
        assert!(matches!(outcome, Outcome::Same), "{outcome:?}");
        fs::write(&key_file, "the second key of the test").unwrap();
        let (_, outcome) = look(&file, &source, &current, Some(first));
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
}
