//! Endpoints: which paths are the same one but for an id. `/users/42` and `/users/43` are `/users/{id}`.
//!
//! A segment counts as an id by its looks ([`is_variable`]), or because there are many others in its place:
//! past [`MAX_SIBLINGS`] different segments after the same prefix, all of them are one `{id}`, and what was
//! counted for each belongs together from then on ([`Templates::resolve`]). Templates may also be given.
//!
//! Bounded: [`MAX_NODES`] segments are kept, of [`MAX_SEGMENTS`] a path; what has no room is [`OTHER`]. A segment longer
//! than [`MAX_SEGMENT_BYTES`] is an id.
//!
//! What counts as an id by its looks is the same everywhere. What is learned depends on the paths that were seen: of the same
//! paths, in whatever order, the same templates are learned, unless there was no room for all.

use std::collections::HashMap;

/// Segments kept, over all paths. A service has hundreds of endpoints; a scan of one has no end.
const MAX_NODES: usize = 8_192;
/// Segments of a path that are told apart; what follows is one `**`.
const MAX_SEGMENTS: usize = 16;
/// Different segments after one prefix before they are taken for ids. Kinds of resources are fewer, ids more.
const MAX_SIBLINGS: usize = 40;
/// The first segment tells services and resources apart: more of them are real.
const MAX_FIRST_SEGMENTS: usize = 200;
/// Longest segment that is a name.
const MAX_SEGMENT_BYTES: usize = 64;

const VARIABLE: &str = "{id}";
const REST: &str = "**";

/// An endpoint's number; [`Templates::resolve`] gives the one that holds at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(u32);

/// What had no room.
pub const OTHER: Endpoint = Endpoint(1);

const ROOT: u32 = 0;

/// The templates learned so far: a tree of segments.
#[derive(Clone, Debug)]
pub struct Templates {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    segment: Box<str>,
    parent: u32,
    /// Set once this node was merged into another.
    merged_into: Option<u32>,
    children: HashMap<Box<str>, u32>,
    /// The child that stands for ids.
    variable: Option<u32>,
    /// Whether a segment that is not among `children` is an id whatever it looks like.
    absorbs: bool,
}

impl Endpoint {
    /// Unlike that of any other endpoint of the same templates; they are numbered from 0 without gaps.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    pub fn new() -> Self {
        Self { nodes: vec![Node::new("", ROOT), Node::new("*", ROOT)] }
    }

    /// Adds a template such as `/users/{name}/orders`: a segment in braces stands for any.
    pub fn add(&mut self, template: &str) {
        let mut node = ROOT;
        for segment in segments(template) {
            let is_variable = segment.starts_with('{') && segment.ends_with('}');
            let next = if is_variable {
                self.node_mut(node).absorbs = true;
                self.variable(node, segment)
            } else {
                self.child(node, segment)
            };
            let Some(next) = next else { return };
            node = next;
        }
    }

    /// The endpoint of a path, learned where it is new. Allocates nothing for a path whose endpoint is known.
    pub fn learn(&mut self, path: &str) -> Endpoint {
        let mut node = ROOT;
        for (depth, segment) in segments(path).enumerate() {
            let next = if depth == MAX_SEGMENTS {
                return self.child(node, REST).map_or(OTHER, Endpoint);
            } else if let Some(&known) = self.nodes[node as usize].children.get(segment) {
                Some(known)
            } else if self.nodes[node as usize].absorbs
                || segment.len() > MAX_SEGMENT_BYTES
                || is_variable(segment)
            {
                self.variable(node, VARIABLE)
            } else {
                self.child(node, segment)
            };
            let Some(next) = next else { return OTHER };
            node = self.follow(next);
        }
        Endpoint(node)
    }

    /// The endpoint that `endpoint` has become.
    pub fn resolve(&self, endpoint: Endpoint) -> Endpoint {
        Endpoint(self.follow(endpoint.0))
    }

    /// The endpoint of that number.
    pub fn endpoint(&self, number: u32) -> Option<Endpoint> {
        ((number as usize) < self.nodes.len()).then_some(Endpoint(number))
    }

    /// An endpoint as it is shown: `/users/{id}`.
    pub fn template(&self, endpoint: Endpoint) -> String {
        let mut segments = Vec::new();
        let mut node = self.follow(endpoint.0);
        if node == OTHER.0 {
            return "*".to_owned();
        }
        while node != ROOT {
            segments.push(&*self.nodes[node as usize].segment);
            node = self.follow(self.nodes[node as usize].parent);
        }
        if segments.is_empty() {
            return "/".to_owned();
        }
        segments.iter().rev().flat_map(|segment| ["/", segment]).collect()
    }

    /// The child of `node` for a segment that is none yet. Where there are too many, the one for ids.
    fn child(&mut self, node: u32, segment: &str) -> Option<u32> {
        if let Some(&known) = self.nodes[node as usize].children.get(segment) {
            return Some(known);
        }
        let limit = if node == ROOT { MAX_FIRST_SEGMENTS } else { MAX_SIBLINGS };
        if self.nodes[node as usize].children.len() >= limit {
            self.collapse(node);
            return self.variable(node, VARIABLE);
        }
        let child = self.insert(segment, node)?;
        self.node_mut(node).children.insert(segment.into(), child);
        Some(child)
    }

    fn variable(&mut self, node: u32, name: &str) -> Option<u32> {
        if let Some(known) = self.nodes[node as usize].variable {
            return Some(known);
        }
        let variable = self.insert(name, node)?;
        self.node_mut(node).variable = Some(variable);
        Some(variable)
    }

    fn insert(&mut self, segment: &str, parent: u32) -> Option<u32> {
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let node = u32::try_from(self.nodes.len()).ok()?;
        self.nodes.push(Node::new(segment, parent));
        Some(node)
    }

    /// All children of `node` become its child for ids.
    fn collapse(&mut self, node: u32) {
        self.node_mut(node).absorbs = true;
        let Some(variable) = self.variable(node, VARIABLE) else { return };
        let children = std::mem::take(&mut self.node_mut(node).children);
        for child in children.into_values() {
            self.merge(child, variable);
        }
    }

    /// `from`, with all that is below it, becomes `into`. The depth is bounded by [`MAX_SEGMENTS`].
    fn merge(&mut self, from: u32, into: u32) {
        let (from, into) = (self.follow(from), self.follow(into));
        if from == into {
            return;
        }
        let Node { children, variable, absorbs, .. } =
            std::mem::replace(self.node_mut(from), Node::new("", ROOT));
        self.node_mut(from).merged_into = Some(into);
        self.node_mut(into).absorbs |= absorbs;
        if let Some(variable) = variable {
            match self.nodes[into as usize].variable {
                Some(other) => self.merge(variable, other),
                None => {
                    self.node_mut(variable).parent = into;
                    self.node_mut(into).variable = Some(variable);
                }
            }
        }
        for (segment, child) in children {
            match self.nodes[into as usize].children.get(&segment) {
                Some(&other) => self.merge(child, other),
                None => {
                    self.node_mut(child).parent = into;
                    self.node_mut(into).children.insert(segment, child);
                }
            }
        }
        if self.nodes[into as usize].children.len() > MAX_SIBLINGS {
            self.collapse(into);
        }
    }

    fn follow(&self, mut node: u32) -> u32 {
        while let Some(next) = self.nodes[node as usize].merged_into {
            node = next;
        }
        node
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }
}

impl Node {
    fn new(segment: &str, parent: u32) -> Self {
        Self {
            segment: segment.into(),
            parent,
            merged_into: None,
            children: HashMap::new(),
            variable: None,
            absorbs: false,
        }
    }
}

/// Whether a segment of a path, or a name, looks like an id: a number, a UUID, a digest, a token, an address.
pub fn is_variable(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return segment.contains('@');
    }
    if digits == bytes.len() {
        return true;
    }
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let marks = bytes.len() - digits - letters;
    let hexadecimal = bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    // "8c1f0a3e", "2026-11-21", a UUID; but neither "v2" nor "a-b-1".
    (hexadecimal && bytes.len() >= 8)
        // "ord-10042", "SKU_88123"
        || (digits >= 4 && marks <= 2)
        // "dGhpcyBpcyBhIHRva2Vu0x", but no sentence of words.
        || (bytes.len() >= 20 && digits >= 3)
        || segment.contains('@')
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(templates: &mut Templates, path: &str) -> String {
        let endpoint = templates.learn(path);
        templates.template(endpoint)
    }

    #[test]
    fn ids_are_known_by_their_looks() {
        let mut templates = Templates::new();
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/users/42", "/users/{id}"),
            ("/users/42/orders/7?x=1", "/users/{id}/orders/{id}"),
            ("/users/me", "/users/me"),
            ("/v2/items", "/v2/items"),
            ("/a/019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e", "/a/{id}"),
            ("/o/ord-10042/", "/o/{id}"),
            ("/reports/2026-11-21", "/reports/{id}"),
            ("/m/ann@shop.example", "/m/{id}"),
            ("/static/main.css", "/static/main.css"),
        ] {
            assert_eq!(template(&mut templates, path), expected, "{path}");
        }
    }

    #[test]
    fn many_in_one_place_are_ids_and_what_was_counted_before_joins_them() {
        let mut templates = Templates::new();
        let first = templates.learn("/users/ann/orders");
        let other = templates.learn("/users/bob/orders");
        assert_ne!(first, other);
        let names = ('a'..='z').flat_map(|one| ('a'..='c').map(move |two| format!("x{one}{two}")));
        let last = names.map(|name| templates.learn(&format!("/users/{name}/orders"))).last().unwrap();
        for endpoint in [first, other, last] {
            assert_eq!(templates.resolve(endpoint), templates.resolve(first));
            assert_eq!(templates.template(endpoint), "/users/{id}/orders");
        }
    }

    #[test]
    fn the_order_of_paths_does_not_show() {
        let word = |number: u32| {
            let letter = |digit: char| char::from(digit as u8 - b'0' + b'g');
            number.to_string().chars().map(letter).collect::<String>()
        };
        // Few teams with many members each, many shops with few pages each, and ids among both.
        let teams =
            (0..300).map(|n| format!("/teams/{}/members/{}/{}", word(n % 7), word(n % 60), word(n % 3)));
        let shops = (0..300).map(|n| format!("/shops/{}/{}", word(n % 90), word(n % 2)));
        let ids = (0..100).map(|n| format!("/shops/{n}/{}", word(n % 2)));
        let paths: Vec<String> = teams.chain(shops).chain(ids).collect();
        let learned = |step: usize| -> Vec<String> {
            let mut templates = Templates::new();
            // 701 is a prime: every step goes through all places.
            let mut endpoints = vec![None; paths.len()];
            for place in (0..701).map(|n| n * step % 701).filter(|place| *place < paths.len()) {
                endpoints[place] = Some(templates.learn(&paths[place]));
            }
            endpoints.into_iter().flatten().map(|endpoint| templates.template(endpoint)).collect()
        };
        let first = learned(1);
        assert_eq!(first.len(), paths.len());
        assert!(first.contains(&"/teams/g/members/{id}/h".to_owned()), "{first:?}");
        assert!(first.contains(&"/shops/{id}/g".to_owned()), "{first:?}");
        for step in [2, 17, 333, 700] {
            assert_eq!(learned(step), first);
        }
    }

    #[test]
    fn templates_may_be_given() {
        let mut templates = Templates::new();
        templates.add("/users/{name}/cart");
        templates.add("/users/me");
        assert_eq!(template(&mut templates, "/users/ann/cart"), "/users/{name}/cart");
        assert_eq!(template(&mut templates, "/users/me"), "/users/me");
    }

    #[test]
    fn no_traffic_makes_it_grow_without_end() {
        let mut templates = Templates::new();
        for index in 0..40_000_u32 {
            // Words of letters, so that nothing looks like an id.
            let word: String =
                (0..5).map(|place| char::from(b'a' + (index >> (4 * place) & 15) as u8)).collect();
            templates.learn(&format!("/{}/{}/{}", &word[..1], &word[1..3], &word[3..]));
            templates.learn(&format!("/{word}"));
        }
        templates.learn(&"/a".repeat(10_000));
        templates.learn(&format!("/{}", "é".repeat(100_000)));
        assert!(templates.nodes.len() <= MAX_NODES);
        assert!(templates.nodes.iter().map(|node| node.segment.len()).max() <= Some(MAX_SEGMENT_BYTES));
    }
}
