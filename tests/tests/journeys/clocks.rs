//! A clock that jumps: it is followed and told, nobody is signed out who should be in, and nothing that was taken away comes back (T1).

use std::{fs, path::PathBuf};

use carelink_tests::{Carelink, PASSWORD, Pair, Person, Start, claims, eventually, fleet::faketime};
use http::Method;

/// libfaketime, where it is installed.
fn library() -> Option<PathBuf> {
    let found = faketime();
    if found.is_none() {
        println!("SKIPPED: no libfaketime here (Debian: faketime)");
    }
    found
}

struct Clock {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Clock {
    /// A CareLink that reads this clock.
    async fn start() -> Option<(Self, Carelink)> {
        let library = library()?;
        let folder = tempfile::tempdir().unwrap();
        let clock = Self { file: folder.path().join("time"), _folder: folder };
        clock.jump("+0");
        let ward = Start::default()
            .unlimited()
            .set("LD_PRELOAD", library.to_str().unwrap())
            .set("FAKETIME_TIMESTAMP_FILE", clock.file.to_str().unwrap())
            .set("FAKETIME_NO_CACHE", "1")
            .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .up()
            .await;
        Some((clock, ward))
    }

    /// Sets it so far off the real time: `+2h`, `-30m`.
    fn jump(&self, off: &str) {
        let next = self.file.with_extension("next");
        fs::write(&next, off).unwrap();
        fs::rename(next, &self.file).unwrap();
    }
}

/// Refreshes that were under way when the clock went ahead are late, until the next heartbeat has told the gateway (T4): a second.
async fn stays_soon(person: &Person<'_>) -> Pair {
    let refreshed = async || match person.refresh().await {
        Err(late) if late.status == 503 => None,
        answer => Some(answer.map_err(|answer| answer.text())),
    };
    eventually("a refresh in time", refreshed).await.unwrap()
}

async fn steps(ward: &Carelink, so_many: usize) {
    eventually("the step is in the trail", async || (ward.trail(&["--type", "clock.stepped"]).await.len() >= so_many).then_some(())).await;
}

#[tokio::test]
async fn t1_a_clock_that_jumps_back_revives_nothing_and_signs_nobody_out() {
    let Some((clock, ward)) = Clock::start().await else { return };
    let (amina, bjorn) = (ward.somebody("amina21").await, ward.somebody("bjorn").await);
    bjorn.sign_out().await.expect(200);
    clock.jump("-90m");
    steps(&ward, 1).await;
    bjorn.is_out().await;
    assert_eq!(bjorn.refresh().await.unwrap_err().status, 401);
    amina.stays().await;
    amina.is_in().await;
    clock.jump("+0");
    steps(&ward, 2).await;
    bjorn.is_out().await;
    stays_soon(&amina).await;
    amina.is_in().await;
    ward.restart().await;
    bjorn.is_out().await;
    amina.stays().await;
}

#[tokio::test]
async fn t1_a_clock_that_jumps_ahead_ends_what_is_over_and_nothing_else() {
    let Some((clock, ward)) = Clock::start().await else { return };
    let amina = ward.somebody("amina21").await;
    clock.jump("+1h");
    steps(&ward, 1).await;
    let late =
        eventually("the access token is past its end", async || Some(amina.verify().await).filter(|answer| answer.status == 401)).await;
    assert_eq!(late.json()["detail"], "Token is expired");
    let fresh = stays_soon(&amina).await;
    amina.is_in().await;
    assert!(claims(&fresh.access)["exp"].as_i64() > claims(&fresh.access)["iat"].as_i64());
    clock.jump("+13h");
    steps(&ward, 2).await;
    let over = eventually("the session is over", async || amina.refresh().await.err().filter(|answer| answer.status == 401)).await;
    assert_eq!(over.json()["detail"], "Token is expired");
    // Signing in works at any hour, and so does what was published.
    ward.sign_in("amina21", PASSWORD).await.is_in().await;
    ward.ask(Method::GET, "/.well-known/jwks.json", &[], "").await.expect(200);
    clock.jump("+0");
    steps(&ward, 3).await; // by then a heartbeat has told the verifier, too (T2)
    ward.sign_in("amina21", PASSWORD).await.is_in().await;
}
