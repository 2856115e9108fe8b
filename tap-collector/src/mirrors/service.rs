//! What mirrors do, to whoever asks.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use tap_proto::v1::{
    ListMirrorsRequest, ListMirrorsResponse, Mirror, WatchMirrorRequest, mirror_service_server::MirrorService,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Mirrors;

/// A mirror never ends by itself: often enough for a person who looks at it.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct MirrorQueries {
    pub(crate) mirrors: Mirrors,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl MirrorService for MirrorQueries {
    async fn list_mirrors(
        &self,
        _request: Request<ListMirrorsRequest>,
    ) -> Result<Response<ListMirrorsResponse>, Status> {
        Ok(Response::new(ListMirrorsResponse { mirrors: self.mirrors.list() }))
    }

    type WatchMirrorStream = Pin<Box<dyn Stream<Item = Result<Mirror, Status>> + Send>>;

    async fn watch_mirror(
        &self,
        request: Request<WatchMirrorRequest>,
    ) -> Result<Response<Self::WatchMirrorStream>, Status> {
        let name = request.into_inner().name;
        let Some(first) = self.mirrors.entries().get(&name).map(Arc::clone) else {
            return Err(Status::not_found(format!("there is no mirror {name} in this collector")));
        };
        let Self { mirrors, shutdown } = self.clone();
        let updates = stream::unfold(Some((first, true)), move |state| {
            let (mirrors, shutdown, name) = (mirrors.clone(), shutdown.clone(), name.clone());
            async move {
                let (entry, is_first) = state?;
                if !is_first {
                    shutdown.run_until_cancelled(sleep(WATCH_INTERVAL)).await?;
                }
                let mut update = entry.show(&name);
                update.report = entry.state.as_ref().ok().map(tap_replay::mirror::Mirror::full_report);
                // Its last counts are those of before it was taken away or made anew.
                let stays = mirrors.entries().get(&name).is_some_and(|now| Arc::ptr_eq(now, &entry));
                Some((Ok(update), stays.then_some((entry, false))))
            }
        });
        Ok(Response::new(Box::pin(updates)))
    }
}
