//! Device and network in words, for whoever looks at the list of their sessions: nothing by which anybody could be traced.

use std::net::IpAddr;

/// The order decides: Edge and Opera call themselves Chrome too, and Chrome Safari.
const BROWSERS: [(&str, &str); 9] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];
const SYSTEMS: [(&str, &str); 7] = [
    ("Windows", "Windows"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// `Firefox on Linux`; of a script the product it names.
pub(crate) fn words(user_agent: &str) -> String {
    let find = |known: &[(&str, &'static str)]| known.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, word)| *word);
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ => {
            let product = user_agent.split([' ', '/', '(']).next().unwrap_or_default();
            let plain = product.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if plain && (1..=32).contains(&product.len()) { product.to_owned() } else { "an unknown device".to_owned() }
        }
    }
}

/// What kind of network an address belongs to.
pub(crate) fn network(address: IpAddr) -> &'static str {
    let private = match address.to_canonical() {
        IpAddr::V4(four) if four.is_loopback() => return "this machine",
        IpAddr::V6(six) if six.is_loopback() => return "this machine",
        IpAddr::V4(four) => {
            let [first, second, ..] = four.octets();
            four.is_private() || four.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(six) => six.is_unique_local() || six.is_unicast_link_local(),
    };
    if private { "a local network" } else { "the internet" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_in_words_and_nothing_odd_is_repeated() {
        for (agent, told) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36 Edg/141.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile/15E148 Safari/604.1",
                "Safari on an iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
                "Safari on macOS",
            ),
            ("curl/8.5.0", "curl"),
            ("python-requests/2.32", "python-requests"),
            ("", "an unknown device"),
            ("<script>alert(1)</script>", "an unknown device"),
            ("\u{202e}evil", "an unknown device"),
        ] {
            assert_eq!(words(agent), told, "{agent}");
        }
    }

    #[test]
    fn a_network_is_told_without_its_address() {
        for (address, told) in [
            ("127.0.0.1", "this machine"),
            ("::1", "this machine"),
            ("::ffff:10.1.2.3", "a local network"),
            ("192.168.0.9", "a local network"),
            ("100.64.0.1", "a local network"),
            ("fd00::1", "a local network"),
            ("100.128.0.1", "the internet"),
            ("192.0.2.1", "the internet"),
            ("2001:db8::1", "the internet"),
        ] {
            assert_eq!(network(address.parse().unwrap()), told, "{address}");
        }
    }
}
