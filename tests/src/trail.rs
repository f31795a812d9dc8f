//! The trail, as `carelink audit list` shows it.

use serde_json::Value;

use crate::{Carelink, eventually};

/// An event.
#[derive(Clone, Debug)]
pub struct Event(pub Value);

impl Event {
    /// Its type.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// A field that is text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// The session's own count.
    pub fn counter(&self) -> u64 {
        self.0["session_counter"].as_u64().unwrap_or_default()
    }
}

impl Carelink {
    /// The events that these filters let through, oldest first.
    pub async fn trail(&self, filters: &[&str]) -> Vec<Event> {
        let args = [&["audit", "list", "--all", "--json"], filters].concat();
        let mut events: Vec<_> = self.json(&args).await["events"].as_array().unwrap().iter().cloned().map(Event).collect();
        events.reverse();
        events
    }

    /// The trail once everything that has happened so far is in it.
    pub async fn whole_trail(&self, filters: &[&str]) -> Vec<Event> {
        self.delivered().await;
        self.trail(filters).await
    }

    /// Waits until no event is on its way to the trail.
    pub async fn delivered(&self) {
        eventually("all events are in the trail", async || {
            let waiting = self.count_rows("auth", "outbox") + self.count_rows("token", "outbox");
            (waiting == 0).then_some(())
        })
        .await;
    }
}
