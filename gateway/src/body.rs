//! Reads a body whole, up to the limit. What is longer is thrown away as it comes, so that the client gets to read why.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::EXPECT};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::Semaphore;

use crate::config::{BODY_LIMIT, DRAIN_LIMIT, MAX_LONG_BODIES, SHORT_BODY};

/// Why there is no body to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than the limit, and read to its end.
    TooLong,
    /// So long that it was not read to its end: the connection cannot go on.
    FarTooLong,
    /// It did not come in time.
    Late,
    /// It broke off.
    Broken,
    /// It is a long one, and too many of those are on their way already.
    Crowded,
}

/// Room for bodies that are longer than honest ones; who sends many of them slowly holds no more memory than this.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(MAX_LONG_BODIES))
    }
}

/// The whole body, if it comes within that time.
pub(crate) async fn read(room: &Room, headers: &HeaderMap, body: Body, within: Duration) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    tokio::time::timeout(within, collect(room, headers, body)).await.unwrap_or(Err(BodyError::Late))
}

/// Throws a body away: whether all of it came, so that the connection can go on. One that is announced as longer than honest ones, or
/// that its sender asks about first, is not waited for.
pub(crate) async fn discard(room: &Room, headers: &HeaderMap, body: Body, within: Duration) -> bool {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > SHORT_BODY || (headers.contains_key(EXPECT) && !body.is_end_stream()) {
        return false;
    }
    matches!(read(room, headers, body, within).await, Ok(_) | Err(BodyError::TooLong))
}

async fn collect(room: &Room, headers: &HeaderMap, mut body: Body) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > DRAIN_LIMIT || (announced > BODY_LIMIT && headers.contains_key(EXPECT)) {
        return Err(BodyError::FarTooLong);
    }
    let (mut kept, mut length, mut place) = (BytesMut::new(), 0_usize, None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > DRAIN_LIMIT {
            return Err(BodyError::FarTooLong);
        }
        if length > SHORT_BODY && place.is_none() {
            place = Some(room.0.try_acquire().map_err(|_| BodyError::Crowded)?);
        }
        if length > BODY_LIMIT {
            kept = BytesMut::new();
        } else if kept.is_empty() && body.is_end_stream() {
            return Ok(data);
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if length > BODY_LIMIT { Err(BodyError::TooLong) } else { Ok(kept.freeze()) }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn chunks(count: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])))))
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_whole_and_a_longer_one_is_refused() {
        let none = HeaderMap::new();
        assert_eq!(read(&Room::new(), &none, Body::empty(), SOON).await, Ok(Bytes::new()));
        assert_eq!(read(&Room::new(), &none, Body::from("ab"), SOON).await, Ok(Bytes::from_static(b"ab")));
        assert_eq!(read(&Room::new(), &none, chunks(64), SOON).await.map(|body| body.len()), Ok(BODY_LIMIT));
        assert_eq!(read(&Room::new(), &none, chunks(65), SOON).await, Err(BodyError::TooLong));
        assert_eq!(read(&Room::new(), &none, Body::from(vec![0; BODY_LIMIT + 1]), SOON).await, Err(BodyError::TooLong));
        assert_eq!(read(&Room::new(), &none, chunks(17 * 1024), SOON).await, Err(BodyError::FarTooLong));
        assert_eq!(read(&Room::new(), &none, Body::from(vec![0; DRAIN_LIMIT + 1]), SOON).await, Err(BodyError::FarTooLong));
    }

    #[tokio::test]
    async fn who_asks_first_is_told_before_sending() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECT, http::HeaderValue::from_static("100-continue"));
        assert_eq!(read(&Room::new(), &headers, Body::from(vec![0; BODY_LIMIT + 1]), SOON).await, Err(BodyError::FarTooLong));
    }

    #[tokio::test]
    async fn what_nobody_wants_is_waited_for_only_where_it_is_short() {
        let (none, mut asks) = (HeaderMap::new(), HeaderMap::new());
        asks.insert(EXPECT, http::HeaderValue::from_static("100-continue"));
        assert!(discard(&Room::new(), &asks, Body::empty(), SOON).await);
        assert!(discard(&Room::new(), &none, Body::from("ab"), SOON).await);
        assert!(discard(&Room::new(), &none, chunks(8), SOON).await);
        assert!(!discard(&Room::new(), &asks, Body::from("ab"), SOON).await);
        assert!(!discard(&Room::new(), &none, Body::from(vec![0; SHORT_BODY + 1]), SOON).await);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_a_short_one() {
        let parts = [Ok(Bytes::from_static(b"{}")), Err(std::io::Error::other("gone"))];
        assert_eq!(read(&Room::new(), &HeaderMap::new(), Body::from_stream(stream::iter(parts)), SOON).await, Err(BodyError::Broken));
    }

    #[tokio::test(start_paused = true)]
    async fn long_bodies_that_trickle_hold_a_bounded_room_and_short_ones_need_none() {
        let room = std::sync::Arc::new(Room::new());
        let slow = || chunks(16).into_data_stream().chain(stream::pending());
        let reading = (0..MAX_LONG_BODIES).map(|_| {
            let room = std::sync::Arc::clone(&room);
            tokio::spawn(async move { read(&room, &HeaderMap::new(), Body::from_stream(slow()), SOON).await })
        });
        let reading: Vec<_> = reading.collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(read(&room, &HeaderMap::new(), chunks(16), SOON).await, Err(BodyError::Crowded));
        assert_eq!(read(&room, &HeaderMap::new(), chunks(2), SOON).await.map(|body| body.len()), Ok(2_048));
        for one in reading {
            assert_eq!(one.await.unwrap(), Err(BodyError::Late));
        }
        assert_eq!(read(&room, &HeaderMap::new(), chunks(16), SOON).await.map(|body| body.len()), Ok(16 * 1024));
    }
}
