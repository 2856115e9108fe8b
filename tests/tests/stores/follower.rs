//! A client that tails the table, from one collector after another.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tap_proto::v1::{TailRequest, TailResponse, capture_service_client::CaptureServiceClient};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::collectors::connect;

/// A tail that says nothing for so long is left for another collector's.
const SILENCE: Duration = Duration::from_secs(5);

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct Tailed {
    token: String,
    pub(crate) ids: HashSet<String>,
    /// Ids that came twice.
    pub(crate) repeated: Vec<String>,
    /// Tails that ended, and were taken up elsewhere.
    pub(crate) resumed: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Follower(Arc<Mutex<Tailed>>);

impl Follower {
    pub(crate) fn tailed(&self) -> MutexGuard<'_, Tailed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tails on and on; to be aborted.
    pub(crate) async fn run(self, collectors: Vec<String>) {
        for collector in collectors.iter().cycle() {
            // Whatever ended it: the token says where to go on.
            let ended = self.tail(collector).await;
            if matches!(&ended, Err(status) if status.code() == tonic::Code::InvalidArgument) {
                panic!("{ended:?}");
            }
            self.tailed().resumed += 1;
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn tail(&self, collector: &str) -> Result<(), Status> {
        let mut captures = CaptureServiceClient::new(connect(collector).await?);
        let resume_token = self.tailed().token.clone();
        let request = TailRequest { resume_token, summary: true, ..TailRequest::default() };
        let mut pages = captures.tail(request).await?.into_inner();
        while let Ok(page) = timeout(SILENCE, pages.message()).await {
            let Some(page) = page? else { return Ok(()) };
            self.tailed().take(page);
        }
        Ok(())
    }
}

impl Tailed {
    fn take(&mut self, page: TailResponse) {
        self.token = page.resume_token;
        for exchange in page.exchanges {
            if !self.ids.insert(exchange.id.clone()) {
                self.repeated.push(exchange.id);
            }
        }
    }
}
