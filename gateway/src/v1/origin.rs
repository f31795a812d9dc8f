//! Whether it was a page of ours that made a browser ask (B2). Cookies go wherever a browser is sent; that alone proves no intention.
//!
//! Browsers say it themselves: `Sec-Fetch-Site: same-origin`, which no page can write. Where that is missing (an old browser, a plain
//! connection to another machine), `Origin` must be exactly the address that was asked. Who brings neither is refused.

use std::net::IpAddr;

use carelink_platform::errors::{Failure, Reason};
use http::{
    HeaderMap, HeaderName,
    header::{HOST, ORIGIN},
};

use crate::{
    app::App,
    edge::{Call, Peer},
    proxies,
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Refuses what another site may have made a browser do.
pub(crate) fn own(app: &App, call: &Call) -> Result<(), Failure> {
    let peer = call.head.extensions.get::<Peer>();
    let address = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.address.ip());
    let believed = proxies::trusts(&app.config.gateway.trusted_proxies, address);
    let authority = call.head.uri.authority().map(http::uri::Authority::as_str);
    if is_own(&call.head.headers, authority, peer.is_some_and(|peer| peer.encrypted), believed) {
        Ok(())
    } else {
        Err(Failure::new(Reason::OriginRefused))
    }
}

fn is_own(headers: &HeaderMap, authority: Option<&str>, encrypted: bool, behind_proxy: bool) -> bool {
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?;
        Some(if values.next().is_some() { "" } else { first.to_str().unwrap_or_default() })
    };
    if let Some(site) = one(&FETCH_SITE) {
        return site == "same-origin";
    }
    let forwarded = |name: &HeaderName| one(name).filter(|_| behind_proxy);
    let Some(host) = forwarded(&FORWARDED_HOST).or(authority).or_else(|| one(&HOST)).filter(|host| !host.is_empty()) else {
        return false;
    };
    let encrypted = encrypted || forwarded(&FORWARDED_PROTO) == Some("https");
    let scheme = if encrypted { "https" } else { "http" };
    one(&ORIGIN).and_then(|origin| origin.strip_prefix(scheme)?.strip_prefix("://")).is_some_and(|asked| asked.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(encrypted: bool, proxy: bool, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        is_own(&all, None, encrypted, proxy)
    }

    #[test]
    fn b2_only_our_own_pages_make_a_browser_change_something() {
        let host = ("host", "ward.example");
        assert!(asked(true, false, &[host, ("sec-fetch-site", "same-origin")]));
        assert!(asked(true, false, &[host, ("origin", "https://ward.example")]));
        assert!(asked(false, false, &[("host", "localhost:8000"), ("origin", "http://localhost:8000")]));
        for site in ["cross-site", "same-site", "none", "", "SAME-ORIGIN"] {
            assert!(!asked(true, false, &[host, ("sec-fetch-site", site), ("origin", "https://ward.example")]), "{site}");
        }
        for origin in [
            "http://ward.example",
            "https://ward.example:8443",
            "https://ward.example.evil",
            "https://evil.ward.example",
            "https://ward.example/",
            "null",
            "",
            "ward.example",
        ] {
            assert!(!asked(true, false, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!asked(true, false, &[host]), "who says nothing may be anybody");
        assert!(!asked(true, false, &[("origin", "https://ward.example")]), "no host");
        assert!(!asked(true, false, &[host, ("origin", "https://ward.example"), ("origin", "https://ward.example")]));
    }

    #[test]
    fn b2_a_trusted_proxy_says_what_was_asked_and_nobody_else_does() {
        let forwarded = [
            ("host", "carelink:8000"),
            ("x-forwarded-host", "ward.example"),
            ("x-forwarded-proto", "https"),
            ("origin", "https://ward.example"),
        ];
        assert!(asked(false, true, &forwarded));
        assert!(!asked(false, false, &forwarded));
    }
}
