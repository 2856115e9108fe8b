//! The index against the truth: whatever a watch tells and keeps from it, it never gives a wrong name.

use std::net::Ipv4Addr;

use proptest::{collection::vec, prelude::*};

use super::*;

const SECOND: Millis = 1_000;

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn peer(kind: Kind, name: &str) -> Peer {
    let of = |wanted: Kind| if kind == wanted { name.into() } else { Box::default() };
    Peer {
        kind,
        namespace: if kind == Kind::Node { Box::default() } else { "shop".into() },
        pod: of(Kind::Pod),
        service: of(Kind::Service),
        workload: if kind == Kind::Node { format!("Node/{name}").into() } else { Box::default() },
    }
}

fn claim(kind: Kind, name: &str, places: &[Place], from: Millis, until: Option<Millis>) -> Claim {
    Claim {
        uid: format!("uid-{name}").into(),
        peer: peer(kind, name),
        places: places.to_vec(),
        from: Some(from),
        until,
    }
}

fn pod(name: &str, last: u8, from: Millis) -> Claim {
    claim(Kind::Pod, name, &[Place::Address(ip(last))], from, None)
}

/// The name that was found.
fn name(found: Found<'_>) -> &str {
    match found {
        Found::Peer(peer) => [&peer.pod, &peer.service, &peer.workload]
            .into_iter()
            .find(|name| !name.is_empty())
            .expect("every peer has a name"),
        Found::Ambiguous => "ambiguous",
        Found::Unknown => "unknown",
    }
}

#[test]
fn an_address_has_one_owner_after_another() {
    let mut index = Index::default();
    index.apply(pod("a", 1, 100 * SECOND), 101 * SECOND);
    index.remove("uid-a", 200 * SECOND);
    index.apply(pod("b", 1, 210 * SECOND), 212 * SECOND);
    let at = |seconds: Millis| name(index.find(ip(1), None, seconds * SECOND)).to_owned();
    assert_eq!(at(97), "unknown");
    assert_eq!((at(98), at(150), at(202)), ("a".to_owned(), "a".to_owned(), "a".to_owned()));
    assert_eq!(at(205), "unknown");
    assert_eq!((at(208), at(1_000_000)), ("b".to_owned(), "b".to_owned()));
    assert_eq!(name(index.find(ip(2), None, 150 * SECOND)), "unknown");
}

#[test]
fn nothing_is_said_where_two_may_have_been() {
    let mut index = Index::default();
    index.apply(pod("a", 1, 100 * SECOND), 101 * SECOND);
    index.remove("uid-a", 200 * SECOND);
    index.apply(pod("b", 1, 201 * SECOND), 203 * SECOND);
    let at = |seconds: Millis| name(index.find(ip(1), None, seconds * SECOND)).to_owned();
    assert_eq!([at(198), at(200), at(203)], ["a", "ambiguous", "b"]);
}

#[test]
fn a_pod_that_ran_to_completion_gives_its_address_up_though_it_exists() {
    let mut index = Index::default();
    let done = claim(Kind::Pod, "job", &[Place::Address(ip(1))], 100 * SECOND, Some(110 * SECOND));
    index.apply(done.clone(), 111 * SECOND);
    index.apply(pod("b", 1, 120 * SECOND), 121 * SECOND);
    // Its object is touched again, hours later.
    index.apply(done, 9_000 * SECOND);
    assert_eq!(name(index.find(ip(1), None, 105 * SECOND)), "job");
    assert_eq!(name(index.find(ip(1), None, 9_001 * SECOND)), "b");
}

#[test]
fn an_address_that_an_object_gives_up_is_free() {
    let mut index = Index::default();
    let ports = |ports: &[u16]| -> Vec<Place> { ports.iter().map(|port| Place::NodePort(*port)).collect() };
    let node = claim(Kind::Node, "n1", &[Place::Address(ip(9))], 0, None);
    index.apply(node, SECOND);
    index.apply(claim(Kind::Service, "web", &ports(&[30_000, 30_001]), 0, None), SECOND);
    index.apply(claim(Kind::Service, "web", &ports(&[30_001]), 0, None), 50 * SECOND);
    let at = |index: &Index, port, seconds: Millis| {
        name(index.find(ip(9), Some(port), seconds * SECOND)).to_owned()
    };
    assert_eq!([at(&index, 30_000, 40), at(&index, 30_001, 40)], ["web", "web"]);
    assert_eq!([at(&index, 30_000, 60), at(&index, 30_001, 60)], ["Node/n1", "web"]);
    index.apply(claim(Kind::Service, "web", &ports(&[30_000, 30_001]), 0, None), 100 * SECOND);
    assert_eq!([at(&index, 30_000, 60), at(&index, 30_000, 120)], ["Node/n1", "web"]);
}

#[test]
fn at_a_node_the_listener_is_found_by_its_port_and_a_client_is_the_node() {
    let mut index = Index::default();
    let listen = |name: &str, port| claim(Kind::Pod, name, &[Place::Socket(ip(9), port)], 0, None);
    index.apply(claim(Kind::Node, "n1", &[Place::Address(ip(9))], 0, None), SECOND);
    index.apply(listen("exporter", 9100), SECOND);
    index.apply(listen("twin-1", 9200), SECOND);
    index.apply(listen("twin-2", 9200), SECOND);
    let find = |port| name(index.find(ip(9), port, 10 * SECOND)).to_owned();
    assert_eq!(find(Some(9100)), "exporter");
    assert_eq!(find(Some(9200)), "Node/n1");
    assert_eq!(find(Some(22)), "Node/n1");
    assert_eq!(find(None), "Node/n1");
}

#[test]
fn what_a_new_listing_leaves_out_has_ended() {
    let mut index = Index::default();
    index.begin_listing(Kind::Pod);
    index.apply(pod("a", 1, 0), SECOND);
    index.apply(pod("b", 2, 0), SECOND);
    index.end_listing(Kind::Pod, SECOND);
    // The first attempt breaks off.
    index.begin_listing(Kind::Pod);
    index.begin_listing(Kind::Pod);
    index.apply(pod("b", 2, 0), 60 * SECOND);
    index.end_listing(Kind::Pod, 60 * SECOND);
    assert_eq!(name(index.find(ip(1), None, 30 * SECOND)), "a");
    assert_eq!(name(index.find(ip(1), None, 70 * SECOND)), "unknown");
    assert_eq!(name(index.find(ip(2), None, 70 * SECOND)), "b");
}

#[test]
fn what_ended_is_forgotten_in_time() {
    let mut index = Index::default();
    index.apply(pod("a", 1, 0), SECOND);
    index.remove("uid-a", 10 * SECOND);
    index.prune(10 * SECOND + KEEP);
    assert_eq!((index.len(), name(index.find(ip(1), None, 5 * SECOND))), (1, "a"));
    index.prune(11 * SECOND + KEEP);
    assert_eq!((index.len(), name(index.find(ip(1), None, 5 * SECOND))), (0, "unknown"));
}

#[test]
fn one_object_has_a_bounded_number_of_places() {
    let mut index = Index::default();
    let places: Vec<Place> = (0..600).map(Place::NodePort).collect();
    index.apply(claim(Kind::Service, "wide", &places, 0, None), SECOND);
    assert_eq!((index.len(), index.refused()), (MAX_PLACES, (600 - MAX_PLACES) as u64));
}

/// The life of one pod, as it was.
#[derive(Clone, Debug)]
struct Life {
    last: u8,
    from: Millis,
    until: Millis,
    /// How it came to be known that it ended.
    end: End,
    /// Updates that the watch told while it lived: at which part of its life, in percent.
    updates: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// A watch event, that much later.
    Removed(Millis),
    /// The pod completed, and stays; the API tells its end in whole seconds, that much later.
    Completed(Millis),
    /// Nobody said it: a later listing doesn't have it.
    Missed,
    /// It lives on.
    Never,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => (0..20 * SECOND).prop_map(End::Removed),
        2 => (0..20 * SECOND).prop_map(End::Completed),
        2 => Just(End::Missed),
        1 => Just(End::Never),
    ]
}

/// Pods on a few addresses, on each one after another.
fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = (0..3u8, 0..40 * SECOND, SECOND..120 * SECOND, end(), vec(0..=100u8, 0..3));
    vec(life, 1..14).prop_map(|parts| {
        let mut free = [0; 3];
        let mut living = [false; 3];
        let mut lives = Vec::new();
        for (last, pause, length, end, updates) in parts {
            let slot = usize::from(last);
            if living[slot] {
                continue;
            }
            let from = free[slot] + pause;
            let until = if matches!(end, End::Never) { Millis::MAX / 4 } else { from + length };
            living[slot] = matches!(end, End::Never);
            free[slot] = until;
            lives.push(Life { last, from, until, end, updates });
        }
        lives
    })
}

/// Everything that is told, in the order of time.
fn tell(lives: &[Life], listings: &[Millis]) -> Index {
    #[derive(Debug)]
    enum Word {
        Apply(usize),
        Complete(usize),
        Remove(usize),
        List,
    }
    let mut words: Vec<(Millis, Word)> = listings.iter().map(|at| (*at, Word::List)).collect();
    for (life_index, life) in lives.iter().enumerate() {
        let seen = life.until.min(life.from + 120 * SECOND);
        for part in life.updates.iter().chain(&[0]) {
            words.push((life.from + (seen - life.from) * Millis::from(*part) / 100, Word::Apply(life_index)));
        }
        match life.end {
            End::Removed(late) => words.push((life.until + late, Word::Remove(life_index))),
            End::Completed(late) => words.push((life.until + late, Word::Complete(life_index))),
            End::Missed | End::Never => {}
        }
    }
    words.sort_by_key(|(at, _)| *at);
    let started = |life: &Life| life.from / SECOND * SECOND;
    let mut index = Index::default();
    for (now, word) in words {
        let claimed = |at: usize, until| {
            let life = &lives[at];
            let place = Place::Address(ip(life.last));
            claim(Kind::Pod, &at.to_string(), &[place], started(life), until)
        };
        let completed = |life: &Life| Some(life.until / SECOND * SECOND);
        match word {
            Word::Apply(at) => index.apply(claimed(at, None), now),
            Word::Complete(at) => index.apply(claimed(at, completed(&lives[at])), now),
            Word::Remove(at) => index.remove(&format!("uid-{at}"), now),
            Word::List => {
                index.begin_listing(Kind::Pod);
                for (at, life) in lives.iter().enumerate().filter(|(_, life)| life.from <= now) {
                    match life.end {
                        End::Completed(_) if life.until <= now => {
                            index.apply(claimed(at, completed(life)), now);
                        }
                        _ if life.until > now => index.apply(claimed(at, None), now),
                        _ => {}
                    }
                }
                index.end_listing(Kind::Pod, now);
            }
        }
    }
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// With clocks that differ by up to a second, the pod that was there is found, or nobody.
    #[test]
    fn a_name_is_never_wrong(
        lives in lives(),
        listings in vec(0..600 * SECOND, 0..4),
        questions in vec((any::<prop::sample::Index>(), 0..=100u8, -SECOND..=SECOND), 1..20),
    ) {
        let index = tell(&lives, &listings);
        for (which, part, clock) in questions {
            let at = which.index(lives.len());
            let life = &lives[at];
            let length = life.until.min(life.from + 300 * SECOND) - life.from;
            let time = life.from + length * Millis::from(part) / 100 + clock;
            if let Found::Peer(found) = index.find(ip(life.last), None, time) {
                prop_assert_eq!(found.pod.to_string(), at.to_string());
            }
        }
    }

    /// Where the watch told everything and nobody else was near in time, there is an answer.
    #[test]
    fn a_name_is_found_where_nobody_else_was_near(
        lives in lives(),
        question in (any::<prop::sample::Index>(), 0..=100u8, -SECOND..=SECOND),
    ) {
        let index = tell(&lives, &[]);
        let (which, part, clock) = question;
        let at = which.index(lives.len());
        let life = &lives[at];
        let told_end = |life: &Life| match life.end {
            End::Removed(late) => life.until + late,
            End::Completed(_) => life.until,
            End::Missed | End::Never => Millis::MAX / 2,
        };
        let length = life.until.min(life.from + 300 * SECOND) - life.from;
        let time = life.from + length * Millis::from(part) / 100 + clock;
        let alone = lives.iter().enumerate().all(|(other, life_of_other)| {
            other == at
                || life_of_other.last != life.last
                || time < life_of_other.from - SKEW - SECOND
                || time > told_end(life_of_other) + SKEW
        });
        if alone {
            prop_assert_eq!(name(index.find(ip(life.last), None, time)), at.to_string());
        }
    }
}
