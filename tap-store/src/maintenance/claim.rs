//! Who maintains the table: an entry in its own log.
//!
//! A claim is an application transaction whose version is the time of the claim. As a commit is put only if there is
//! none of its version, of two processes that find the table unclaimed one gets its claim in, and the other reads it.
//! A claim holds for a while and is renewed by the work; that of a process that died runs out.
//!
//! Clocks of collectors may differ. A claim too far ahead of the own clock counts for nothing; then two may work at a
//! time, which the steps are made for.

use std::time::Duration;

use deltalake::{
    kernel::{Action, CommitInfo, Transaction},
    protocol::DeltaOperation,
};
use rand::RngExt as _;

use super::{State, as_millis, error};
use crate::{Store, StoreError, log::Outcome};

const APP_ID: &str = "podtap.maintenance";

/// Longer than any step takes.
const HOLDS: Duration = Duration::from_secs(5 * 60);

/// Attempts against other writers; without luck the next round tries again.
const ATTEMPTS: u32 = 20;
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// Whether this process may maintain the table for now. `transactions` are committed with a new claim, and make one
/// even while an own one holds.
pub(super) async fn claim(
    store: &Store,
    state: &mut State,
    now: i64,
    transactions: &[Transaction],
) -> Result<bool, StoreError> {
    store.writable()?;
    for _ in 0..ATTEMPTS {
        let mut follower = store.follower().await;
        follower.catch_up().await?;
        let newest = follower.transaction(APP_ID.to_owned()).await?;
        let age = newest.map_or(i64::MAX, |claimed| now.saturating_sub(claimed));
        let holds = (-as_millis(HOLDS)..as_millis(HOLDS)).contains(&age);
        let is_own = newest.is_some() && newest == state.claim;
        if holds && !is_own {
            return Ok(false);
        }
        if is_own && age < as_millis(HOLDS) / 2 && transactions.is_empty() {
            return Ok(true);
        }
        let claimed = if newest == Some(now) { now + 1 } else { now };
        let mut committed = vec![Transaction::new_with_last_update(APP_ID, claimed, Some(now))];
        committed.extend_from_slice(transactions);
        let entry = CommitInfo {
            timestamp: Some(now),
            operation: Some("MAINTENANCE".to_owned()),
            ..CommitInfo::default()
        };
        // The entry stands for the operation, of which the library has none that fits.
        let actions = vec![Action::CommitInfo(entry)];
        match follower.commit_actions(actions, DeltaOperation::FileSystemCheck {}, committed).await {
            Ok(Outcome::Committed) => {
                store.publish(&follower);
                state.claim = Some(claimed);
                return Ok(true);
            }
            Ok(Outcome::Conflict) => {}
            Err(source) => return Err(error("claim", source)),
        }
        drop(follower);
        back_off().await;
    }
    Ok(false)
}

/// Lets another writer's commit pass.
pub(super) async fn back_off() {
    let wait = MAX_BACKOFF.mul_f64(rand::rng().random());
    tokio::time::sleep(wait).await;
}
