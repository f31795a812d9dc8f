//! What a request must not leave open to two readings: whoever stands before us, or behind, might take the other one.
//!
//! The library refuses most of it before anybody sees a request: a length that is none or that two lines disagree about, a transfer
//! coding that does not end in `chunked`, folded lines, a space before a colon, bare carriage returns, chunks without a size. Where both
//! a length and a transfer coding are given it goes by the coding and closes the connection after the answer (RFC 9112, 6.1). Here is
//! what it leaves to us.

use http::{
    Version,
    header::{HOST, TRANSFER_ENCODING},
    request::Parts,
};

/// Whether a request can be read in one way only.
pub(crate) fn is_sound(head: &Parts) -> bool {
    names_one_host(head) && is_coded_plainly(head)
}

/// An HTTP/1.1 request names its host in exactly one line (RFC 9112, 3.2), and none names two hosts: in its target, or `:authority`,
/// and in the line (RFC 9113, 8.3.1).
fn names_one_host(head: &Parts) -> bool {
    let mut lines = head.headers.get_all(HOST).iter();
    let (first, further) = (lines.next(), lines.next());
    if further.is_some() || (first.is_none() && head.version == Version::HTTP_11) {
        return false;
    }
    match (head.uri.authority(), first) {
        (Some(authority), Some(host)) => host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()),
        _ => true,
    }
}

/// A coding other than `chunked` is none that we could undo.
fn is_coded_plainly(head: &Parts) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}
