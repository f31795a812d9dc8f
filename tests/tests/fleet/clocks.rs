//! Services whose clocks disagree, and a database whose clock jumps (T1, T2, T3).

use std::time::Duration;

use carelink_tests::{
    PASSWORD, eventually, figure,
    fleet::{Journal, Nurse, Plan, Service, faketime},
    size,
};
use tokio::time::sleep;

#[tokio::test]
async fn t2_clocks_ninety_seconds_apart_refuse_nobody() {
    if faketime().is_none() {
        println!("SKIPPED: no libfaketime here (Debian: faketime)");
        return;
    }
    let fleet = Plan::default()
        .clock(Service::Token, 0, "+45s")
        .clock(Service::Token, 1, "-45s")
        .clock(Service::Auth, 0, "-45s")
        .clock(Service::Auth, 1, "+45s")
        .clock(Service::Gateway, 1, "+45s")
        .clock(Service::Audit, 1, "-45s")
        .up()
        .await;
    let (mut nurses, mut judged) = (fleet.nurses("nurse", 8).await, 0);
    for round in 0..size(20, 500) {
        for nurse in &nurses {
            nurse.stays().await;
            for gateway in 0..nurse.doors.count() {
                let answer = nurse.verify_at(gateway).await.unwrap();
                assert_eq!(answer.status, 200, "{} at gateway {gateway}: {}", nurse.name, answer.text());
                judged += 1;
            }
        }
        let at = round % nurses.len();
        let name = nurses[at].name.clone();
        nurses[at].sign_out().await.expect(200);
        nurses[at].is_out_everywhere().await;
        nurses[at] = Nurse::sign_in(&fleet.doors, &fleet.journal, &name, PASSWORD).await;
        sleep(Duration::from_millis(10)).await;
    }
    let (good, refused, nothing) = fleet.journal.counts();
    figure(&format!(
        "clocks 90 s apart: {good} refreshes and {judged} access tokens judged at every gateway, {refused} wrong refusals, {nothing} not answered"
    ));
    assert_eq!((refused, nothing), (0, 0));
    let trail = fleet.whole_trail().await;
    assert_eq!((trail.against(&nurses), trail.doubled, trail.disorderly()), ((0, 0), 0, Vec::<&str>::new()));
}

#[tokio::test]
async fn t1_a_database_whose_clock_jumps_back_an_hour_revives_nothing() {
    let Some(library) = faketime() else {
        println!("SKIPPED: no libfaketime here (Debian: faketime)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("time");
    let jump = |off: &str| {
        let next = file.with_extension("next");
        std::fs::write(&next, off).unwrap();
        std::fs::rename(next, &file).unwrap();
    };
    jump("+0");
    let readable =
        |path: &std::path::Path, mode| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    readable(folder.path(), 0o755);
    let fleet = Plan::default()
        .postgres_reads("LD_PRELOAD", library.to_str().unwrap())
        .postgres_reads("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
        .postgres_reads("FAKETIME_NO_CACHE", "1")
        .postgres_reads("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .up()
        .await;
    let nurses = fleet.nurses("nurse", 6).await;
    let (over, at_work) = nurses.split_at(3);
    for nurse in over {
        nurse.sign_out().await.expect(200);
        nurse.is_out_everywhere().await;
    }
    let everybody_is_where_they_were = async |when: &str| {
        for nurse in over {
            for gateway in 0..nurse.doors.count() {
                assert_eq!(nurse.verify_at(gateway).await.unwrap().status, 401, "{when}: {} is in again", nurse.name);
            }
            let judge = Nurse::holding(&fleet.doors, &Journal::default(), &nurse.name, nurse.held());
            assert_eq!(judge.refresh().await.unwrap_err().status, 401, "{when}");
        }
        for nurse in at_work {
            for gateway in 0..nurse.doors.count() {
                // What was minted a moment before the clock went on is over a moment after: then it is refreshed.
                eventually(format!("{when}: {} is in", nurse.name), async || {
                    nurse.stays().await;
                    (nurse.verify_at(gateway).await.unwrap().status == 200).then_some(())
                })
                .await;
            }
        }
    };
    everybody_is_where_they_were("before").await;
    jump("-1h");
    for step in 0..size(20, 100) {
        everybody_is_where_they_were(&format!("an hour back, {step}")).await;
        sleep(Duration::from_millis(100)).await;
    }
    fleet.replica(Service::Token, 0).restart().await;
    fleet.replica(Service::Gateway, 0).restart().await;
    everybody_is_where_they_were("after a restart").await;
    jump("+0");
    for step in 0..size(20, 100) {
        everybody_is_where_they_were(&format!("in its place again, {step}")).await;
        sleep(Duration::from_millis(100)).await;
    }
    // Half an hour past the end of all sessions they are swept; an hour back would be before it.
    jump("+750m");
    for replica in fleet.of(Service::Token) {
        replica.restart().await;
    }
    eventually("all sessions are swept", async || {
        (fleet.database.sql("SELECT count(*) FROM carelink_token.session WHERE ended_at IS NULL") == "0").then_some(())
    })
    .await;
    jump("+690m");
    for nurse in at_work {
        let judge = Nurse::holding(&fleet.doors, &Journal::default(), &nurse.name, nurse.held());
        assert_eq!(judge.refresh().await.unwrap_err().status, 401, "{} is revived", nurse.name);
        nurse.is_out_everywhere().await;
    }
    let trail = fleet.whole_trail().await;
    figure(&format!(
        "the database's clock back by an hour and on again: 0 of {} revoked sessions revived, 0 of {} lost; past their end and back: 0 of \
         {} swept sessions revived",
        over.len(),
        at_work.len(),
        at_work.len()
    ));
    assert_eq!(trail.count("session.reuse_detected") + trail.count("session.state_lost"), 0);
}
