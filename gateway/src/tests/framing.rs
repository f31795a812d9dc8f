//! Requests over a bare socket that could be read in two ways, or in none.

use super::server::{Running, run};

const POST: &str = "POST /account/token/verify/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
/// What would be answered 401 if it were taken for a request of its own.
const SMUGGLED: &str = "GET /account/me/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The statuses of all answers on one connection, to which nothing more is said.
async fn statuses(running: &Running, sent: &str) -> Vec<u16> {
    let said = running.talk(sent.as_bytes()).await;
    said.split("HTTP/1.1 ").skip(1).map(|answer| answer.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read() {
    let running = run().await;
    let refused = [
        // Lengths.
        format!("{POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} "),
        format!("{POST}Content-Length: 2, 3\r\n\r\n{{}} "),
        format!("{POST}Content-Length: 2, 2\r\n\r\n{{}}"),
        format!("{POST}Content-Length: +2\r\n\r\n{{}}"),
        format!("{POST}Content-Length: -2\r\n\r\n{{}}"),
        format!("{POST}Content-Length: 0x2\r\n\r\n{{}}"),
        format!("{POST}Content-Length: 2 2\r\n\r\n{{}}"),
        format!("{POST}Content-Length: \r\n\r\n{{}}"),
        format!("{POST}Content-Length: 99999999999999999999\r\n\r\n{{}}"),
        // Codings.
        format!("{POST}Transfer-Encoding: gzip\r\n\r\n{{}}"),
        format!("{POST}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: identity\r\n\r\n{{}}"),
        format!("{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", POST.replace("HTTP/1.1", "HTTP/1.0")),
        // Chunks.
        format!("{POST}Transfer-Encoding: chunked\r\n\r\nx\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n-2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n0x2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n\r\n{{}}\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n2\n{{}}\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n1\r\n{{}}\r\n0\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        // Lines.
        format!("{POST}X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        format!("{POST}X : a\r\nContent-Length: 0\r\n\r\n"),
        format!("{POST}Content-Length : 2\r\n\r\n{{}}"),
        format!("{POST}X: a\rb\r\nContent-Length: 0\r\n\r\n"),
        format!("{POST}X: a\0b\r\nContent-Length: 0\r\n\r\n"),
        format!("{POST}X\r\nContent-Length: 0\r\n\r\n"),
        format!("{POST}: a\r\nContent-Length: 0\r\n\r\n"),
        format!("{POST}X(: a\r\nContent-Length: 0\r\n\r\n"),
        " GET /account/me/ HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /account/me/\tHTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /account/me/ HTTP/1.1 \r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /account/me/ HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /account/me/ HTTP/1.1\r\n Host: localhost\r\n\r\n".to_owned(),
        // Hosts.
        "GET /account/me/ HTTP/1.1\r\n\r\n".to_owned(),
        "GET /account/me/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET http://localhost/account/me/ HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://localhost/account/me/ HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        "GET http://localhost/account/me/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n".to_owned(),
        "GET http://localhost/account/me/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_owned(),
    ];
    for sent in refused {
        assert_eq!(statuses(&running, &format!("{sent}{SMUGGLED}")).await, [400], "{sent:?}");
    }
    assert_eq!(running.played.script().rpcs(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_length_beside_a_coding_is_not_gone_by_and_ends_the_connection() {
    let running = run().await;
    for lines in [["Content-Length: 100", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked", "Content-Length: 4"]] {
        let sent = format!("{POST}{}\r\n{}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}", lines[0], lines[1]);
        assert_eq!(statuses(&running, &sent).await, [400], "no field called token, and nobody else: {lines:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_honest_clients_send_can_be_read() {
    let running = run().await;
    let close = "Connection: close\r\n\r\n";
    for (sent, expected) in [
        (format!("{POST}Content-Length: 2\r\n\r\n{{}}"), 400),
        (format!("{POST}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"), 400),
        (format!("{POST}Transfer-Encoding: Chunked\r\n\r\n1;a=b\r\n{{\r\n1\r\n}}\r\n0\r\nX: y\r\n\r\n"), 400),
        ("GET http://localhost/account/me/ HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n".to_owned(), 401),
        ("GET http://evil.example/account/me/ HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 400),
        ("GET /account/me/ HTTP/1.1\r\nHost: localhost, localhost\r\n\r\n".to_owned(), 400),
        (SMUGGLED.to_owned(), 401),
    ] {
        let last = format!("GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n{close}");
        let said = statuses(&running, &format!("{sent}{last}")).await;
        assert_eq!(said, [expected, 200], "{sent:?}");
    }
    let old = running.talk(b"GET /account/me/ HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 401 "), "{old}");
    running.stop().await;
}

#[tokio::test]
async fn over_http2_one_host_is_named_too() {
    let running = run().await;
    let (sender, connection) = h2::client::handshake(running.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = async |hosts: &[&str]| {
        let mut asked = http::Request::get("http://localhost/account/me/");
        for host in hosts {
            asked = asked.header("host", *host);
        }
        let mut ready = sender.clone().ready().await.unwrap();
        ready.send_request(asked.body(()).unwrap(), true).unwrap().0.await.map_or(0, |answer| answer.status().as_u16())
    };
    assert_eq!((ask(&[]).await, ask(&["localhost"]).await), (401, 401));
    for hosts in [&["evil.example"][..], &["localhost", "localhost"]] {
        assert!(matches!(ask(hosts).await, 0 | 400), "{hosts:?}");
    }
    drop(sender);
    connection.abort();
    running.stop().await;
}
