//! Which element of one array belongs to which of another.

use std::collections::HashMap;

use super::document::Json;

/// Longer arrays are compared element by element.
const MAX_ALIGNED: usize = 10_000;
/// Members of an element that are tried as its key.
const MAX_KEY_CANDIDATES: usize = 16;
/// Tried first: what usually tells elements apart.
const USUAL_KEYS: [&str; 8] = ["id", "_id", "uuid", "key", "code", "sku", "name", "slug"];

/// How the order of an array counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Elements are found wherever they are; another order is a difference of its own.
    #[default]
    Auto,
    /// By index alone.
    Ordered,
    /// Found wherever they are; order does not count.
    Set,
    /// By this member; order does not count.
    Key(String),
}

/// Pairs of indices, in the order of the left array, then what only the right one has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alignment {
    pub(super) pairs: Vec<(Option<usize>, Option<usize>)>,
    /// Elements that belong together are in another order.
    pub(super) reordered: bool,
}

pub(super) fn align(left: &[Json<'_>], right: &[Json<'_>], order: &Order) -> Alignment {
    if *order == Order::Ordered || left.len().max(right.len()) > MAX_ALIGNED {
        return by_index(left.len(), right.len());
    }
    let matched = match order {
        Order::Key(key) => by_key(left, right, key, 1),
        _ => by_found_key(left, right),
    };
    let matched = matched.unwrap_or_else(|| by_content(left, right));
    let mut alignment = pair_rest(matched, right.len());
    alignment.reordered &= *order == Order::Auto;
    alignment
}

fn by_index(left: usize, right: usize) -> Alignment {
    let pairs = (0..left.max(right))
        .map(|index| ((index < left).then_some(index), (index < right).then_some(index)))
        .collect();
    Alignment { pairs, reordered: false }
}

/// For each left element the right one with the same value of `key`; `None` unless it is unique on both sides
/// and at least `overlap` elements have a partner.
fn by_key(left: &[Json<'_>], right: &[Json<'_>], key: &str, overlap: usize) -> Option<Matched> {
    let keys = |side: &[Json<'_>]| {
        let mut keys = HashMap::with_capacity(side.len());
        for (index, element) in side.iter().enumerate() {
            let value = match element.member(key)? {
                Json::Text(text) => text.to_string(),
                Json::Number(number) => number.to_string(),
                _ => return None,
            };
            if keys.insert(value, index).is_some() {
                return None;
            }
        }
        Some(keys)
    };
    let (left_keys, right_keys) = (keys(left)?, keys(right)?);
    let mut partners = vec![None; left.len()];
    for (value, index) in left_keys {
        partners[index] = right_keys.get(&value).copied();
    }
    let found = partners.iter().flatten().count();
    // An element with another key is another element: it is missing, and another was added.
    (found >= overlap.min(left.len())).then_some(Matched { partners, pair_rest: false })
}

/// By a member that tells the elements apart and that most have in common.
fn by_found_key(left: &[Json<'_>], right: &[Json<'_>]) -> Option<Matched> {
    let shorter = left.len().min(right.len()).max(1);
    let Some(Json::Object(members)) = left.first() else { return None };
    let candidates = || {
        let scalar = |value: &Json<'_>| matches!(value, Json::Text(_) | Json::Number(_));
        members.iter().filter(move |(_, value)| scalar(value)).map(|(name, _)| name.as_ref())
    };
    let usual = USUAL_KEYS.into_iter().filter(|key| candidates().any(|name| name == *key));
    // Any other member may be what changed: it is a key only where it is the same on both sides.
    let others = candidates().filter(|name| !USUAL_KEYS.contains(name)).map(|key| (key, shorter));
    let mut keys = usual.map(|key| (key, shorter.div_ceil(2))).chain(others).take(MAX_KEY_CANDIDATES);
    keys.find_map(|(key, overlap)| by_key(left, right, key, overlap))
}

/// By equality, but for what is new with every answer.
fn by_content(left: &[Json<'_>], right: &[Json<'_>]) -> Matched {
    let mut places: HashMap<u64, Vec<usize>> = HashMap::with_capacity(right.len());
    for (index, element) in right.iter().enumerate().rev() {
        places.entry(element.digest()).or_default().push(index);
    }
    let partners = left.iter().map(|element| places.get_mut(&element.digest()).and_then(Vec::pop)).collect();
    Matched { partners, pair_rest: true }
}

struct Matched {
    partners: Vec<Option<usize>>,
    /// Whether those without a partner are the same elements, changed.
    pair_rest: bool,
}

fn pair_rest(matched: Matched, right: usize) -> Alignment {
    let Matched { mut partners, pair_rest } = matched;
    let found: Vec<usize> = partners.iter().flatten().copied().collect();
    let reordered = !found.is_sorted();
    let mut taken = vec![false; right];
    found.into_iter().for_each(|index| taken[index] = true);
    let mut rest = (0..right).filter(|index| !taken[*index]).collect::<Vec<_>>().into_iter();
    if pair_rest {
        for partner in partners.iter_mut().filter(|partner| partner.is_none()) {
            *partner = rest.next();
        }
    }
    let pairs = partners.into_iter().enumerate().map(|(left, right)| (Some(left), right));
    Alignment { pairs: pairs.chain(rest.map(|index| (None, Some(index)))).collect(), reordered }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Option<usize>, Option<usize>)>;

    fn aligned(left: &str, right: &str, order: &Order) -> (Pairs, bool) {
        let (Some(Json::Array(left)), Some(Json::Array(right))) =
            (Json::parse(left.as_bytes()), Json::parse(right.as_bytes()))
        else {
            panic!("not arrays")
        };
        let Alignment { pairs, reordered } = align(&left, &right, order);
        (pairs, reordered)
    }

    fn both(pairs: &[(usize, usize)]) -> Pairs {
        pairs.iter().map(|&(left, right)| (Some(left), Some(right))).collect()
    }

    #[test]
    fn elements_are_found_by_a_key_that_tells_them_apart() {
        let left = r#"[{"t":1,"id":"a","p":1},{"t":1,"id":"b","p":2}]"#;
        let right = r#"[{"t":2,"id":"b","p":9},{"t":2,"id":"a","p":8}]"#;
        assert_eq!(aligned(left, right, &Order::Auto), (both(&[(0, 1), (1, 0)]), true));
        assert_eq!(aligned(left, right, &Order::Set), (both(&[(0, 1), (1, 0)]), false));
        assert_eq!(aligned(left, right, &Order::Ordered), (both(&[(0, 0), (1, 1)]), false));
        assert_eq!(aligned(left, right, &Order::Key("id".into())), (both(&[(0, 1), (1, 0)]), false));
    }

    #[test]
    fn elements_without_a_key_are_found_by_what_they_are() {
        assert_eq!(aligned("[1,2,3]", "[3,1,2]", &Order::Auto), (both(&[(0, 1), (1, 2), (2, 0)]), true));
        // 2 became 9.
        assert_eq!(aligned("[1,2,3]", "[3,9,1]", &Order::Auto), (both(&[(0, 2), (1, 1), (2, 0)]), true));
        assert_eq!(
            aligned("[1,2,3]", "[1,3]", &Order::Auto),
            (vec![(Some(0), Some(0)), (Some(1), None), (Some(2), Some(1))], false)
        );
        assert_eq!(aligned("[1]", "[1,1]", &Order::Auto).0, vec![(Some(0), Some(0)), (None, Some(1))]);
    }

    #[test]
    fn an_element_with_another_key_is_another_element() {
        let left = r#"[{"id":1},{"id":2}]"#;
        let right = r#"[{"id":1},{"id":3}]"#;
        let expected = vec![(Some(0), Some(0)), (Some(1), None), (None, Some(1))];
        assert_eq!(aligned(left, right, &Order::Auto), (expected, false));
    }
}
