//! One rule: what it changes in the requests that meet its condition.

use std::{borrow::Cow, collections::BTreeMap};

use json_patch::Patch;
use regex::Regex;
use serde_json::Value;
use tap_expr::Condition;

use super::{Problem, dates::Shift, jwt::Signer, place, settings::RawEdit};
use crate::request::Draft;

const VARIABLE_MISSING: Problem = "variable_missing";
const NOT_JSON: Problem = "json_body_missing";
const JSON_PLACE_MISSING: Problem = "json_place_missing";
const PATCH_FAILED: Problem = "json_patch_failed";

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) when: Condition,
    pub(super) host: Option<String>,
    pub(super) path: Option<PathRewrite>,
    pub(super) headers: RawEdit,
    pub(super) query: RawEdit,
    pub(super) json_set: Vec<(Vec<String>, Value)>,
    pub(super) json_patch: Option<Patch>,
    pub(super) jwt: Option<Signer>,
}

#[derive(Debug)]
pub(super) struct PathRewrite {
    pub(super) pattern: Regex,
    pub(super) replace: String,
}

impl Rule {
    pub(super) fn apply(
        &self,
        draft: &mut Draft<'_>,
        variables: &BTreeMap<String, String>,
        shift: Option<&Shift>,
        problems: &mut Vec<Problem>,
    ) {
        let Self { when: _, host, path, headers, query, json_set, json_patch, jwt } = self;
        if let Some(host) = host {
            draft.host = Cow::Owned(host.clone().into_bytes());
        }
        if let Some(PathRewrite { pattern, replace }) = path
            && let Cow::Owned(rewritten) = pattern.replace(&draft.path, replace)
        {
            draft.path = Cow::Owned(rewritten);
        }
        edit_headers(draft, headers, variables, problems);
        edit_query(draft, query, variables, problems);
        if !json_set.is_empty() || json_patch.is_some() {
            edit_body(draft, json_set, json_patch.as_ref(), variables, problems);
        }
        if let Some(jwt) = jwt {
            jwt.apply(draft, shift, problems);
        }
    }
}

fn edit_headers(
    draft: &mut Draft<'_>,
    edit: &RawEdit,
    variables: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    let RawEdit { set, remove } = edit;
    draft.headers.retain(|(name, _)| !remove.iter().any(|removed| removed.eq_ignore_ascii_case(name)));
    for (name, template) in set {
        let Some(value) = fill(template, variables) else {
            problems.push(VARIABLE_MISSING);
            continue;
        };
        if name.eq_ignore_ascii_case("host") {
            draft.host = Cow::Owned(value.into_bytes());
            continue;
        }
        draft.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        draft.headers.push((Cow::Owned(name.clone()), Cow::Owned(value.into_bytes())));
    }
}

/// Names and values are as they stand in the query: encoded.
fn edit_query(
    draft: &mut Draft<'_>,
    edit: &RawEdit,
    variables: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    let RawEdit { set, remove } = edit;
    if set.is_empty() && remove.is_empty() {
        return;
    }
    let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
    let mut pairs: Vec<String> = draft
        .query
        .split('&')
        .filter(|pair| !pair.is_empty() && !remove.contains(&name(pair)))
        .map(str::to_owned)
        .collect();
    for (wanted, template) in set {
        let Some(value) = fill(template, variables) else {
            problems.push(VARIABLE_MISSING);
            continue;
        };
        let place = pairs.iter().position(|pair| name(pair) == *wanted).unwrap_or(pairs.len());
        pairs.retain(|pair| name(pair) != *wanted);
        pairs.insert(place.min(pairs.len()), format!("{wanted}={value}"));
    }
    draft.query = Cow::Owned(pairs.join("&"));
}

fn edit_body(
    draft: &mut Draft<'_>,
    set: &[(Vec<String>, Value)],
    patch: Option<&Patch>,
    variables: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    let Ok(mut json) = serde_json::from_slice::<Value>(&draft.body) else {
        problems.push(NOT_JSON);
        return;
    };
    for (path, value) in set {
        let value = match value {
            Value::String(template) => match fill(template, variables) {
                Some(text) => Value::String(text),
                None => {
                    problems.push(VARIABLE_MISSING);
                    continue;
                }
            },
            other => other.clone(),
        };
        if !place::set(&mut json, path, value) {
            problems.push(JSON_PLACE_MISSING);
        }
    }
    // A patch is done whole or not at all.
    if let Some(patch) = patch
        && json_patch::patch(&mut json, patch).is_err()
    {
        problems.push(PATCH_FAILED);
    }
    draft.body = Cow::Owned(json.to_string().into_bytes());
}

/// `template` with the session's values for `${name}`; nothing where there is none yet.
fn fill(template: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else { break };
        filled.push_str(&rest[..start]);
        filled.push_str(variables.get(&rest[start + 2..start + end])?);
        rest = &rest[start + end + 1..];
    }
    filled.push_str(rest);
    Some(filled)
}
