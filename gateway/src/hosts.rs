//! Which host names are served: the predecessor's ALLOWED_HOSTS, as Django reads it.
//!
//! A pattern is a name, a name after a leading dot (that domain and all below it), or `*`. Ports are not looked at, case does not
//! matter, a trailing dot is dropped. With nothing configured, only the machine itself answers.

use http::{HeaderMap, Uri, header::HOST};

/// Served where nothing is configured.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The host names that are served.
#[derive(Clone, Debug)]
pub(crate) struct AllowedHosts {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(String),
    /// With its leading dot.
    Domain(String),
}

impl AllowedHosts {
    /// From the configured patterns; none means the machine itself.
    pub(crate) fn new(patterns: &[String]) -> Self {
        let mut patterns: Vec<Pattern> = patterns.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(pattern).collect();
        if patterns.is_empty() {
            patterns = LOCAL.into_iter().map(pattern).collect();
        }
        Self { patterns }
    }

    /// Whether a request is for us. An absolute request target wins over the header, and two Host headers are none (RFC 9112, 3.2).
    pub(crate) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let given = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => {
                let mut values = headers.get_all(HOST).iter();
                let first = values.next().and_then(|value| value.to_str().ok());
                if values.next().is_some() { None } else { first }
            }
        };
        given.and_then(domain).is_some_and(|host| self.matches(host))
    }

    fn matches(&self, host: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Any => true,
            Pattern::Exact(name) => name.eq_ignore_ascii_case(host),
            Pattern::Domain(suffix) => {
                let name = suffix.strip_prefix('.').unwrap_or(suffix);
                name.eq_ignore_ascii_case(host) || ends_with(host, suffix)
            }
        })
    }
}

fn pattern(text: &str) -> Pattern {
    match text {
        "*" => Pattern::Any,
        _ if text.starts_with('.') => Pattern::Domain(text.to_ascii_lowercase()),
        _ => Pattern::Exact(text.to_ascii_lowercase()),
    }
}

fn ends_with(host: &str, suffix: &str) -> bool {
    host.len().checked_sub(suffix.len()).and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The host without its port, if the whole is well formed: `name[:port]` or `[IPv6][:port]`.
fn domain(given: &str) -> Option<&str> {
    let end = if given.starts_with('[') { given.find(']')? + 1 } else { given.find(':').unwrap_or(given.len()) };
    let (host, port) = given.split_at_checked(end)?;
    let port_is_sound = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_is_sound = match inside {
        Some(address) => address.contains(':') && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.'),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
    };
    (port_is_sound && host_is_sound).then(|| host.strip_suffix('.').unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn admits(patterns: &[&str], host: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        AllowedHosts::new(&patterns).admit(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn nothing_configured_serves_the_machine_itself_on_any_port() {
        for host in ["localhost", "localhost:8000", "LOCALHOST", "localhost.", "127.0.0.1:1", "[::1]", "[::1]:8000"] {
            assert!(admits(&[], host), "{host}");
            assert!(admits(&["", " "], host), "{host}");
        }
        for host in ["evil.example", "a.localhost", "127.0.0.2", "[::2]", "localhost.evil.example", "xlocalhost"] {
            assert!(!admits(&[], host), "{host}");
        }
    }

    #[test]
    fn a_leading_dot_means_the_domain_and_all_below_it() {
        for host in ["ward.example", "A.ward.example:443", "a.b.Ward.Example."] {
            assert!(admits(&[".Ward.example"], host), "{host}");
        }
        for host in ["xward.example", "ward.example.evil", "example", ".ward"] {
            assert!(!admits(&[".ward.example"], host), "{host}");
        }
    }

    #[test]
    fn an_exact_name_is_that_name_and_a_star_is_any_sound_one() {
        assert!(admits(&["ward.example"], "ward.example"));
        assert!(!admits(&["ward.example"], "a.ward.example"));
        assert!(admits(&["*"], "anything.at.all:99"));
        for host in ["", "a b", "a@b", "a/b", "a:b", "a:1:2", "[::1", "::1", "[]", "[::1]x", "ä.example", "a_b"] {
            let Ok(value) = HeaderValue::from_str(host) else { continue };
            let mut headers = HeaderMap::new();
            headers.insert(HOST, value);
            assert!(!AllowedHosts::new(&["*".into()]).admit(&Uri::from_static("/"), &headers), "{host}");
        }
    }

    #[test]
    fn no_host_and_two_hosts_are_refused_and_an_absolute_target_wins() {
        let hosts = AllowedHosts::new(&[]);
        let mut headers = HeaderMap::new();
        assert!(!hosts.admit(&Uri::from_static("/"), &headers));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!hosts.admit(&Uri::from_static("http://evil.example/"), &headers));
        assert!(!hosts.admit(&Uri::from_static("http://x@localhost/"), &headers));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!hosts.admit(&Uri::from_static("/"), &headers));
    }
}
