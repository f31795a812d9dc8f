//! The two cookies of a browser's session (B1): the access token for every path, the refresh token for /v1/session alone. Scripts see
//! neither, other sites bring neither, and without TLS only this machine's own browser keeps them.

use std::time::Duration;

use carelink_platform::{
    clock::Timestamp,
    errors::{Failure, Reason},
};
use http::{HeaderMap, HeaderValue, header::COOKIE};

/// Holds the access token.
pub(crate) const ACCESS: &str = "__Host-carelink";
/// Holds the refresh token.
pub(crate) const REFRESH: &str = "__Secure-carelink-refresh";
/// Holds what makes a device known (C5). It outlives sessions, and signs nobody in.
pub(crate) const DEVICE: &str = "__Host-carelink-device";

const EVERYWHERE: &str = "/";
const SESSION: &str = "/v1/session";

/// The value of a cookie; empty counts as none. The same name twice is a riddle: a neighbouring site may have put one of them there.
pub(crate) fn find(headers: &HeaderMap, name: &str) -> Result<Option<String>, Failure> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(known, _)| *known == name).map(|(_, value)| value);
    let value = values.next();
    if values.next().is_some() {
        return Err(Failure::new(Reason::InputInvalid).message(format!("There are two cookies called {name}")));
    }
    Ok(value.filter(|value| !value.is_empty()).map(str::to_owned))
}

/// Both, for as long as each token is good.
pub(crate) fn set(access: &str, access_expires: Timestamp, refresh: &str, ends: Timestamp, now: Timestamp) -> Vec<HeaderValue> {
    [cookie(ACCESS, access, EVERYWHERE, access_expires.since(now)), cookie(REFRESH, refresh, SESSION, ends.since(now))]
        .into_iter()
        .flatten()
        .collect()
}

/// What makes this device known.
pub(crate) fn known_device(token: &str, seconds: u32) -> Vec<HeaderValue> {
    cookie(DEVICE, token, EVERYWHERE, Duration::from_secs(seconds.into())).into_iter().collect()
}

/// Both gone.
pub(crate) fn clear() -> Vec<HeaderValue> {
    [cookie(ACCESS, "", EVERYWHERE, Duration::ZERO), cookie(REFRESH, "", SESSION, Duration::ZERO)].into_iter().flatten().collect()
}

fn cookie(name: &str, value: &str, path: &str, age: Duration) -> Option<HeaderValue> {
    let text = format!("{name}={value}; Path={path}; Max-Age={}; HttpOnly; Secure; SameSite=Strict", age.as_secs());
    // Tokens are base64url and dots; whatever else would end the value does not become a cookie.
    value.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'"' | b'\\')).then(|| HeaderValue::from_str(&text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cookies: &[&'static str], name: &str) -> Result<Option<String>, Reason> {
        let mut headers = HeaderMap::new();
        for value in cookies {
            headers.append(COOKIE, HeaderValue::from_static(value));
        }
        find(&headers, name).map_err(|failure| failure.reason())
    }

    #[test]
    fn b1_a_cookie_is_found_by_its_whole_name_and_never_guessed() {
        assert_eq!(found(&["a=b; __Host-carelink=x.y.z; c=d"], ACCESS), Ok(Some("x.y.z".to_owned())));
        assert_eq!(found(&["a=b", "__Host-carelink=x"], ACCESS), Ok(Some("x".to_owned())));
        for none in ["", "__Host-carelink=", "carelink=x", "__host-carelink=x", "__Host-carelink2=x", "__Host-carelink"] {
            assert_eq!(found(&[none], ACCESS), Ok(None), "{none}");
        }
        assert_eq!(found(&["__Host-carelink=x; __Host-carelink=x"], ACCESS), Err(Reason::InputInvalid));
        assert_eq!(found(&["__Secure-carelink-refresh=x", "__Secure-carelink-refresh=y"], REFRESH), Err(Reason::InputInvalid));
    }

    #[test]
    fn b1_scripts_other_sites_and_plain_connections_get_no_cookie() {
        let at = Timestamp::from_secs;
        let set = set("a.b.c", at(1_900), "d.e.f", at(44_200), at(1_000));
        assert_eq!(
            set,
            [
                "__Host-carelink=a.b.c; Path=/; Max-Age=900; HttpOnly; Secure; SameSite=Strict",
                "__Secure-carelink-refresh=d.e.f; Path=/v1/session; Max-Age=43200; HttpOnly; Secure; SameSite=Strict",
            ]
        );
        assert_eq!(
            clear(),
            [
                "__Host-carelink=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict",
                "__Secure-carelink-refresh=; Path=/v1/session; Max-Age=0; HttpOnly; Secure; SameSite=Strict",
            ]
        );
    }
}
