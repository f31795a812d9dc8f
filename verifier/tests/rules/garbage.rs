//! Whatever comes in, the answer is a refusal: no panic, no acceptance, no long thinking.

use carelink_verifier::{Refusal, Verifier};
use proptest::prelude::*;
use serde_json::json;

use crate::issuer::{Issuer, claims, encode, pinned};

fn on_a_verifier<T>(run: impl FnOnce(&Verifier, &Issuer) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    let issuer = Issuer::new(1);
    run(&pinned(&[&issuer]), &issuer)
}

proptest! {
    #[test]
    fn v5_any_text_is_refused(text in "\\PC{0,300}") {
        on_a_verifier(|verifier, _| {
            prop_assert!(verifier.verify(&text).is_err(), "{}", text);
            Ok(())
        })?;
    }

    #[test]
    fn v5_any_three_parts_are_refused(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 3)) {
        let token = parts.iter().map(encode).collect::<Vec<_>>().join(".");
        on_a_verifier(|verifier, _| {
            prop_assert!(verifier.verify(&token).is_err(), "{}", token);
            Ok(())
        })?;
    }

    #[test]
    fn v5_any_payload_under_a_good_header_and_a_foreign_signature_is_refused(payload in "\\PC{0,200}", signature in prop::collection::vec(any::<u8>(), 0..70)) {
        on_a_verifier(|verifier, issuer| {
            let token = format!("{}.{}.{}", encode(issuer.header().to_string()), encode(&payload), encode(&signature));
            prop_assert_eq!(verifier.verify(&token), Err(Refusal::SignatureWrong));
            Ok(())
        })?;
    }

    #[test]
    fn v5_a_signed_claim_of_any_other_type_is_refused(name in prop::sample::select(claims().as_object().unwrap().keys().cloned().collect::<Vec<_>>()), odd in odd_value()) {
        on_a_verifier(|verifier, issuer| {
            prop_assert!(verifier.verify(&issuer.access_with(|claims| claims[name.as_str()] = odd)).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn v5_signed_nonsense_does_no_harm(header in "\\PC{0,100}", payload in "\\PC{0,200}") {
        on_a_verifier(|verifier, issuer| {
            prop_assert!(verifier.verify(&issuer.sign_text(&header, &payload)).is_err());
            prop_assert!(verifier.verify(&issuer.sign_text(&issuer.header().to_string(), &payload)).is_err());
            Ok(())
        })?;
    }
}

fn odd_value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!({})),
        Just(json!([[]])),
        Just(json!([1])),
        Just(json!({ "a": 1 })),
        any::<f64>().prop_filter("fractions", |number| number.fract() != 0.0).prop_map(|number| json!(number)),
        (i64::MIN..0).prop_map(|number| json!(number)),
    ]
}

#[test]
fn v5_huge_and_deep_tokens_are_refused() {
    on_a_verifier(|verifier, issuer| {
        let padded = |bytes: usize| issuer.access_with(|claims| claims["pad"] = "x".repeat(bytes).into());
        assert!(verifier.verify(&padded(5_000)).is_ok());
        assert_eq!(verifier.verify(&padded(8_000)), Err(Refusal::Malformed));
        assert_eq!(verifier.verify(&"a".repeat(1_000_000)), Err(Refusal::Malformed));
        assert_eq!(verifier.verify(&".".repeat(1_000_000)), Err(Refusal::Malformed));
        let deep = |text: &str| text.replacen('{', &format!("{{\"deep\":{}{},", "[".repeat(1_500), "]".repeat(1_500)), 1);
        let (header, payload) = (issuer.header().to_string(), claims().to_string());
        assert_eq!(verifier.verify(&issuer.sign_text(&header, &deep(&payload))), Err(Refusal::Malformed));
        assert_eq!(verifier.verify(&issuer.sign_text(&deep(&header), &payload)), Err(Refusal::Malformed));
    });
}
