//! Replays that run in the collector: a bounded number at once, and the last ones remembered.
//!
//! Refused: targets that the configuration does not list, and what the engine refuses (`tap_replay`).

mod allow;
mod run;
mod selection;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _, stream};
use tap_proto::v1::{
    GetReplayRequest, ListReplaysRequest, ListReplaysResponse, Replay, StartReplayRequest, replay::State,
    replay_service_server::ReplayService,
};
use tap_replay::{Plan, RawPlan, selection::filter_for_replay};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status};
use uuid::Uuid;

pub use allow::AllowedTarget;

use crate::{metrics::Metrics, status, store_gate::StoreGate};

/// Each takes a thread and up to its `max_in_flight` connections.
const MAX_RUNNING: usize = 4;
/// A report is about a kilobyte.
const MAX_REMEMBERED: usize = 100;
/// Ten updates a second: faster than an eye, slow enough for thousands of changes to share one.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(crate) struct Replays {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gate: Arc<StoreGate>,
    allowed: Vec<AllowedTarget>,
    /// Oldest first.
    remembered: Mutex<VecDeque<Remembered>>,
    metrics: Metrics,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Clone, Debug)]
struct Remembered {
    id: String,
    replay: watch::Receiver<Replay>,
    stop: CancellationToken,
}

impl Replays {
    pub(crate) fn new(
        gate: Arc<StoreGate>,
        allowed: Vec<AllowedTarget>,
        metrics: Metrics,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let remembered = Mutex::default();
        Self { shared: Arc::new(Shared { gate, allowed, remembered, metrics, tasks, shutdown }) }
    }

    fn start(&self, mut request: StartReplayRequest) -> Result<Replay, Status> {
        let shared = &self.shared;
        let id = Uuid::now_v7().to_string();
        let plan = Plan::validate(RawPlan::from_request(&id, &request)).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Status::invalid_argument(errors.join("; "))
        })?;
        if !shared.allowed.iter().any(|allowed| allowed.covers(&request.target)) {
            return Err(Status::permission_denied(format!(
                "target {}: the collector's setting replay.allow_targets does not list it",
                plan.target()
            )));
        }
        // A replay of the present would chase its own traffic.
        request.end_time.get_or_insert_with(|| SystemTime::now().into());
        // As it was written first: an error's position is then the user's.
        status::parse_filter(&request.filter)?;
        let selection = selection::Selection {
            store: shared.gate.store()?,
            filter: filter_for_replay(&request.filter),
            start: status::parse_time("start_time", request.start_time)?,
            end: status::parse_time("end_time", request.end_time)?,
        };
        let running = run::Running {
            plan,
            selection,
            stop: shared.shutdown.child_token(),
            shutdown: shared.shutdown.clone(),
            metrics: shared.metrics.clone(),
        };
        let replay = Replay {
            id: id.clone(),
            state: State::Running.into(),
            request: Some(request),
            ..Replay::default()
        };
        let (replay_tx, replay_rx) = watch::channel(replay.clone());
        let remembered = Remembered { id, replay: replay_rx, stop: running.stop.clone() };
        shared.remember(remembered)?;
        shared.tasks.spawn(running.run(replay_tx));
        Ok(replay)
    }

    fn find(&self, id: &str) -> Result<Remembered, Status> {
        self.shared.with(|remembered| remembered.iter().find(|replay| replay.id == id).cloned()).ok_or_else(
            || {
                Status::not_found(format!(
                    "there is no replay {id} in this collector; a collector that ends forgets its replays"
                ))
            },
        )
    }
}

impl Shared {
    /// Forgets the oldest that ended where there are too many.
    fn remember(&self, replay: Remembered) -> Result<(), Status> {
        self.with(|remembered| {
            if remembered.iter().filter(|replay| replay.is_running()).count() >= MAX_RUNNING {
                return Err(Status::resource_exhausted(format!(
                    "{MAX_RUNNING} replays run already; stop one or wait"
                )));
            }
            if remembered.len() >= MAX_REMEMBERED
                && let Some(oldest) = remembered.iter().position(|replay| !replay.is_running())
            {
                remembered.remove(oldest);
            }
            remembered.push_back(replay);
            Ok(())
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut VecDeque<Remembered>) -> T) -> T {
        f(&mut self.remembered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Remembered {
    fn current(&self) -> Replay {
        self.replay.borrow().clone()
    }

    fn is_running(&self) -> bool {
        is_running(&self.replay.borrow())
    }
}

fn is_running(replay: &Replay) -> bool {
    replay.state() == State::Running
}

type Watch = Pin<Box<dyn Stream<Item = Result<Replay, Status>> + Send>>;

#[tonic::async_trait]
impl ReplayService for Replays {
    async fn start_replay(&self, request: Request<StartReplayRequest>) -> Result<Response<Replay>, Status> {
        let result = self.start(request.into_inner());
        self.shared.metrics.query("StartReplay", status::code(&result));
        result.map(Response::new)
    }

    async fn get_replay(&self, request: Request<GetReplayRequest>) -> Result<Response<Replay>, Status> {
        Ok(Response::new(self.find(&request.into_inner().id)?.current()))
    }

    type WatchReplayStream = Watch;

    async fn watch_replay(
        &self,
        request: Request<GetReplayRequest>,
    ) -> Result<Response<Self::WatchReplayStream>, Status> {
        let mut replay = self.find(&request.into_inner().id)?.replay;
        replay.mark_changed();
        let updates = stream::unfold(Some(replay), |replay| async move {
            let mut replay = replay?;
            replay.changed().await.ok()?;
            let update = replay.borrow_and_update().clone();
            let next = is_running(&update).then_some(replay);
            Some((Ok(update), next))
        });
        let paced = updates.enumerate().then(|(index, update)| async move {
            if index > 0 {
                sleep(WATCH_INTERVAL).await;
            }
            update
        });
        // A replay ends soon after the shutdown begins, and its watchers with it: the last update is theirs.
        Ok(Response::new(Box::pin(paced)))
    }

    async fn stop_replay(&self, request: Request<GetReplayRequest>) -> Result<Response<Replay>, Status> {
        let mut remembered = self.find(&request.into_inner().id)?;
        remembered.stop.cancel();
        // An error says that the task is gone, and then this is the last state.
        let _ = remembered.replay.wait_for(|replay| !is_running(replay)).await;
        Ok(Response::new(remembered.current()))
    }

    async fn list_replays(
        &self,
        _request: Request<ListReplaysRequest>,
    ) -> Result<Response<ListReplaysResponse>, Status> {
        let replays =
            self.shared.with(|remembered| remembered.iter().rev().map(Remembered::current).collect());
        Ok(Response::new(ListReplaysResponse { replays }))
    }
}
