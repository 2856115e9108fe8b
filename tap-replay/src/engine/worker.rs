//! One thread with its own connections, requests in flight and counters: nothing is shared on the way of a send.
//!
//! The dispatcher waits for each job's time and lets it go where its session is free; a runner is a task that
//! sends one job after the other. While there is always a next one, a runner takes it itself, and an answer
//! that arrives is all that wakes the thread.

mod runner;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::{self, LocalSet},
    time::Instant,
};

use self::runner::Runner;
use super::{NOT_SENT_ENDED, NOT_SENT_MAX_IN_FLIGHT, NOT_SENT_SESSION, Shared, reader::Job, timer::Timer};
use crate::{connections::Connections, schedule::Arrival, session::Sessions};

/// The state of one thread.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    index: usize,
    connections: Arc<Connections>,
    /// Requests in flight at most.
    places: usize,
    in_flight: Cell<usize>,
    queue: RefCell<Queue>,
    /// Runners that have nothing to do, the last one used at the end.
    idle: RefCell<Vec<Rc<Runner>>>,
    sessions: RefCell<Sessions>,
    /// Nothing is in flight.
    at_rest: Notify,
}

/// What may go as soon as there is a place, and what waits for its session.
#[derive(Debug, Default)]
struct Queue {
    due: VecDeque<Job>,
    /// Sessions with a request in flight or due, and those that follow.
    busy: HashMap<u64, VecDeque<Job>>,
}

/// Sends what comes from `jobs`, until there is no more; at most `places` at once.
pub(super) fn run(shared: Arc<Shared>, index: usize, places: usize, jobs: mpsc::Receiver<Vec<Job>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // No descriptors are left: nothing can be sent, and every job is counted.
            tracing::error!(%error, "a replay's worker can't start");
            let mut jobs = jobs;
            while let Some(batch) = jobs.blocking_recv() {
                for job in batch {
                    shared.read_ahead.give_back(job.cost());
                    shared.tally(index).not_sent(super::NOT_SENT_NO_WORKER);
                }
            }
            return;
        }
    };
    let connections = shared.connections(index);
    let worker = Rc::new(Worker {
        index,
        connections,
        places,
        in_flight: Cell::new(0),
        queue: RefCell::default(),
        idle: RefCell::default(),
        sessions: RefCell::default(),
        at_rest: Notify::new(),
        shared,
    });
    LocalSet::new().block_on(&runtime, worker.dispatch(jobs));
}

impl Worker {
    async fn dispatch(self: Rc<Self>, mut jobs: mpsc::Receiver<Vec<Job>>) {
        let mut waiting = VecDeque::new();
        let mut timer = Timer::new();
        let stop = self.shared.stop.clone();
        loop {
            if waiting.is_empty() {
                let batch = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    batch = jobs.recv() => batch,
                };
                match batch {
                    Some(batch) => waiting.extend(batch),
                    None => break,
                }
            }
            let start = self.shared.start();
            let since_start = start.elapsed();
            while let Some(job) = waiting.pop_front_if(|job: &mut Job| job.offset <= since_start) {
                self.admit(job);
            }
            if let Some(next) = waiting.front() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = timer.sleep_until(start + next.offset) => {}
                }
            } else {
                // A queue that is always full must not keep the runners from their answers.
                task::yield_now().await;
            }
        }
        if stop.is_cancelled() {
            self.discard(waiting);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.rest() => {}
        }
        if stop.is_cancelled() {
            let Queue { due, busy } = &mut *self.queue.borrow_mut();
            let left: VecDeque<_> =
                due.drain(..).chain(busy.values_mut().flat_map(|queue| queue.drain(..))).collect();
            self.discard(left);
        }
        // The reader may still be handing on what it has.
        while let Some(batch) = jobs.recv().await {
            self.discard(batch.into());
        }
        self.rest().await;
    }

    /// Returns when nothing is in flight, and nothing can follow.
    async fn rest(&self) {
        while self.in_flight.get() > 0 {
            self.at_rest.notified().await;
        }
    }

    fn discard(&self, jobs: VecDeque<Job>) {
        for job in jobs {
            self.not_sent(&job, self.shared.stop_reason());
        }
    }

    /// Lets a job go whose time has come, as soon as its session and a place are free.
    fn admit(self: &Rc<Self>, mut job: Job) {
        let mut queue = self.queue.borrow_mut();
        if let Some(session) = job.prepared.session {
            if let Some(following) = queue.busy.get_mut(&session) {
                job.in_session = true;
                following.push_back(job);
                return;
            }
            queue.busy.insert(session, VecDeque::new());
        }
        if self.in_flight.get() == self.places {
            queue.due.push_back(job);
            return;
        }
        drop(queue);
        self.in_flight.set(self.in_flight.get() + 1);
        match self.idle.borrow_mut().pop() {
            Some(runner) => runner.give(job),
            None => {
                task::spawn_local(Rc::clone(self).keep_sending(Rc::new(Runner::new(job))));
            }
        }
    }

    async fn keep_sending(self: Rc<Self>, runner: Rc<Runner>) {
        loop {
            let mut next = Some(runner.job().await);
            while let Some(job) = next {
                let session = job.prepared.session;
                self.run(job).await;
                self.release(session);
                next = self.next();
            }
            self.idle.borrow_mut().push(Rc::clone(&runner));
            self.in_flight.set(self.in_flight.get() - 1);
            if self.in_flight.get() == 0 {
                self.at_rest.notify_one();
            }
        }
    }

    /// The session's next request may go.
    fn release(&self, session: Option<u64>) {
        let Some(session) = session else { return };
        let mut queue = self.queue.borrow_mut();
        let Some(following) = queue.busy.get_mut(&session) else { return };
        match following.pop_front() {
            // It was due before what has a place to wait for now.
            Some(job) => queue.due.push_front(job),
            None => {
                queue.busy.remove(&session);
            }
        }
    }

    fn next(&self) -> Option<Job> {
        self.queue.borrow_mut().due.pop_front()
    }

    fn not_sent(&self, job: &Job, reason: &'static str) {
        self.shared.read_ahead.give_back(job.cost());
        self.shared.tally(self.index).not_sent(reason);
    }

    /// Sends one job, unless its time is over.
    async fn run(&self, job: Job) {
        let shared = &self.shared;
        let now = Instant::now();
        let closed_loop = shared.plan.arrival == Arrival::Max;
        let intended = if closed_loop { now } else { shared.start() + job.offset };
        let deadline = intended + shared.plan.timeout;
        if shared.stop.is_cancelled() {
            return self.not_sent(&job, shared.stop_reason());
        }
        if now >= deadline {
            let reason = if job.in_session { NOT_SENT_SESSION } else { NOT_SENT_MAX_IN_FLIGHT };
            return self.not_sent(&job, reason);
        }
        if closed_loop && shared.is_over() {
            return self.not_sent(&job, NOT_SENT_ENDED);
        }
        shared.read_ahead.give_back(job.cost());
        self.send(&job, intended, deadline).await;
    }

    fn since_start(&self) -> Duration {
        self.shared.start().elapsed()
    }
}
