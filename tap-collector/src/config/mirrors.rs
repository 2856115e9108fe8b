//! The mirrors of the settings, checked as they will run.

use std::collections::HashSet;

use tap_replay::mirror::{Rules, Settings};

use super::{ConfigError, Errors};

/// More belong into TapPolicies; each has a queue and connections of its own.
const MAX_MIRRORS: usize = 16;

pub(super) fn check(mirrors: &[Settings], errors: &mut Errors) {
    let mut add = |name: &str, reason: String| {
        errors.0.push(ConfigError::Value { setting: "mirrors", value: name.to_owned(), reason });
    };
    if mirrors.len() > MAX_MIRRORS {
        add("", format!("{} mirrors; {MAX_MIRRORS} are allowed", mirrors.len()));
    }
    let mut names = HashSet::new();
    for mirror in mirrors {
        let name = mirror.name();
        if !names.insert(name) {
            add(name, "another one has the same name".to_owned());
        }
        if mirror.name.contains('/') {
            add(name, "name: a name with a slash is one of a TapPolicy's mirror".to_owned());
        }
        if let Err(problems) = Rules::new(mirror, None, "check") {
            problems.into_iter().for_each(|problem| add(name, problem.to_string()));
        }
    }
}
