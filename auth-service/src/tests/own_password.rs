//! Changing one's own password: by the current one, or by a one-time password (C6, C7, U1).

use carelink_platform::secrets::ExposeSecret;
use carelink_proto::auth::{ChangePasswordRequest, RedeemOneTimePasswordRequest, SetUserActiveRequest};

use super::*;

const NEW: &str = "another night 21 ward";

fn change(current: &str, new: &str) -> ChangePasswordRequest {
    ChangePasswordRequest {
        current_password: current.into(),
        new_password: new.into(),
        network: "192.0.2.7".into(),
        ..ChangePasswordRequest::default()
    }
}

fn redeem(password: &str, new: &str) -> RedeemOneTimePasswordRequest {
    RedeemOneTimePasswordRequest {
        username: "carelink-admin".into(),
        one_time_password: password.into(),
        new_password: new.into(),
        ..RedeemOneTimePasswordRequest::default()
    }
}

async fn c7_a_users_own_change_carries_the_current_password_and_its_session_stays(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let (amina, mut gateway) = (token(&user.id, 9, "nurse", false), auth.gateway());
    let refused = gateway.change_password(change(PASSWORD, NEW)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::TokenMissing);
    for (current, new, expected) in [
        ("wrong", NEW, Reason::CredentialsInvalid),
        (" night vitals 21 ward ", NEW, Reason::CredentialsInvalid),
        (PASSWORD, "short", Reason::PasswordTooShort),
        (PASSWORD, "amina amina 12345", Reason::PasswordCommon),
    ] {
        let refused = gateway.change_password(on_behalf(&amina, change(current, new))).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
    assert_eq!(auth.played.subject(&user.id).version, 1);
    let changed = gateway.change_password(on_behalf(&amina, change(PASSWORD, NEW))).await.unwrap().into_inner();
    assert!(!changed.revocation_pending && changed.revocation > 100);
    let held = auth.played.subject(&user.id);
    assert_eq!((held.version, held.min_version, held.end_reason.as_str()), (2, 2, "password_changed"));
    assert_eq!(held.excepted_session, Uuid::from_u128(9).as_bytes());
    auth.sign_in("amina", NEW).await.unwrap();
    assert_eq!(auth.refused("amina", PASSWORD).await, Reason::CredentialsInvalid);
    let told = auth.told("password.changed").await;
    assert_eq!((told.len(), told[0].actor.as_ref().unwrap().id.clone()), (1, Uuid::from_slice(&user.id).unwrap().to_string()));
}

async fn c5_the_current_password_is_guarded_like_a_sign_in(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let (amina, mut gateway) = (token(&user.id, 9, "nurse", false), auth.gateway());
    for expected in [[Reason::CredentialsInvalid; 20].as_slice(), &[Reason::Throttled; 2]].concat() {
        let refused = gateway.change_password(on_behalf(&amina, change("wrong", NEW))).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
    assert_eq!(auth.refused("amina", PASSWORD).await, Reason::Throttled, "they are the same guesses");
}

async fn c7_of_two_changes_by_the_same_password_one_counts(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let amina = token(&user.id, 9, "nurse", false);
    let with = |new: String| {
        let (mut gateway, amina) = (auth.gateway(), amina.clone());
        async move { gateway.change_password(on_behalf(&amina, change(PASSWORD, &new))).await }
    };
    let all = futures::future::join_all((0..4).map(|at| with(format!("{NEW} {at}")))).await;
    assert_eq!(all.iter().filter(|changed| changed.is_ok()).count(), 1);
    let refused: Vec<_> = all.iter().filter_map(|changed| changed.as_ref().err()).map(reason).collect();
    assert_eq!(refused, [Reason::CredentialsInvalid; 3]);
    assert_eq!((auth.played.subject(&user.id).version, auth.told("password.changed").await.len()), (2, 1));
}

async fn c6_the_first_administrator_takes_a_password_by_the_one_time_one(engine: Engine) {
    let auth = Auth::new(engine).await;
    let file = auth.place.directory().join("first-admin");
    std::fs::write(&file, "x").unwrap();
    let first = auth.app.first_administrator().await.unwrap().unwrap();
    let password = first.one_time_password.expose_secret();
    let mut gateway = auth.gateway();
    for (one_time, new, expected) in [
        ("abcde-fghjk-mnpqr-stuvw", NEW, Reason::CredentialsInvalid),
        ("", NEW, Reason::CredentialsInvalid),
        (password, "short", Reason::PasswordTooShort),
    ] {
        let refused = gateway.redeem_one_time_password(redeem(one_time, new)).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
    let nobody = RedeemOneTimePasswordRequest { username: "nobody".into(), ..redeem(password, NEW) };
    assert_eq!(reason(&gateway.redeem_one_time_password(nobody).await.unwrap_err()), Reason::CredentialsInvalid);
    gateway.redeem_one_time_password(redeem(password, NEW)).await.unwrap();
    auth.sign_in("carelink-admin", NEW).await.unwrap();
    assert!(!file.exists() && auth.app.first_administrator().await.unwrap().is_none());
    let again = gateway.redeem_one_time_password(redeem(password, "yet another 21 wards")).await.unwrap_err();
    assert_eq!(reason(&again), Reason::CredentialsInvalid, "once");
}

async fn c6_a_one_time_password_is_good_for_a_day(engine: Engine) {
    let auth = Auth::new(engine).await;
    let first = auth.app.first_administrator().await.unwrap().unwrap();
    static AGE: Statement = Statement::shared("age", "UPDATE one_time_password SET expires_at = later(expires_at, -86400000000)");
    auth.app.store.db.run(&AGE, args![]).await.unwrap();
    let late = auth.gateway().redeem_one_time_password(redeem(first.one_time_password.expose_secret(), NEW)).await.unwrap_err();
    assert_eq!(reason(&late), Reason::CredentialsInvalid);
}

async fn a_disabled_user_changes_nothing(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let disable = SetUserActiveRequest { id: user.id.clone(), active: false, reason: "left".into() };
    auth.operator().set_user_active(disable).await.unwrap();
    let request = on_behalf(&token(&user.id, 9, "nurse", false), change(PASSWORD, NEW));
    assert_eq!(reason(&auth.gateway().change_password(request).await.unwrap_err()), Reason::CredentialsInvalid);
}

on_both_engines!(
    c7_a_users_own_change_carries_the_current_password_and_its_session_stays,
    c5_the_current_password_is_guarded_like_a_sign_in,
    c7_of_two_changes_by_the_same_password_one_counts,
    c6_the_first_administrator_takes_a_password_by_the_one_time_one,
    c6_a_one_time_password_is_good_for_a_day,
    a_disabled_user_changes_nothing,
);
