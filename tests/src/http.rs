//! HTTP as the predecessor's clients speak it: JSON bodies, kept connections, no redirects followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Body, Client, redirect::Policy};
use serde_json::Value;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer itself, where it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A client with connections of its own.
#[derive(Clone, Debug)]
pub struct Http(Client);

impl Default for Http {
    fn default() -> Self {
        Self(Client::builder().redirect(Policy::none()).no_proxy().timeout(Duration::from_secs(30)).build().unwrap())
    }
}

impl Http {
    /// Asks once; an error is a connection that broke before the answer was whole.
    pub async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Result<Answer, reqwest::Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        self.ask_with(method, url, map, body).await
    }

    /// The same, with headers that need not be text.
    pub async fn ask_with(&self, method: Method, url: &str, headers: HeaderMap, body: impl Into<Body>) -> Result<Answer, reqwest::Error> {
        let response = self.0.request(method, url).headers(headers).body(body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await? })
    }
}
