//! Vectors made by Django 5.2 with argon2-cffi and bcrypt, one per format, and what nobody's hasher wrote.

use proptest::prelude::*;

use super::*;

const PASSWORD: &str = "  ward café 🩺 看護 ";
const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxé";
const VECTORS: &[(&str, &str)] = &[
    (PASSWORD, "argon2$argon2id$v=19$m=102400,t=2,p=8$RHptTjFxZG5xSGZyczhTYkR1b3Ntaw$rlO6m5PPSVoiyQOMBD5e7Y4k2d18RxbMCgy8FbLtI18"),
    (PASSWORD, "argon2$argon2id$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg"),
    (PASSWORD, "argon2$argon2i$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$qzUhS1vWHdYAM3lR8ylA/A"),
    (PASSWORD, "argon2$argon2i$v=16$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$YdQFnpykNq98TAx6tqZAmQ"),
    (PASSWORD, "argon2$argon2i$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$YdQFnpykNq98TAx6tqZAmQ"),
    (PASSWORD, "argon2$argon2d$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$NnsMm06c6ByatN1W5OJRfw"),
    (PASSWORD, "pbkdf2_sha256$1000000$hWSl8eOSAaThF3JYZzfqSb$Rl+qYfmuMNE3ROob/g3BrXCZo2m8Mjp0kPmN1ocIKkM="),
    (PASSWORD, "pbkdf2_sha256$36000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM="),
    (PASSWORD, "pbkdf2_sha1$1000000$FHrZMXsIaeBFfxNHNXTaJq$jmIdGZ5eYYfwrJF+4mL3V1yaGCw="),
    (PASSWORD, "bcrypt_sha256$$2b$12$BzfYko1FLZMxFBubkaEsaeFitwZFEyqLQAQ2jcPtnPD9HPD.w6qn6"),
    (LONG, "bcrypt_sha256$$2b$04$gmhLPfnvK5tKOPJCUfJanuywavGpcT6W.SwWhYyGeRa6ShvIIwFEW"),
    (PASSWORD, "bcrypt$$2b$12$tDmW9PHSDofgh4bWYGpAPuW6sBb8ytfizvHIjKJopVmo30tAakhNK"),
    (LONG, "bcrypt$$2b$04$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6"), // reads 72 bytes only
    ("ab\0cd", "bcrypt$$2b$04$eczWUL0TJZ4jQSXSveAT.emtTElDfGraGNFwtu712Gor5rNPnjb1y"),
    (
        PASSWORD,
        "scrypt$16384$rMZk8QRcTctwiBVJwYg29w$8$5$YgB3w47I2mE8Q6y9RgBsWq1TH9E7zOJNmC7fRjTk5PDsEJCNSW27Y6FTNZ3EqeofbHVTJZ4m2SWvzL0Xw4kNfw==",
    ),
    (PASSWORD, "scrypt$1024$saltsaltsalt$4$2$L4RKTGzkOLK+RHYT3gkO5D419+rZt9sdHRS8tRKL+DiGqdh81C3owqG2IxnLdVHqWHKwkbIpfucl+lyq/WZOlA=="),
    (PASSWORD, "md5$dBeHc0VljOCHbsJ8JVZAoP$7267a79720379aba3801c447798d40c4"),
];

fn usable(text: &str) -> Encoded {
    match parse(text) {
        Ok(Stored::Usable(encoded)) => encoded,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_django_format_fits_its_password_and_no_other() {
    let mut memory = Memory::keeping(19_456);
    for (password, text) in VECTORS {
        let encoded = usable(text);
        assert!(encoded.fits(password.as_bytes(), &mut memory), "{text}");
        let beginning = "!".to_owned() + password; // bcrypt never sees what follows the 72nd byte
        assert!(!encoded.fits(beginning.as_bytes(), &mut memory), "{text}");
        assert!(!encoded.fits(b"", &mut memory), "{text}");
    }
}

#[test]
fn our_own_hash_is_argon2id_in_phc_form_and_fits() {
    let cost = Argon2Cost { memory_kib: 64, iterations: 1, parallelism: 1 };
    let mut memory = Memory::keeping(64);
    let text = encode_argon2id(b"correct horse", &[7; 16], cost, &mut memory).unwrap();
    assert!(text.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{text}");
    let encoded = usable(&text);
    assert_eq!(encoded.hasher(), "argon2id");
    assert!(encoded.fits(b"correct horse", &mut memory));
    assert!(!encoded.outdated(cost));
    assert!(encoded.outdated(Argon2Cost::default()), "cheaper parameters are rewritten");
    assert!(encoded.outdated(Argon2Cost { memory_kib: 32, ..cost }), "and dearer ones too");
}

#[test]
fn memory_is_reused_up_to_the_configured_cost_and_freed_above() {
    let mut memory = Memory::keeping(512);
    assert_eq!(memory.held_kib(), 0, "nothing before the first hash");
    for _ in 0..2 {
        for (password, text) in VECTORS.iter().filter(|(_, text)| text.contains("argon2")) {
            assert!(usable(text).fits(password.as_bytes(), &mut memory), "dirty blocks change nothing: {text}");
            assert!(memory.held_kib() <= 512);
        }
    }
    assert_eq!(memory.held_kib(), 512);
}

#[test]
fn c3_parameters_above_the_caps_are_refused() {
    let argon2 =
        |m: &str, t: &str, p: &str| format!("argon2$argon2id$v=19$m={m},t={t},p={p}$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg");
    let scrypt = |n: &str, r: &str, p: &str| format!("scrypt${n}$saltsaltsalt${r}${p}${}==", "A".repeat(86));
    let pbkdf2 = |rounds: &str| format!("pbkdf2_sha256${rounds}$salt$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=");
    let bcrypt = |rounds: &str| format!("bcrypt$$2b${rounds}$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6");
    let too_costly = [
        argon2("262145", "1", "1"),
        argon2("262144", "17", "1"),
        argon2("4294967295", "1", "1"),
        argon2("99999999999", "1", "1"),
        argon2("1024", "4294967295", "1"),
        pbkdf2("10000001"),
        pbkdf2("99999999999999"),
        bcrypt("16"),
        bcrypt("31"),
        scrypt("1048576", "8", "1"),
        scrypt("65536", "8", "40"),
        scrypt("2147483648", "8", "1"),
        scrypt("16384", "65", "1"),
        scrypt("2", "1", "65"),
    ];
    for text in too_costly {
        assert_eq!(parse(&text), Err(Refused::TooCostly), "{text}");
    }
    for text in [argon2("262144", "16", "1"), argon2("102400", "2", "8"), pbkdf2("10000000"), bcrypt("15"), scrypt("32768", "8", "5")] {
        usable(&text);
    }
}

#[test]
fn malformed_hashes_are_refused() {
    for text in [
        "argon2$argon2id$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA",
        "argon2$argon2id$v=20$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$m=15,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$m=512,t=0,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$m=512,t=2,p=0$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$m=512,t=2,p=2,keyid=AAAA$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$t=2,m=512,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$m=512,t=2,p=2$c2FsdA$SeSRtjxbBvYDkGZLoUhfXg",
        "argon2$argon2id$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSR",
        "argon2$argon2id$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg$",
        "pbkdf2_sha256$0$salt$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=",
        "pbkdf2_sha256$-1$salt$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=",
        "pbkdf2_sha256$+1$salt$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=",
        "pbkdf2_sha256$1$$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=",
        "pbkdf2_sha256$1$salt$",
        "pbkdf2_sha256$1$salt$jmIdGZ5eYYfwrJF+4mL3V1yaGCw=",
        "pbkdf2_sha1$1$salt",
        "bcrypt$2b$04$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6",
        "bcrypt$$2x$04$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6",
        "bcrypt$$2b$03$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6",
        "bcrypt$$2b$4$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6",
        "bcrypt$$2b$04$ééééééééééééééééééééééééééé",
        "scrypt$1000$saltsaltsalt$4$2$AAAA",
        "scrypt$1$salt$1$1$AAAA",
        "md5$salt$7267A79720379ABA3801C447798D40C4",
        "md5$$7267a79720379aba3801c447798d40c4",
        "md5$salt$7267",
        "argon2$argon2id$\0",
    ] {
        assert_eq!(parse(text), Err(Refused::Malformed), "{text}");
    }
    for text in ["7267a79720379aba3801c447798d40c4", "sha1$salt$aaaa", "unsalted_md5$", "plain", "$6$rounds=5000$salt$hash", "crypt$$ab"] {
        assert_eq!(parse(text), Err(Refused::Unknown), "{text}");
    }
    assert_eq!(parse(&"a$".repeat(300)), Err(Refused::Malformed));
}

#[test]
fn unusable_is_unusable_whatever_follows() {
    for text in ["", "!", "!rmliAE0FGpPWwNmv9WPjsCNdMP8rU7lY9lyOR49X", "!pbkdf2_sha256$1$salt$x"] {
        assert_eq!(parse(text), Ok(Stored::Unusable));
    }
}

#[test]
fn a_cost_class_survives_its_text_and_its_dummy_fits_nothing() {
    let mut memory = Memory::keeping(0);
    for (password, text) in VECTORS {
        let class = usable(text).cost_class();
        assert_eq!(class.to_string().parse(), Ok(class));
        assert_eq!(class.dummy().cost_class(), class);
        assert!(!class.dummy().fits(password.as_bytes(), &mut memory));
    }
    assert_eq!(memory.held_kib(), 0);
    assert!("pbkdf2_sha256:0".parse::<CostClass>().is_err());
    assert!("scrypt:300:8:1".parse::<CostClass>().is_err());
}

#[test]
fn a_report_calls_a_hasher_as_django_does() {
    for (_, text) in VECTORS {
        assert!(text.starts_with(family(text)), "{text}");
    }
    assert_eq!(
        ["!x", "", "sha1$a$b", "gibberish", "pbkdf2_sha256$x", "$argon2id$v=19$"].map(family),
        ["unusable", "unusable", "unknown", "unknown", "pbkdf2_sha256", "argon2"]
    );
}

#[test]
fn no_hash_shows_itself_in_a_log() {
    let text = format!("{:?}", usable(VECTORS[6].1));
    assert_eq!(text, "Encoded(pbkdf2_sha256:1000000)");
}

proptest! {
    #[test]
    fn parse_answers_whatever_it_is_given(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn parse_answers_whatever_becomes_of_a_hash(vector in 0..VECTORS.len(), at in 0_usize..120, with in any::<char>(), cut in 0_usize..120) {
        let mut characters: Vec<char> = VECTORS[vector].1.chars().collect();
        let at = at % characters.len();
        characters[at] = with;
        let whole: String = characters.iter().collect();
        if let Ok(Stored::Usable(encoded)) = parse(&whole) {
            prop_assert!(encoded.cost_class().work().memory_kib <= 257 * 1024);
        }
        let _ = parse(&characters.iter().take(cut).collect::<String>());
    }

    #[test]
    fn parse_answers_whatever_the_numbers(name in "(argon2\\$argon2i?d?|pbkdf2_sha(1|256)|bcrypt(_sha256)?|scrypt|md5|)", parts in proptest::collection::vec("[0-9a-z=,.+/]{0,30}", 0..7)) {
        let _ = parse(&format!("{name}${}", parts.join("$")));
    }
}
