//! Rules that no single crate can hold, or that only the whole shows: S1, S8, S11.

use carelink_tests::{Carelink, PASSWORD, Person, Start};
use futures::future::join_all;

#[tokio::test]
async fn s1_refreshing_adds_no_row() {
    let ward = Start::default().unlimited().up().await;
    let amina = ward.somebody("amina21").await;
    let rows = ward.count_rows("token", "session");
    for _ in 0..50 {
        amina.stays().await;
    }
    assert_eq!((rows, ward.count_rows("token", "session")), (1, 1));
    assert_eq!(amina.held().generation(), 50);
}

#[tokio::test]
async fn s8_a_refresh_leaves_older_access_tokens_valid() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let mut earlier = Vec::new();
    for _ in 0..5 {
        earlier.push(Person::holding(&ward, "amina21", amina.held()));
        amina.stays().await;
    }
    for person in &earlier {
        person.is_in().await;
    }
    amina.sign_out().await.expect(200);
    for person in &earlier {
        person.is_out().await;
    }
}

#[tokio::test]
async fn s11_racing_changes_of_one_user_neither_fail_nor_disagree() {
    let ward = Start::default().unlimited().up().await;
    ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    for round in 0..crate::rounds(5) {
        let tabs = join_all((0..8).map(|_| ward.sign_in("amina21", PASSWORD))).await;
        let change = async {
            ward.cli(&["user", "roles", "amina21", "--add", "doctor"]).await.ok();
            ward.cli(&["user", "roles", "amina21", "--remove", "doctor", "--reason", "race"]).await.ok();
            ward.cli(&["sessions", "revoke", "--user", "amina21", "--reason", "race"]).await.ok();
        };
        let staying = join_all(tabs.iter().map(async |tab| {
            // Refreshes until the session is over; nothing but its end may be answered.
            loop {
                if let Err(refused) = tab.refresh().await {
                    assert_eq!(refused.status, 401, "round {round}: {}", refused.text());
                    return;
                }
            }
        }));
        tokio::join!(change, staying);
        for tab in &tabs {
            tab.is_out_at_once().await;
        }
    }
    let ended = ward.whole_trail(&["--type", "session.ended"]).await;
    assert_eq!(ended.len(), 8 * crate::rounds(5), "one ending for each session");
}
