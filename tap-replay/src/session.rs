//! Sessions: requests that belong together are sent in order, all or none of them, and share state.
//!
//! A session's state is a jar of the cookies that the target has set: where a recorded request sends a cookie of
//! such a name, the target gets its own value back; and what a transformation has learned. It is kept by the thread
//! that sends the session's requests.

pub(crate) mod jar;
pub(crate) mod key;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use tap_proto::v1::{Exchange, body::Content};

pub(crate) use self::jar::Jar;
pub use self::key::{SessionKey, SessionKeyError};
use crate::{
    Plan,
    answer::Answer,
    request::{self, Draft, Outgoing},
    transform::{Learned, Problem},
};

/// Sessions with state, in one thread: the ones that began first are forgotten for new ones.
const MAX_SESSIONS: usize = 50_000;
const FORGOTTEN: Problem = "session_forgotten";

/// What is known of the sessions of one thread.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    states: HashMap<u64, State>,
    /// Oldest first.
    order: VecDeque<u64>,
    /// Of requests that belong to no session.
    nobody: State,
}

/// What one session has learned from its answers.
#[derive(Debug, Default)]
struct State {
    jar: Jar,
    learned: Learned,
}

impl Sessions {
    /// The request for `exchange` where it is not the recorded one; or why there is none.
    pub(crate) fn request(
        &self,
        plan: &Plan,
        exchange: &Exchange,
        session: Option<u64>,
        now: SystemTime,
        problems: &mut Vec<Problem>,
    ) -> Option<Result<Outgoing, &'static str>> {
        let state = session.and_then(|session| self.states.get(&session));
        let encode = |draft: Draft<'_>| draft.encode(plan).map_err(request::Refusal::as_str);
        let Some(transform) = &plan.transform else {
            let state = state?;
            let mut draft = request::draft(exchange, plan).ok()?;
            return state.jar.put_into(&mut draft).then(|| encode(draft));
        };
        let state = state.unwrap_or(&self.nobody);
        let mut draft = request::draft(exchange, plan).ok()?;
        if transform.cookies {
            state.jar.put_into(&mut draft);
        }
        transform.apply(exchange, &mut draft, &state.learned, now, problems);
        Some(encode(draft))
    }

    /// Takes what later requests of the session need.
    pub(crate) fn learn(
        &mut self,
        plan: &Plan,
        exchange: &Exchange,
        session: Option<u64>,
        answer: &Answer,
        problems: &mut Vec<Problem>,
    ) {
        let Some(session) = session else { return };
        let state = self.states.entry(session).or_insert_with(|| {
            self.order.push_back(session);
            State::default()
        });
        if plan.transform.as_ref().is_none_or(|transform| transform.cookies) {
            state.jar.take_from(&answer.headers);
        }
        if let Some(transform) = &plan.transform {
            transform.learn(exchange, answer, &mut state.learned, problems);
        }
        if self.states.len() > MAX_SESSIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.states.remove(&oldest);
            problems.push(FORGOTTEN);
        }
    }

    /// The exchange whose recorded response has the values that the target has issued to this session: what its
    /// answer should be.
    pub(crate) fn expected(&self, exchange: &Arc<Exchange>, session: Option<u64>) -> Arc<Exchange> {
        let state = session.and_then(|session| self.states.get(&session));
        let Some(substitution) = state.map(|state| &state.learned.substitution) else {
            return Arc::clone(exchange);
        };
        if substitution.is_empty() {
            return Arc::clone(exchange);
        }
        let mut expected = Exchange::clone(exchange);
        let Some(response) = &mut expected.response else { return Arc::clone(exchange) };
        for header in &mut response.headers {
            if let Some(replaced) = substitution.replace(&header.value) {
                header.value = replaced;
            }
        }
        if let Some(Content::Text(text)) = response.body.as_mut().and_then(|body| body.content.as_mut())
            && let Some(replaced) = substitution.replace(text)
        {
            *text = replaced;
        }
        Arc::new(expected)
    }
}
