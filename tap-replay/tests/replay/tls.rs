//! Whom mirrors trust behind https.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use tap_proto::v1::{Exchange, MirrorReport, Role};
use tap_replay::mirror::{Mirror, Rules, Settings, SettingsError, Tls};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::{recorded, target};

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(50);

fn rules(target: &str, tls: Tls) -> Result<Rules, Vec<SettingsError>> {
    Rules::new(&Settings { tls, compare: true, ..Settings::at(target) }, None, "m1")
}

/// What becomes of three exchanges.
async fn mirrored(target: &str, tls: Tls) -> MirrorReport {
    let mirror = Mirror::start(rules(target, tls).unwrap(), &TaskTracker::new());
    for index in 0..3 {
        let time = Some(SystemTime::now().into());
        mirror.offer(&Exchange { time, role: Role::Inbound.into(), ..recorded(index, 0) });
    }
    let done = timeout(PATIENCE, async {
        loop {
            let report = mirror.report();
            if report.answered + report.failed.values().sum::<u64>() == 3 {
                return report;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    done.await.unwrap_or_else(|_| panic!("three are not done: {:?}", mirror.report()))
}

#[tokio::test]
async fn a_mirror_trusts_the_given_authority_and_name_and_no_other() {
    let url = target::https(include_bytes!("tls/server.pem"), include_bytes!("tls/server.key")).await;
    let ca = || Some(include_str!("tls/ca.pem").to_owned());
    let file = || Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay/tls/ca.pem"));
    let name = || Some("shop.test".to_owned());
    for trusted in [
        Tls { ca: ca(), ca_file: None, server_name: name() },
        Tls { ca: None, ca_file: file(), server_name: name() },
    ] {
        let report = mirrored(&url, trusted).await;
        assert_eq!((report.matched, report.failed.len()), (3, 0), "{report:?}");
    }
    // The address is not its name, nor is another.
    for distrusted in [
        Tls { ca: ca(), ..Tls::default() },
        Tls { ca: ca(), ca_file: None, server_name: Some("v2.test".to_owned()) },
    ] {
        let report = mirrored(&url, distrusted).await;
        assert_eq!(report.failed["tls"], 3, "{report:?}");
    }
}

#[test]
fn what_can_not_be_trusted_is_refused_with_its_field() {
    let wrong = |target: &str, tls: Tls| -> Vec<&str> {
        rules(target, tls).unwrap_err().iter().map(|error| error.field).collect()
    };
    let ca = |text: &str| Tls { ca: Some(text.to_owned()), ..Tls::default() };
    // An empty one would stand for the system's.
    assert_eq!(wrong("https://v2", ca(" ")), ["tls.ca"]);
    assert_eq!(wrong("https://v2", ca("no PEM")), ["tls"]);
    assert_eq!(wrong("https://v2", ca(&"x".repeat(300_000))), ["tls.ca"]);
    assert_eq!(
        wrong("https://v2", Tls { ca_file: Some("/nonexistent".into()), ..Tls::default() }),
        ["tls.ca_file"]
    );
    assert_eq!(wrong("https://v2", Tls { ca_file: Some("/dev/null".into()), ..ca("x") }), ["tls.ca"]);
    assert_eq!(
        wrong("https://v2", Tls { ca_file: Some("/dev/null".into()), ..Tls::default() }),
        ["tls.ca_file"]
    );
    // Settings that would do nothing.
    assert_eq!(wrong("http://v2", Tls { server_name: Some("v2".into()), ..Tls::default() }), ["tls"]);
    assert_eq!(
        wrong("https://v2", Tls { server_name: Some("no name".into()), ..ca(include_str!("tls/ca.pem")) }),
        ["tls"]
    );
}
