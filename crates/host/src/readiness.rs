//! What a node needs in order to do its work, and whether it is there. It does not know how to find out: whoever
//! needs something says how it stands.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;
use tracing::{info, warn};

/// All needs of one node.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<State>>>);

#[derive(Debug)]
struct State {
    name: String,
    fault: Option<String>,
    since: Instant,
}

/// One need, for the pages.
#[derive(Debug, Clone, Serialize)]
pub struct Need {
    /// What is needed, such as `broker rabbitmq`.
    pub needs: String,
    /// Whether it is there.
    pub there: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// For how long it has been so, in seconds.
    pub since_s: u64,
}

impl Need {
    pub(crate) fn complaint(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(format!("{} has not been there for {} s: {fault}", self.needs, self.since_s))
    }
}

/// Says how one need stands.
#[derive(Debug, Clone)]
pub struct Needed {
    all: Readiness,
    index: usize,
}

impl Readiness {
    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a need, which counts as missing until it is [`Needed::there`].
    #[must_use]
    pub fn need(&self, name: &str) -> Needed {
        let mut states = self.lock();
        states.push(State { name: name.to_owned(), fault: Some("not seen yet".to_owned()), since: Instant::now() });
        Needed { all: self.clone(), index: states.len() - 1 }
    }

    /// How everything stands.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let need = |state: &State| Need {
            needs: state.name.clone(),
            there: state.fault.is_none(),
            fault: state.fault.clone(),
            since_s: state.since.elapsed().as_secs(),
        };
        self.lock().iter().map(need).collect()
    }
}

impl Needed {
    /// It is there. Logged when it was not before.
    pub fn there(&self) {
        if let Some(name) = self.set(None) {
            info!("{name} is there");
        }
    }

    /// It is not there. Logged when it was before, or has not been seen yet.
    pub fn missing(&self, fault: &str) {
        if let Some(name) = self.set(Some(fault.to_owned())) {
            warn!("{name} is not there: {fault}");
        }
    }

    /// Why it is not there; `None` when it is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.all.lock().get(self.index).and_then(|state| state.fault.clone())
    }

    /// Gives the name when this changes whether it is there, or tells the first reason.
    fn set(&self, fault: Option<String>) -> Option<String> {
        let mut states = self.all.lock();
        let state = states.get_mut(self.index)?;
        let changed = state.fault.is_some() != fault.is_some();
        let first = state.fault.as_deref() == Some("not seen yet");
        if changed {
            state.since = Instant::now();
        }
        state.fault = fault;
        (changed || first).then(|| state.name.clone())
    }
}
