//! What a configuration may be, and what is said of one that may not.

use std::time::Duration;

use serde::Deserialize;

use super::*;

crate::settings! {
    /// Section `session`.
    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Session {
        /// How long a session lasts,
        /// at most.
        #[serde(with = "duration")]
        lifetime: Duration,
        /// How many there may be.
        limit: Option<u32>,
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(43_200), limit: None }
    }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn the_environment_beats_the_file_and_the_file_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("carelink.toml");
    std::fs::write(&path, "[session]\nlifetime = \"1h\"\nlimit = 3\n").unwrap();
    let mut settings = Settings::load(Some(&path), env(&[("CARELINK_SESSION__LIFETIME", "2h"), ("HOME", "/")])).unwrap();
    let session: Session = settings.section("session").unwrap();
    assert_eq!(session, Session { lifetime: Duration::from_secs(7_200), limit: Some(3) });
    settings.finish().unwrap();
}

#[test]
fn a_wrong_key_is_named_with_the_nearest_right_one() {
    let mut settings = Settings::load(None, env(&[("CARELINK_SESSION__LIFETIM", "2h")])).unwrap();
    let error = settings.section::<Session>("session").unwrap_err();
    assert_eq!(error.to_string(), "unknown setting `session.lifetim`; did you mean `session.lifetime`?");
    let mut settings = Settings::load(None, env(&[("CARELINK_SESION__LIFETIME", "2h")])).unwrap();
    settings.section::<Session>("session").unwrap();
    assert_eq!(settings.finish().unwrap_err().to_string(), "unknown setting `sesion`; did you mean `session`?");
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_place_and_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[session]\nlifetime = \"1h\"\nlifetime = \"2h\"\n").unwrap();
    let error = Settings::load(Some(&path), env(&[])).unwrap_err().to_string();
    let expected = "TOML parse error at line 3, column 1: duplicate key `lifetime` in table `session`";
    assert_eq!(error, format!("{}: {expected}", path.display()));
}

#[test]
fn a_section_that_is_no_table_is_told_without_names_of_the_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "session = 5\n").unwrap();
    let error = Settings::load(Some(&path), env(&[])).unwrap().section::<Session>("session").unwrap_err().to_string();
    assert_eq!(error, "setting `session`: invalid type: found signed int `5`, expected a table of settings");
}

#[test]
fn a_duration_without_a_unit_is_explained() {
    let mut settings = Settings::load(None, env(&[("CARELINK_SESSION__LIFETIME", "12")])).unwrap();
    let error = settings.section::<Session>("session").unwrap_err().to_string();
    assert!(error.starts_with("setting `session.lifetime`: ") && error.contains("\"12h\""), "{error}");
}

#[test]
fn a_database_is_where_its_own_setting_says_else_where_database_url_does() {
    use secrecy::ExposeSecret;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "postgres://c\n").unwrap();
    let given = env(&[
        ("CARELINK_SESSION__DATABASE_URL", "postgres://a"),
        ("CARELINK_SESSION__LIMIT", "3"),
        ("DATABASE_URL", "postgres://b"),
        ("CARELINK_AUDIT__DATABASE_URL_FILE", file.to_str().unwrap()),
    ]);
    let mut settings = Settings::load(None, given).unwrap();
    let mut url = |section| settings.database_url(section).unwrap().map(|url| url.expose_secret().to_owned());
    assert_eq!(url("session").as_deref(), Some("postgres://a"));
    assert_eq!(url("token").as_deref(), Some("postgres://b"));
    assert_eq!(url("audit").as_deref(), Some("postgres://c"));
    assert_eq!(settings.section::<Session>("session").unwrap().limit, Some(3));
    settings.finish().unwrap();
}

#[test]
fn a_key_that_nobody_took_is_still_unknown() {
    let mut settings = Settings::load(None, env(&[("CARELINK_SESSION__DATABASE_URL", "postgres://a")])).unwrap();
    let error = settings.section::<Session>("session").unwrap_err().to_string();
    assert!(error.starts_with("unknown setting `session.database_url`"), "{error}");
}

#[test]
fn a_missing_or_broken_file_is_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Settings::load(Some(&dir.path().join("none.toml")), []).unwrap_err().to_string().starts_with("there is no configuration file"));
    let path = dir.path().join("carelink.toml");
    std::fs::write(&path, "[session\n").unwrap();
    assert!(Settings::load(Some(&path), []).is_err());
}

crate::settings! {
    /// A table within a section.
    #[derive(Debug, Default, Deserialize, Serialize)]
    struct Outer {
        /// One of them.
        session: Session,
        /// By name.
        many: std::collections::BTreeMap<String, Session>,
    }
}

#[test]
fn a_section_tells_of_its_keys_what_its_type_says() {
    let mut settings = Settings::load(None, []).unwrap();
    settings.section::<Session>("session").unwrap();
    settings.section::<Session>("session").unwrap();
    let reference = settings.reference();
    assert_eq!(
        reference[0],
        Setting {
            key: "session.lifetime".into(),
            environment: Some("CARELINK_SESSION__LIFETIME".into()),
            kind: "duration".into(),
            default: Some("12h".into()),
            says: "How long a session lasts, at most.".into(),
        }
    );
    let keys: Vec<&str> = reference.iter().map(|setting| setting.key.as_str()).collect();
    assert_eq!(keys[..3], ["session.lifetime", "session.limit", "auth.database_url"], "once each, in the order of the sections");
    assert_eq!((reference[1].kind.as_str(), reference[1].default.as_deref()), ("number", None));
    assert!(settings.markdown().contains("| `session.lifetime` | duration | `12h` | `CARELINK_SESSION__LIFETIME` | How long"));
}

#[test]
fn a_table_tells_of_what_is_below_it() {
    let mut settings = Settings::load(None, []).unwrap();
    settings.section::<Outer>("limits").unwrap();
    let limits: Vec<Setting> = settings.reference().into_iter().filter(|setting| setting.key.starts_with("limits.")).collect();
    let keys: Vec<&str> = limits.iter().map(|setting| setting.key.as_str()).collect();
    let below = ["limits.session.lifetime", "limits.session.limit", "limits.many.<name>.lifetime", "limits.many.<name>.limit"];
    assert_eq!(keys, below);
    assert_eq!(limits[0].environment.as_deref(), Some("CARELINK_LIMITS__SESSION__LIFETIME"));
    assert_eq!((limits[0].default.as_deref(), limits[2].default.as_deref(), limits[2].environment.as_deref()), (Some("12h"), None, None));
}
