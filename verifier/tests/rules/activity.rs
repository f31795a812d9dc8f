//! What a verifier tells of the sessions that it saw used (S12).

use std::time::Duration;

use carelink_proto::token::{Activity, ReportActivityRequest};
use carelink_verifier::{Purpose, Use};
use tokio::time::sleep;

use crate::{
    issuer::{Issuer, SESSION},
    service::Ward,
};

async fn after(ward: &Ward, issuer: &Issuer, seconds: u64) -> Vec<ReportActivityRequest> {
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        ward.beat(0, &[issuer]).await;
    }
    ward.reported()
}

fn told(reports: &[ReportActivityRequest]) -> Vec<&Activity> {
    reports.iter().flat_map(|report| &report.activities).collect()
}

#[tokio::test(start_paused = true)]
async fn s12_a_use_is_told_in_the_databases_time_and_what_a_page_does_by_itself_is_none() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    let token = issuer.access();
    verifier.check_for(&token, Purpose::Edge, Use::Background).await.unwrap();
    let reports = after(&ward, &issuer, 6).await;
    let [seen] = told(&reports)[..] else { panic!("{reports:?}") };
    assert_eq!((seen.session.as_slice(), seen.active_us), (SESSION.as_bytes().as_slice(), 0));
    let used_us = ward.now_us();
    verifier.verify(&token).unwrap();
    let reports = after(&ward, &issuer, 70).await;
    let [used] = told(&reports)[..] else { panic!("{reports:?}") };
    assert!((used.active_us - used_us).abs() < 1_000_000, "{}", used.active_us - used_us);
    let names: std::collections::HashSet<_> = reports.iter().map(|report| report.reporter.clone()).collect();
    assert_eq!((names.len(), names.iter().next().map(Vec::len)), (1, Some(16)));
}

#[tokio::test(start_paused = true)]
async fn s12_that_nothing_was_used_is_told_too_and_up_to_when() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let _verifier = ward.verifier().await;
    let reports = after(&ward, &issuer, 61).await;
    assert!((3..=5).contains(&reports.len()), "{}", reports.len());
    let last = reports.last().unwrap();
    assert!((ward.now_us() - last.complete_until_us) < 25_000_000 && last.activities.is_empty());
    assert_eq!(last.trusted_for_us, 300_000_000);
}

#[tokio::test(start_paused = true)]
async fn t4_the_databases_time_is_told_only_while_it_is_certain() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat(0, &[&issuer]).await;
    assert!((verifier.time_us().unwrap() - ward.now_us()).abs() < 1_000_000);
    ward.next_snapshot(|snapshot| *snapshot = None);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(verifier.time_us(), None, "no heartbeat for too long");
}
