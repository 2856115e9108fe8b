//! Which recordings a request matches, and which one is nearest where it matches none.
//!
//! In this order, the earlier decides: host, path (the recorded one before its template), query (the same order
//! before another), headers, body (equal before subset before signature before unknown).

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{Digest, Group, Index, Variant};
use crate::mock::{
    body::{Difference, What},
    mask::Mask,
    path,
    request::{Asked, Recorded, Selected},
    settings::{BodyMatch, QueryMatch},
};

/// Bodies that are compared field by field for one request. Equal ones are found by their hash, without this.
const MAX_COMPARED: usize = 256;
/// Recorded paths of one template that are looked at for one request.
const MAX_TEMPLATE_GROUPS: usize = 512;
/// Recorded requests of which the nearest is chosen.
const MAX_NEAREST: usize = 64;
/// Recorded paths among which one like the asked is looked for.
const MAX_LIKENESS: usize = 10_000;
/// Places that a miss names.
const MAX_DIFFERENCES: usize = 32;

/// What a body has in common with the recorded one; the later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mock) enum BodyLevel {
    Ignored,
    Unknown,
    Signature,
    Subset,
    Equal,
}

/// The recordings that a request matches equally well.
#[derive(Debug)]
pub(in crate::mock) struct Candidates<'i> {
    /// In order of time; not empty.
    pub(in crate::mock) recordings: Cow<'i, [u32]>,
    /// Of what was recorded, the same in each run.
    pub(in crate::mock) key: Digest,
    pub(in crate::mock) by_template: bool,
    pub(in crate::mock) body: BodyLevel,
}

/// The recorded request that a miss is nearest to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(in crate::mock) struct Nearest {
    pub(in crate::mock) id: String,
    pub(in crate::mock) method: String,
    pub(in crate::mock) host: String,
    pub(in crate::mock) path: String,
    pub(in crate::mock) differences: Vec<Difference>,
}

/// A variant with its group.
#[derive(Clone, Copy)]
struct Found<'i> {
    group: usize,
    variant: &'i Variant,
    in_order: bool,
}

impl BodyLevel {
    pub(in crate::mock) fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Unknown => "unknown",
            Self::Signature => "signature",
            Self::Subset => "subset",
            Self::Equal => "equal",
        }
    }
}

impl Index {
    /// The recordings that `asked` matches. `host` is the one that must have been recorded, if any must.
    pub(in crate::mock) fn find(&self, asked: &Asked, host: Option<&str>) -> Option<Candidates<'_>> {
        let method = asked.target.method.as_str();
        let found = self.find_as(method, asked, host);
        // The head of an answer to a GET answers a HEAD as well.
        found.or_else(|| (method == "HEAD").then(|| self.find_as("GET", asked, host)).flatten())
    }

    /// The host that a request for `host` must have been recorded with: that one, where it was recorded at all.
    /// A mock is mostly asked by an address of its own, which says nothing.
    pub(in crate::mock) fn known_host<'h>(&self, host: &'h str) -> Option<&'h str> {
        self.hosts.contains(host).then_some(host)
    }

    fn find_as(&self, method: &str, asked: &Asked, host: Option<&str>) -> Option<Candidates<'_>> {
        let exact = self.exact.get(&(method.to_owned(), asked.target.path.clone())).copied();
        let found = exact.and_then(|group| self.best(&[group], asked, host, false));
        if found.is_some() || self.matching.exact_paths {
            return found;
        }
        let groups = self.of_template(method, &asked.target.path);
        let groups: Vec<usize> =
            groups.iter().copied().filter(|group| Some(*group) != exact).take(MAX_TEMPLATE_GROUPS).collect();
        self.best(&groups, asked, host, true)
    }

    fn of_template(&self, method: &str, path: &str) -> &[usize] {
        let template = path::template(path, &self.matching.paths);
        self.templates.get(&(method.to_owned(), template)).map_or(&[], Vec::as_slice)
    }

    fn best(
        &self,
        groups: &[usize],
        asked: &Asked,
        host: Option<&str>,
        by_template: bool,
    ) -> Option<Candidates<'_>> {
        let mut found = Vec::new();
        for &group in groups {
            for variant in &self.groups[group].variants {
                if let Some(in_order) = self.head_matches(&variant.recorded, asked, host) {
                    found.push(Found { group, variant, in_order });
                }
            }
        }
        [true, false].into_iter().find_map(|in_order| {
            let of_order: Vec<Found<'_>> =
                found.iter().copied().filter(|found| found.in_order == in_order).collect();
            let (mut best, body) = self.by_body(&of_order, asked)?;
            if by_template {
                // Answers for one id stay those of one recorded id.
                let mut groups: Vec<usize> = best.iter().map(|found| found.group).collect();
                groups.dedup();
                let mut hash = DefaultHasher::new();
                asked.target.path.hash(&mut hash);
                let chosen = groups[hash.finish() as usize % groups.len()];
                best.retain(|found| found.group == chosen);
            }
            let recordings = match &best[..] {
                [one] => Cow::Borrowed(&one.variant.recordings[..]),
                several => {
                    let all = several.iter().flat_map(|found| &found.variant.recordings);
                    let mut recordings: Vec<u32> = all.copied().collect();
                    recordings.sort_by_key(|&index| (self.recordings[index as usize].recording.time, index));
                    Cow::Owned(recordings)
                }
            };
            Some(Candidates { recordings, key: best[0].variant.key, by_template, body })
        })
    }

    /// Whether all but the body is as recorded; then, whether the query is in order, too.
    fn head_matches(&self, recorded: &Recorded, asked: &Asked, host: Option<&str>) -> Option<bool> {
        if host.is_some_and(|host| recorded.target.host != host) {
            return None;
        }
        if !self.different_headers(recorded, asked).is_empty() {
            return None;
        }
        let in_order = recorded.redacted_query.is_empty() && recorded.target.query == asked.target.query;
        if in_order {
            return Some(true);
        }
        let (left, right) =
            (comparable(recorded, &recorded.target.query), comparable(recorded, &asked.target.query));
        if left == right {
            return Some(true);
        }
        (self.matching.query != QueryMatch::Ordered && sorted(left) == sorted(right)).then_some(false)
    }

    /// The best of what settings accept.
    fn by_body<'i>(&self, found: &[Found<'i>], asked: &Asked) -> Option<(Vec<Found<'i>>, BodyLevel)> {
        let least = self.matching.body;
        let of = |found: Vec<Found<'i>>, level| (!found.is_empty()).then_some((found, level));
        let filter = |keep: &mut dyn FnMut(&Variant) -> bool| -> Vec<Found<'i>> {
            found.iter().copied().filter(|found| keep(found.variant)).collect()
        };
        if least == BodyMatch::Ignored {
            return of(found.to_vec(), BodyLevel::Ignored);
        }
        // Few masks are in use: mostly one, that of the settings.
        let mut digests: Vec<(&Mask, Digest)> = Vec::new();
        let mut digest = |mask: &'i Mask| {
            let known = digests.iter().find(|(known, _)| *known == mask).map(|(_, digest)| *digest);
            known.unwrap_or_else(|| {
                let digest = asked.target.body.digest(mask);
                digests.push((mask, digest));
                digest
            })
        };
        let mut equal = Vec::new();
        for &found in found {
            let Variant { recorded, body, .. } = found.variant;
            if recorded.target.body.is_known() && *body == digest(&recorded.mask) {
                equal.push(found);
            }
        }
        of(equal, BodyLevel::Equal)
            .or_else(|| {
                let mut budget = if least <= BodyMatch::Subset { MAX_COMPARED } else { 0 };
                let mut subsets = filter(&mut |variant| {
                    let Recorded { target, mask, .. } = &variant.recorded;
                    if !target.body.is_known() || budget == 0 {
                        return false;
                    }
                    budget -= 1;
                    target.body.differences(&asked.target.body, mask, false, 1).is_empty()
                });
                // The one that says most is the one that is meant.
                let most = subsets.iter().map(|found| found.variant.recorded.target.body.fields()).max();
                subsets.retain(|found| Some(found.variant.recorded.target.body.fields()) == most);
                of(subsets, BodyLevel::Subset)
            })
            .or_else(|| {
                let signature = (least <= BodyMatch::Signature).then(|| asked.target.body.signature())?;
                let alike = filter(&mut |variant| {
                    variant.recorded.target.body.is_known() && variant.signature == signature
                });
                of(alike, BodyLevel::Signature)
            })
            .or_else(|| {
                // What is not known can't differ.
                of(filter(&mut |variant| !variant.recorded.target.body.is_known()), BodyLevel::Unknown)
            })
    }

    fn different_headers(&self, recorded: &Recorded, asked: &Asked) -> Vec<Difference> {
        let pairs = self.matching.headers.iter().zip(&recorded.headers);
        let different = pairs.filter_map(|(name, recorded)| {
            let what = match (recorded, asked.headers.get(name)) {
                (Selected::Absent, None) | (Selected::Any, Some(_)) => return None,
                (Selected::Value(recorded), Some(value)) if recorded == value.as_bytes() => return None,
                (Selected::Absent, Some(_)) => What::NotRecorded,
                (_, None) => What::Missing,
                (Selected::Value(_), Some(_)) => What::Differs,
            };
            Some(Difference { place: format!("header.{name}"), what })
        });
        different.collect()
    }

    /// The recorded request that differs least from one that matches none.
    pub(in crate::mock) fn nearest(&self, asked: &Asked, host: Option<&str>) -> Option<Nearest> {
        let target = &asked.target;
        let exact = self.exact.get(&(target.method.clone(), target.path.clone())).copied();
        let same = exact.into_iter().chain(self.of_template(&target.method, &target.path).iter().copied());
        let variants = same.flat_map(|group| {
            let group = &self.groups[group];
            // The latest first: what a service asks for today is most like them.
            group.variants.iter().rev().map(move |variant| (group, variant))
        });
        let nearest = variants
            .take(MAX_NEAREST)
            .map(|(group, variant)| (self.differences(group, variant, asked, host), group, variant))
            .min_by_key(|(differences, ..)| differences.len());
        if let Some((differences, group, variant)) = nearest {
            return Some(self.describe(group, variant, differences));
        }
        // Nothing recorded for the method and path: another method, then a path that is like it.
        let (_, group) = self
            .groups
            .iter()
            .take(MAX_LIKENESS)
            .map(|group| {
                let is_path = group.path == target.path;
                ((is_path, path::likeness(&group.path, &target.path), group.method == target.method), group)
            })
            .filter(|((is_path, likeness, _), _)| *is_path || *likeness > 0)
            .max_by_key(|(likeness, _)| *likeness)?;
        let mut differences = Vec::new();
        for (place, differs) in
            [("method", group.method != target.method), ("path", group.path != target.path)]
        {
            if differs {
                differences.push(Difference { place: place.to_owned(), what: What::Differs });
            }
        }
        Some(self.describe(group, group.variants.last()?, differences))
    }

    fn describe(&self, group: &Group, variant: &Variant, differences: Vec<Difference>) -> Nearest {
        let id = variant
            .recordings
            .last()
            .map(|last| self.recordings[*last as usize].recording.exchange.id.clone());
        Nearest {
            id: id.unwrap_or_default(),
            method: group.method.clone(),
            host: variant.recorded.target.host.clone(),
            path: group.path.clone(),
            differences,
        }
    }

    fn differences(
        &self,
        group: &Group,
        variant: &Variant,
        asked: &Asked,
        host: Option<&str>,
    ) -> Vec<Difference> {
        let recorded = &variant.recorded;
        let differs = |place: &str| Difference { place: place.to_owned(), what: What::Differs };
        let mut differences = Vec::new();
        if host.is_some_and(|host| recorded.target.host != host) {
            differences.push(differs("host"));
        }
        if group.path != asked.target.path && self.matching.exact_paths {
            differences.push(differs("path"));
        }
        differences.extend(different_query(recorded, asked));
        differences.extend(self.different_headers(recorded, asked));
        if self.matching.body != BodyMatch::Ignored {
            let extras = self.matching.body == BodyMatch::Equal;
            let body = &recorded.target.body;
            differences.extend(body.differences(&asked.target.body, &recorded.mask, extras, MAX_DIFFERENCES));
        }
        differences.truncate(MAX_DIFFERENCES);
        differences
    }
}

/// The parameters, with a redacted value standing for any.
fn comparable<'q>(recorded: &Recorded, query: &'q [(String, String)]) -> Vec<(&'q str, &'q str)> {
    let is_redacted =
        |name: &str| recorded.redacted_query.iter().any(|redacted| redacted == name || redacted == "*");
    query
        .iter()
        .map(|(name, value)| (name.as_str(), if is_redacted(name) { "*" } else { value.as_str() }))
        .collect()
}

fn sorted<'q>(mut pairs: Vec<(&'q str, &'q str)>) -> Vec<(&'q str, &'q str)> {
    pairs.sort_unstable();
    pairs
}

fn different_query(recorded: &Recorded, asked: &Asked) -> Vec<Difference> {
    let left = sorted(comparable(recorded, &recorded.target.query));
    let right = sorted(comparable(recorded, &asked.target.query));
    let mut names: Vec<&str> = left.iter().chain(&right).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let mut differences = Vec::new();
    for name in names {
        let values = |pairs: &[(&str, &str)]| -> Vec<String> {
            pairs.iter().filter(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()).collect()
        };
        let (recorded, sent) = (values(&left), values(&right));
        let what = match (recorded.is_empty(), sent.is_empty()) {
            _ if recorded == sent => continue,
            (true, _) => What::NotRecorded,
            (_, true) => What::Missing,
            _ => What::Differs,
        };
        differences.push(Difference { place: format!("query.{name}"), what });
    }
    if differences.is_empty() && recorded.target.query != asked.target.query && left == right {
        let is_order =
            comparable(recorded, &recorded.target.query) != comparable(recorded, &asked.target.query);
        if is_order {
            differences.push(Difference { place: "query".to_owned(), what: What::Order });
        }
    }
    differences
}
