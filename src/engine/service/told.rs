//! What is told of services that run here: when one is started, becomes ready, or another waits no longer to be started.
#![allow(clippy::disallowed_methods, reason = "shell: the clock")]

use super::hold::Published;
use super::{House, Phase, State, start::hex};
use std::time::{SystemTime, UNIX_EPOCH};

impl House {
    /// Tells of one that has just been started.
    pub(super) fn tell_started(&self, id: u32, pid: u32, port: Option<u16>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let service = &self.services[id as usize];
        let mut state = self.lock();
        let published = Published {
            version: 1,
            service: service.name.clone(),
            holder: std::process::id(),
            up: self.is_up,
            pid,
            port,
            digest: hex(&service.digest),
            started_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            ready: matches!(state.slots[id as usize].phase, Phase::Ready(_)),
            waiting: self.waiting(&state),
        };
        let slot = &mut state.slots[id as usize];
        if let Some(hold) = &slot.hold {
            // `ps` will not know of it.
            let _ = hold.publish(&published);
        }
        slot.published = Some(published);
    }

    /// Tells again of those of which something else is true now.
    pub(super) fn tell_changed(&self, state: &mut State) {
        let waiting = self.waiting(state);
        for slot in &mut state.slots {
            let (Some(published), Some(hold)) = (&mut slot.published, &slot.hold) else { continue };
            let ready = published.ready || matches!(slot.phase, Phase::Ready(_));
            if (ready, &waiting) != (published.ready, &published.waiting) {
                (published.ready, published.waiting) = (ready, waiting.clone());
                // Nobody else learns of it, that is all.
                let _ = hold.publish(published);
            }
        }
    }

    /// Those that are to be started, and wait for what they need.
    fn waiting(&self, state: &State) -> Vec<String> {
        let waits = |slot: &super::Slot| slot.phase == Phase::Starting && slot.stop.is_none() && !slot.ending;
        let all = self.services.iter().zip(&state.slots);
        all.filter(|(_, slot)| waits(slot)).map(|(service, _)| service.name.clone()).collect()
    }
}
