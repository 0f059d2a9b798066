//! How slow a receiver is and how much it does at once, adjustable while it works. It does not know on what.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crosstalk_contract::units::{format_duration, parse_duration};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Turn;
use crate::http::Refusal;

/// Longest work on one message; longer than any sender waits.
const WORK_MAX: Duration = Duration::from_secs(60);
/// Most messages at work at once.
const CONCURRENCY_MAX: u32 = 1024;

/// How a receiver works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Behaviour {
    /// Time that it takes to work on one message.
    #[serde(serialize_with = "as_text")]
    pub work: Duration,
    /// Messages that it works on at once; the others wait in line.
    pub concurrency: u32,
}

fn as_text<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_duration(*duration))
}

impl Behaviour {
    /// This behaviour with what the JSON object `text` says, such as `{"work": "20ms", "concurrency": 2}`.
    pub(super) fn adjusted(mut self, text: &[u8]) -> Result<Self, Refusal> {
        const FORM: &str = r#"expected a JSON object such as {"work": "20ms", "concurrency": 2}"#;
        let value: Value =
            serde_json::from_slice(text).map_err(|error| Refusal::bad("body", format!("{FORM}; {error}")))?;
        let Value::Object(members) = value else { return Err(Refusal::bad("body", FORM)) };
        for (name, value) in &members {
            match name.as_str() {
                "work" => {
                    let work = value.as_str().and_then(|text| parse_duration(text).ok());
                    self.work = work.filter(|work| *work <= WORK_MAX).ok_or_else(|| {
                        Refusal::bad(
                            "work",
                            format!("work: expected a duration such as \"20ms\" of at most 60 s, got {value}"),
                        )
                    })?;
                }
                "concurrency" => {
                    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
                    self.concurrency =
                        count.filter(|count| (1..=CONCURRENCY_MAX).contains(count)).ok_or_else(|| {
                            let expected = format!(
                                "concurrency: expected a whole number from 1 to {CONCURRENCY_MAX}, got {value}"
                            );
                            Refusal::bad("concurrency", expected)
                        })?;
                }
                other => {
                    return Err(Refusal::bad(other, format!("unknown member {other:?}; known are work, concurrency")));
                }
            }
        }
        Ok(self)
    }
}

/// A behaviour that can change while messages are at work.
pub(super) struct Adjustable(Mutex<(Behaviour, Arc<Semaphore>)>);

impl Adjustable {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self(Mutex::new((behaviour, turns(behaviour))))
    }

    fn lock(&self) -> MutexGuard<'_, (Behaviour, Arc<Semaphore>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Behaviour {
        self.lock().0
    }

    /// Applies to every message whose turn has not come. Those at work keep their turn, so that for a moment
    /// more than the new number can be at work.
    pub(super) fn set(&self, behaviour: Behaviour) {
        let mut state = self.lock();
        state.1.close();
        *state = (behaviour, turns(behaviour));
    }

    pub(super) async fn turn(&self) -> Turn {
        loop {
            let turns = Arc::clone(&self.lock().1);
            // Closed: the behaviour changed while this message was in line.
            if let Ok(permit) = turns.acquire_owned().await {
                return Turn { _permit: permit };
            }
        }
    }

    pub(super) async fn work(&self) {
        let work = self.get().work;
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
    }
}

fn turns(behaviour: Behaviour) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(behaviour.concurrency as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Behaviour = Behaviour { work: Duration::ZERO, concurrency: 4 };

    #[test]
    fn a_behaviour_is_adjusted_member_by_member_and_errors_name_the_member() {
        let slow = START.adjusted(br#"{"work": "20ms"}"#).unwrap();
        assert_eq!(slow, Behaviour { work: Duration::from_millis(20), concurrency: 4 });
        let refused = |text: &str| START.adjusted(text.as_bytes()).unwrap_err().detail().to_owned();
        assert!(refused("{").contains("line 1"));
        assert!(refused("[]").contains("expected a JSON object"));
        assert!(refused(r#"{"work": "-1s"}"#).starts_with("work: expected"));
        assert!(refused(r#"{"concurrency": 0}"#).starts_with("concurrency: expected"));
        assert!(refused(r#"{"speed": 1}"#).contains("known are work, concurrency"));
    }

    #[tokio::test]
    async fn who_waits_in_line_gets_a_turn_when_the_receiver_is_widened() {
        let adjustable = Arc::new(Adjustable::new(Behaviour { concurrency: 1, ..START }));
        let _first = adjustable.turn().await;
        let second = tokio::spawn({
            let adjustable = Arc::clone(&adjustable);
            async move { drop(adjustable.turn().await) }
        });
        tokio::task::yield_now().await;
        adjustable.set(START);
        second.await.unwrap();
    }
}
