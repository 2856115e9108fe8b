//! The task of one replay.

use tap_proto::v1::{Replay, ReplayReport, replay::State};
use tap_replay::{End, Outcome, Plan, replay};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::info;

use super::selection::Selection;
use crate::metrics::{InGauge, Metrics};

#[derive(Debug)]
pub(super) struct Running {
    pub(super) plan: Plan,
    pub(super) selection: Selection,
    pub(super) stop: CancellationToken,
    /// The collector ends: what stops a replay then is not its user.
    pub(super) shutdown: CancellationToken,
    pub(super) metrics: Metrics,
}

impl Running {
    /// Keeps `current` as the replay is, to the end.
    pub(super) async fn run(self, current: watch::Sender<Replay>) {
        let Self { plan, selection, stop, shutdown, metrics } = self;
        let gauge = InGauge::new(&metrics.replays_running);
        let (id, target) = (current.borrow().id.clone(), plan.target().to_string());
        info!(id, target, "replay started");
        let (report_tx, mut report_rx) = watch::channel(ReplayReport::default());
        let mut outcome =
            std::pin::pin!(replay(plan, move || selection.clone().exchanges(), report_tx, stop));
        let Outcome { report, end } = loop {
            tokio::select! {
                biased;
                outcome = &mut outcome => break outcome,
                // The engine has the sender for as long as it runs.
                Ok(()) = report_rx.changed() => {
                    let report = report_rx.borrow_and_update().clone();
                    current.send_modify(|replay| replay.report = Some(report));
                }
            }
        };
        let (state, name, error) = match end {
            End::Finished => (State::Finished, "finished", String::new()),
            End::Stopped if shutdown.is_cancelled() => {
                (State::Interrupted, "interrupted", "the collector was told to end".to_owned())
            }
            End::Stopped => (State::Stopped, "stopped", String::new()),
            End::Aborted(reason) => (State::Aborted, "aborted", reason),
            End::Failed(status) => (State::Failed, "failed", describe(&status)),
        };
        info!(id, target, state = name, error, sent = report.sent, "replay ended");
        metrics.replay_ended(name);
        drop(gauge);
        current.send_modify(|replay| {
            replay.state = state.into();
            replay.error = error;
            replay.report = Some(report);
        });
    }
}

fn describe(status: &Status) -> String {
    format!("reading the captures: {}", status.message())
}
