//! The redaction of one message: what becomes of each value that a walker comes to, and the record of it.

use crate::{
    Key,
    detect::{Detector, Detectors, FieldName, Finding, Survey},
    names,
    policy::{Active, Kind, Parts, Policy, RuleName, Site, Verdict, detector_name, matches},
    record::Record,
    settings::{Action, Message, OpaqueBodies},
    token, value,
};

mod claims;

use claims::Claim;

/// What a mask looks like.
pub(crate) const MASK: &str = "***";

/// Texts shorter than this, in bytes, hold nothing that a detector could find.
pub(crate) const MIN_TEXT_BYTES: usize = 4;

/// One message under redaction.
pub(crate) struct Session<'r> {
    policies: &'r [Policy],
    active: &'r Active,
    key: &'r Key,
    detectors: &'r Detectors,
    message: Message,
    pub(crate) record: Record,
}

/// What became of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// Another text in its place.
    Text(String),
    /// Nothing in its place.
    Gone,
}

impl<'r> Session<'r> {
    pub(crate) fn new(
        policies: &'r [Policy],
        active: &'r Active,
        key: &'r Key,
        detectors: &'r Detectors,
        message: Message,
    ) -> Self {
        Self { policies, active, key, detectors, message, record: Record::default() }
    }

    pub(crate) fn key(&self) -> &'r Key {
        self.key
    }

    /// Whether anything is replaced for what it is called, and not for what it is.
    pub(crate) fn goes_by_names(&self) -> bool {
        self.policies.iter().any(Policy::goes_by_names)
    }

    /// What becomes of the value that stands there: the strictest of what the policies say.
    pub(crate) fn verdict(&self, site: &Site<'_>) -> Verdict<'r> {
        let verdicts = self.policies.iter().map(|policy| policy.verdict(site, self.message, self.active));
        verdicts.max().unwrap_or(Verdict::Shape)
    }

    /// What becomes of the body as a whole; `None` where no rule says so.
    pub(crate) fn body_verdict(&self) -> Option<Verdict<'r>> {
        let verdicts = self.policies.iter().map(|policy| policy.body_verdict(self.message, self.active));
        // A policy without a say wants it searched.
        verdicts.max_by_key(|verdict| verdict.unwrap_or(Verdict::Search)).flatten()
    }

    /// Whether verdicts depend on more than kind and name.
    pub(crate) fn looks_at_places(&self) -> bool {
        self.policies.iter().any(Policy::looks_at_places)
    }

    /// Whether rules look for parts of values beside the detectors.
    pub(crate) fn has_part_rules(&self) -> bool {
        self.policies.iter().any(|policy| !policy.part_rules().is_empty())
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.policies.iter().any(Policy::is_strict)
    }

    /// The strictest of a setting of the policies.
    pub(crate) fn strictest<T: Ord + Default>(&self, of: impl Fn(&Policy) -> T) -> T {
        self.policies.iter().map(of).max().unwrap_or_default()
    }

    pub(crate) fn drops_opaque(&self) -> bool {
        self.strictest(|policy| policy.opaque) == OpaqueBodies::Drop
    }

    /// Whether a text may hold a secret by how it begins.
    pub(crate) fn has_literal(&self, text: &[u8]) -> bool {
        self.detectors.has_literal(text)
    }

    /// Where in a body, from there on, the next text is that is a secret by how it begins, perhaps.
    pub(crate) fn next_literal(&self, body: &[u8], from: usize) -> Option<usize> {
        self.detectors.next_literal(body, from)
    }

    /// Decides on a value and does it. `nesting` is how many levels of content within it are looked at.
    pub(crate) fn value(&mut self, site: &Site<'_>, text: &str, nesting: u8) -> Change {
        self.treat(self.verdict(site), site, text, nesting)
    }

    /// Does what was decided.
    pub(crate) fn treat(&mut self, verdict: Verdict<'r>, site: &Site<'_>, text: &str, nesting: u8) -> Change {
        match verdict {
            Verdict::Keep => Change::None,
            Verdict::Search => self.search(site, text, nesting).map_or(Change::None, Change::Text),
            Verdict::Shape if text.is_empty() => Change::None,
            Verdict::Shape => {
                self.note_shape(site);
                Change::Text("x".repeat(text.chars().count()))
            }
            Verdict::Replace(Action::Drop, rule) => {
                self.note(site, rule, Action::Drop);
                Change::Gone
            }
            Verdict::Replace(..) if text.is_empty() => Change::None,
            Verdict::Replace(action, rule) => {
                let new = match (action, names::holds(rule.name)) {
                    (Action::Token, Some(detector)) => self.token(detector, text),
                    _ => self.replacement(action, text.as_bytes()),
                };
                if new == text {
                    return Change::None;
                }
                self.note(site, rule, action);
                Change::Text(new)
            }
        }
    }

    /// The token of what a detector found, or of what a field of such a name holds.
    fn token(&self, detector: Detector, value: &str) -> String {
        let mut token = String::new();
        token::render(self.key, detector, value, &mut token);
        token
    }

    /// What takes the place of a value as a whole; nothing for `drop`.
    pub(crate) fn replacement(&self, action: Action, value: &[u8]) -> String {
        match action {
            Action::Keep => String::from_utf8_lossy(value).into_owned(),
            Action::Token => token::text(self.key, value),
            Action::Hash => token::hash(self.key, value),
            Action::Mask => MASK.to_owned(),
            Action::Drop => String::new(),
        }
    }

    /// Searches a text, and what is encoded or nested in it, for what must not pass; `None` where nothing is found.
    pub(crate) fn search(&mut self, site: &Site<'_>, text: &str, nesting: u8) -> Option<String> {
        if text.len() < MIN_TEXT_BYTES && !self.has_part_rules() {
            return None;
        }
        match value::within(self, site, text, nesting) {
            value::Within::Searched(change) => change,
            value::Within::Text => self.parts(site, text),
        }
    }

    /// As [`Self::search`] for a text in which nothing can be found as it stands.
    pub(crate) fn beneath(&mut self, site: &Site<'_>, text: &str, nesting: u8) -> Option<String> {
        match value::within(self, site, text, nesting) {
            value::Within::Searched(change) => change,
            value::Within::Text => None,
        }
    }

    /// Replaces what rules for parts and detectors find in a text as it stands.
    pub(crate) fn parts(&mut self, site: &Site<'_>, text: &str) -> Option<String> {
        self.parts_in(Survey::UNKNOWN, site, text)
    }

    /// As [`Self::parts`], of a text of which something is known.
    pub(crate) fn parts_in(&mut self, survey: Survey, site: &Site<'_>, text: &str) -> Option<String> {
        let claims = self.claims(survey, site, text);
        if claims.is_empty() {
            return None;
        }
        let mut output = String::with_capacity(text.len());
        let (mut copied, mut is_changed) = (0, false);
        for Claim { range, action, rule, detector } in claims {
            let Some(value) = text.get(range.clone()) else { continue };
            let new = match (action, detector) {
                (Action::Token, Some(detector)) => self.token(detector, value),
                (action, _) => self.replacement(action, value.as_bytes()),
            };
            if new == value {
                continue;
            }
            output.push_str(&text[copied..range.start]);
            output.push_str(&new);
            copied = range.end;
            is_changed = true;
            self.note(site, rule, action);
        }
        if !is_changed {
            return None;
        }
        output.push_str(&text[copied..]);
        Some(output)
    }

    /// What would be replaced of a text, in order and without overlaps.
    pub(crate) fn claims(&self, survey: Survey, site: &Site<'_>, text: &str) -> Vec<Claim<'r>> {
        let mut findings: Vec<Finding> = Vec::new();
        let field = (!site.name.is_empty()).then_some(FieldName(site.name));
        self.detectors.find_in(survey, text, field, &mut |finding| findings.push(finding));
        if findings.is_empty() && !self.has_part_rules() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for policy in self.policies {
            let mut claims: Vec<Claim<'r>> = Vec::new();
            let mut of_detectors = Vec::new();
            for rule in policy.part_rules().iter().filter(|rule| self.active.is_on(rule)) {
                match rule.part(site, self.message) {
                    Some(Parts::Pattern(pattern)) => {
                        let found = matches(pattern, text).map(|range| Claim {
                            range,
                            action: rule.action(),
                            rule: rule.name(),
                            detector: None,
                        });
                        claims = claims::beside(claims, found);
                    }
                    Some(Parts::Detector(detector)) => of_detectors.push((detector, rule)),
                    None => {}
                }
            }
            let found = findings.iter().map(|Finding { range, detector }| {
                let rule = of_detectors.iter().find(|(of, _)| of == detector).map(|(_, rule)| *rule);
                Claim {
                    range: range.clone(),
                    action: rule.map_or(Action::Token, |rule| rule.action()),
                    rule: rule.map_or_else(|| detector_name(*detector), |rule| rule.name()),
                    detector: Some(*detector),
                }
            });
            claims = claims::beside(claims, found);
            claims.retain(|claim| claim.action != Action::Keep);
            all = claims::strictest(all, claims);
        }
        all
    }

    /// Records what a rule did there.
    pub(crate) fn note(&mut self, site: &Site<'_>, rule: RuleName<'_>, action: Action) {
        self.record.add(rule.kind, rule.name, site.trail.place().build(), action.as_str());
    }

    pub(crate) fn note_shape(&mut self, site: &Site<'_>) {
        self.record.add("profile", "strict", site.trail.place().build(), "shape");
    }
}

impl<'s> Site<'s> {
    /// A named value.
    pub(crate) fn new(kind: Kind, name: &'s [u8], trail: crate::trail::Trail<'s>) -> Self {
        Self { kind, name, trail, json: None, segment: None }
    }
}
