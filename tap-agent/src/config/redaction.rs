//! How exchanges are redacted: the settings, the keys, and what is made of them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tap_redact::{Key, Keyring, MIN_KEY_BYTES, Redactor, SettingsErrors};
use tracing::warn;

use super::{ConfigErrors, RedactionSettings};

/// How exchanges are redacted. What it shows of itself holds no key.
#[derive(Clone)]
pub struct Redaction {
    pub settings: tap_redact::Settings,
    pub key_file: Option<PathBuf>,
    pub redactor: Arc<Redactor>,
    keys: Keyring,
}

impl Redaction {
    /// Checks settings. Without a file of keys, those of `before` go on, if there was something before.
    pub fn new(settings: RedactionSettings, before: Option<&Self>) -> Result<Self, ConfigErrors> {
        let (key_file, settings) = settings.into_parts();
        let mut errors = Vec::new();
        let keys = match (&key_file, before) {
            (Some(path), _) => read_keys(path),
            (None, Some(Self { key_file: None, keys, .. })) => Ok(keys.clone()),
            (None, _) => Key::new(&rand::random::<[u8; 32]>()).map(Keyring::from).map_err(|e| e.to_string()),
        };
        let keys = keys.map_err(|problem| errors.push(format!("redaction.key_file: {problem}"))).ok();
        // With any key: what is wrong with the rules is told beside what is wrong with the key.
        let any_keys = || Key::new(&[0; MIN_KEY_BYTES]).map(Keyring::from).ok();
        let redactor = keys.clone().or_else(any_keys).map(|keys| Redactor::new(&settings, keys));
        if let Some(Err(SettingsErrors(problems))) = &redactor {
            errors.extend(problems.iter().map(|problem| format!("redaction.{problem}")));
        }
        match (redactor, keys) {
            (Some(Ok(redactor)), Some(keys)) if errors.is_empty() => {
                Ok(Self { settings, key_file, redactor: Arc::new(redactor), keys })
            }
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// A redactor that gives each value the strictest of what these settings and its own ask for.
    pub fn stricter<'a>(
        &self,
        others: impl Iterator<Item = &'a tap_redact::Settings>,
    ) -> Result<Arc<Redactor>, SettingsErrors> {
        let mut all = vec![&self.settings];
        for other in others {
            all.push(other);
        }
        Redactor::strictest(&all, self.keys.clone()).map(Arc::new)
    }

    /// Logs what whoever runs this should know of.
    pub fn announce(&self) {
        if self.key_file.is_none() {
            warn!(
                "redaction has no key_file: the key is random, and equal values get other tokens after a restart and on other nodes"
            );
        }
        announce_keeps(&self.redactor, "of this agent");
    }
}

/// Logs the rules that let something pass.
pub fn announce_keeps(redactor: &Redactor, whose: &str) {
    let rules: Vec<&str> = redactor.keep_rules().collect();
    if !rules.is_empty() {
        warn!(?rules, "redaction rules {whose} let values pass as they are (action keep)");
    }
}

fn read_keys(path: &Path) -> Result<Keyring, String> {
    fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|content| Keyring::parse(&content).map_err(|error| error.to_string()))
        .map_err(|problem| format!("{}: {problem}", path.display()))
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, key_file, redactor: _, keys: _ } = self;
        f.debug_struct("Redaction").field("settings", settings).field("key_file", key_file).finish()
    }
}
