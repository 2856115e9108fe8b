//! From settings to a policy: profiles are followed to the built-in ones, everything is checked, and everything
//! that is wrong is reported together.

use std::collections::HashSet;

use super::{Allowed, Policy, header_names, rule};
use crate::{
    names::{self, Names},
    settings::{
        AllowSettings, BodySettings, ProfileSettings, RuleSettings, Settings, SettingsError, SettingsErrors,
    },
};

/// Most names of each kind beside the standard ones, of settings or a profile.
const MAX_NAMES: usize = 1000;

/// Most rules of settings or a profile.
const MAX_RULES: usize = 200;

/// Most profiles of one's own.
const MAX_PROFILES: usize = 32;

/// The built-in profiles.
const STANDARD: &str = "standard";
const STRICT: &str = "strict";

/// Checks settings without a key; reports everything that is wrong.
pub fn check(settings: &Settings) -> Result<(), SettingsErrors> {
    policy(settings, &mut 0).map(drop)
}

/// Settings or a profile of one's own, with how its settings are called: "" or "profiles.shop.".
struct Layer<'s> {
    path: String,
    rules: &'s [RuleSettings],
    headers: &'s [String],
    query: &'s [String],
    fields: &'s [String],
    allow: &'s AllowSettings,
    bodies: &'s BodySettings,
}

pub(super) fn policy(settings: &Settings, next_condition: &mut usize) -> Result<Policy, SettingsErrors> {
    let Settings { profile, profiles, rules, headers, query, fields, allow, bodies, opaque_bodies } =
        settings;
    let mut errors = Vec::new();
    let mut wrong = |setting: String, problem: String| errors.push(SettingsError { setting, problem });
    if profiles.len() > MAX_PROFILES {
        wrong("profiles".to_owned(), format!("{} profiles are more than {MAX_PROFILES}", profiles.len()));
    }
    if bodies.opaque.is_some() && opaque_bodies.is_some() {
        wrong("opaque_bodies".to_owned(), "is the former name of `bodies.opaque`; give one".to_owned());
    }
    let own = Layer { path: String::new(), rules, headers, query, fields, allow, bodies };
    let (used, is_strict) = layers(settings, profile.as_deref(), own, &mut wrong);
    // Those that are not in use are checked too: a typing error must not wait until somebody uses them.
    for (name, profile) in profiles {
        let path = format!("profiles.{name}.");
        if matches!(name.as_str(), STANDARD | STRICT) || !is_profile_name(name) {
            wrong(
                format!("profiles.{name}"),
                "a profile's name is 1 to 64 letters, digits, `_` and `-`, and none of the built-in ones"
                    .to_owned(),
            );
        }
        if !used.iter().any(|layer| layer.path == path) {
            let mut unused_conditions = 0;
            compile(&[layer(path, profile)], false, &mut unused_conditions, &mut wrong);
            layers(settings, Some(name), empty(), &mut wrong);
        }
    }
    let policy = compile(&used, is_strict, next_condition, &mut wrong);
    if !errors.is_empty() {
        // A chain that is wrong is found again from each profile that leads into it.
        let mut seen = HashSet::new();
        errors.retain(|error| seen.insert(error.to_string()));
        return Err(SettingsErrors(errors));
    }
    let opaque = used.iter().find_map(|layer| layer.bodies.opaque).or(*opaque_bodies).unwrap_or_default();
    Ok(Policy { opaque, ..policy })
}

/// The settings, and the profiles from the one they name to a built-in one; whether that is `strict`.
fn layers<'s>(
    settings: &'s Settings,
    profile: Option<&'s str>,
    own: Layer<'s>,
    wrong: &mut impl FnMut(String, String),
) -> (Vec<Layer<'s>>, bool) {
    let mut layers = vec![own];
    let mut name = profile.unwrap_or(STANDARD);
    let mut setting = "profile".to_owned();
    loop {
        match (name, settings.profiles.get(name)) {
            (STANDARD, _) => return (layers, false),
            (STRICT, _) => return (layers, true),
            (_, None) => {
                wrong(
                    setting,
                    format!("there is no profile {name:?}: standard, strict, or one of `profiles`"),
                );
                return (layers, true);
            }
            (_, Some(profile)) => {
                let path = format!("profiles.{name}.");
                if layers.iter().any(|layer| layer.path == path) {
                    wrong(setting, format!("{name:?} extends itself"));
                    return (layers, true);
                }
                setting = format!("{path}extends");
                layers.push(layer(path, profile));
                name = profile.extends.as_deref().unwrap_or(STANDARD);
            }
        }
    }
}

fn layer(path: String, profile: &ProfileSettings) -> Layer<'_> {
    let ProfileSettings { extends: _, rules, headers, query, fields, allow, bodies } = profile;
    Layer { path, rules, headers, query, fields, allow, bodies }
}

fn empty<'s>() -> Layer<'s> {
    const ALLOW: &AllowSettings =
        &AllowSettings { headers: Vec::new(), query: Vec::new(), fields: Vec::new() };
    const BODIES: &BodySettings = &BodySettings { opaque: None, truncated: None, files: None };
    Layer {
        path: String::new(),
        rules: &[],
        headers: &[],
        query: &[],
        fields: &[],
        allow: ALLOW,
        bodies: BODIES,
    }
}

/// Everything of the layers together. The bodies' first setting counts.
fn compile(
    layers: &[Layer<'_>],
    is_strict: bool,
    next_condition: &mut usize,
    wrong: &mut impl FnMut(String, String),
) -> Policy {
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    let mut headers: HashSet<String> = header_names::SECRET.iter().map(|name| (*name).to_owned()).collect();
    let mut allowed = Allowed { headers: HashSet::new(), query: HashSet::new(), fields: HashSet::new() };
    for Layer { path, rules, headers: more, query, fields, allow, bodies: _ } in layers {
        let names = [
            ("headers", *more),
            ("query", *query),
            ("fields", *fields),
            ("allow.headers", &allow.headers[..]),
            ("allow.query", &allow.query[..]),
            ("allow.fields", &allow.fields[..]),
        ];
        for (setting, names) in names {
            check_names(&format!("{path}{setting}"), setting.ends_with("headers"), names, wrong);
        }
        headers.extend(more.iter().map(|name| name.to_ascii_lowercase()));
        allowed.headers.extend(allow.headers.iter().map(|name| name.to_ascii_lowercase()));
        allowed.query.extend(allow.query.iter().map(|name| rule::comparable(name.as_bytes()).into()));
        allowed.fields.extend(allow.fields.iter().map(|name| rule::comparable(name.as_bytes()).into()));
        if rules.len() > MAX_RULES {
            wrong(format!("{path}rules"), format!("{} rules are more than {MAX_RULES}", rules.len()));
        }
        for (index, settings) in rules.iter().enumerate() {
            let profile = path.strip_prefix("profiles.");
            let default_name = format!("{}rule-{}", profile.unwrap_or_default(), index + 1);
            let rule = rule::Rule::new(settings, default_name, next_condition, |field, problem| {
                wrong(format!("{path}rules[{index}].{field}"), problem);
            });
            match rule {
                Some(rule) if rule.is_about_part() => parts.push(rule),
                Some(rule) => whole.push(rule),
                None => {}
            }
        }
    }
    let all = |of: fn(&Layer<'_>) -> Vec<String>| layers.iter().flat_map(of).collect::<Vec<_>>();
    let (query, fields) = (all(|layer| layer.query.to_vec()), all(|layer| layer.fields.to_vec()));
    Policy {
        whole,
        parts,
        by_name: true,
        headers,
        query: Names::standard_and(query.iter().map(String::as_str)),
        fields: Names::standard_and(fields.iter().map(String::as_str)),
        allowed: is_strict.then_some(allowed),
        opaque: layers.iter().find_map(|layer| layer.bodies.opaque).unwrap_or_default(),
        truncated: layers.iter().find_map(|layer| layer.bodies.truncated).unwrap_or_default(),
        files: layers.iter().find_map(|layer| layer.bodies.files).unwrap_or_default(),
    }
}

fn check_names(setting: &str, of_headers: bool, names: &[String], wrong: &mut impl FnMut(String, String)) {
    if names.len() > MAX_NAMES {
        wrong(setting.to_owned(), format!("{} names are more than {MAX_NAMES}", names.len()));
    }
    for (index, name) in names.iter().enumerate() {
        if of_headers && !rule::is_header_name(name) {
            wrong(format!("{setting}[{index}]"), format!("{name:?} is not a header's name"));
        } else if !names::is_comparable(name) {
            wrong(format!("{setting}[{index}]"), format!("{name:?} has no letter or digit to compare"));
        }
    }
}

fn is_profile_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
