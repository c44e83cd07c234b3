//! Signals to iact itself.
//!
//! First signal: running commands get it and their grace. Second: they are killed. Third: iact leaves (its
//! supervisor clears up). A wrapper often passes on what the terminal has already sent to the whole group, so
//! a second signal right behind the first is the same one. A signal that was ignored when iact started
//! (`nohup`, a background job of a script) stays ignored. Afterwards the signal is raised again with its
//! default effect, so that a shell sees what happened. SIGPIPE is ignored by the Rust runtime; a closed
//! standard output shows up as a broken pipe when printing.
#![allow(clippy::disallowed_methods, reason = "shell: a thread waits for signals; the clock")]

use rustix::process::Signal;
use signal_hook::iterator::{Handle, Signals as Incoming};
use std::ffi::c_int;
use std::io;
use std::thread::JoinHandle;
use std::time::Instant;

/// The signals that end a run: no others get a handler, or commands would be started with it (see `spawn/exec.rs`).
pub(super) const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
/// Signals nearer than this are one.
const SAME_MS: u64 = 100;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// End what runs, with this signal.
    End(Signal),
    /// Kill what runs.
    Kill,
    /// Leave at once.
    Leave,
    /// An echo of the one before.
    Nothing,
}

/// How a series of signals escalates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Escalation {
    counted: u32,
    latest_ms: u64,
}

impl Escalation {
    /// What this signal at this time asks for.
    pub fn respond(&mut self, signal: Signal, now_ms: u64) -> Response {
        if self.counted > 0 && now_ms < self.latest_ms + SAME_MS {
            return Response::Nothing;
        }
        self.latest_ms = now_ms;
        self.counted += 1;
        match self.counted {
            1 => Response::End(signal),
            2 => Response::Kill,
            _ => Response::Leave,
        }
    }
}

/// Catches the signals that end a run, until it is dropped.
#[derive(Debug)]
pub struct Signals {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Calls `on_signal` on a thread of its own for every signal, with the milliseconds since this call.
    ///
    /// # Errors
    /// No thread or descriptor left.
    pub fn install(mut on_signal: impl FnMut(Signal, u64) + Send + 'static) -> io::Result<Self> {
        let mut incoming =
            Incoming::new(ENDING.iter().filter(|signal| !is_ignored(**signal)).map(|s| s.as_raw()))?;
        let handle = incoming.handle();
        let begin = Instant::now();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for raw in incoming.forever() {
                if let Some(signal) = Signal::from_named_raw(raw) {
                    on_signal(signal, u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
                }
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It panicked only if the callback did, which has been reported by then.
            let _ = thread.join();
        }
    }
}

/// The keyboard's signals are somebody else's affair as long as this lives: iact does not hear of them, not even later.
#[derive(Debug)]
pub(super) struct Deaf(Vec<(c_int, libc::sigaction)>);

impl Deaf {
    /// Not to signals that are ignored anyway: what is started meanwhile ignores those, too, and nothing else.
    pub(super) fn to_the_keyboard() -> Self {
        let heard = [Signal::INT, Signal::QUIT].into_iter().filter(|signal| !is_ignored(*signal));
        Self(
            heard
                .map(|signal| (signal.as_raw(), on(signal.as_raw(), &handler(nothing as *const () as usize))))
                .collect(),
        )
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        for (signal, before) in &self.0 {
            // What is pending, on its way to a thread that has not run since, is thrown away with this.
            on(*signal, &handler(libc::SIG_IGN));
            on(*signal, before);
        }
    }
}

extern "C" fn nothing(_: c_int) {}

#[allow(unsafe_code, reason = "the structure has no other constructor")]
fn handler(handler: usize) -> libc::sigaction {
    // SAFETY: all zeroes is a valid value: the default disposition, with no flags and an empty mask.
    let mut action = unsafe { std::mem::MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    (action.sa_sigaction, action.sa_flags) = (handler, libc::SA_RESTART);
    action
}

/// Changes a disposition; what it was.
#[allow(unsafe_code, reason = "no safe wrapper puts a disposition back")]
fn on(signal: c_int, action: &libc::sigaction) -> libc::sigaction {
    let mut before = handler(libc::SIG_DFL);
    // SAFETY: both are valid for the call; `action` ignores the signal, does nothing, or was there before.
    unsafe { libc::sigaction(signal, action, &raw mut before) };
    before
}

/// Whether this process ignores the signal.
#[allow(unsafe_code, reason = "no safe wrapper reads a disposition")]
pub(super) fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action nothing is changed; `action` is valid for writes for the whole call.
    let got = unsafe { libc::sigaction(signal.as_raw(), std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it was zeroed, which is a valid value, and filled by the call if that succeeded.
    got == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Ends this process as the signal would have without us. Returns only if the signal cannot end it.
pub fn raise_default(signal: Signal) {
    let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_escalate_and_echoes_do_not_count() {
        use Response::{End, Kill, Leave, Nothing};
        let (int, term) = (Signal::INT, Signal::TERM);
        type Case<'a> = (&'a [(Signal, u64)], &'a [Response]);
        let cases: [Case<'_>; 4] = [
            (&[(int, 0)], &[End(int)]),
            (&[(term, 7), (term, 300), (int, 900)], &[End(term), Kill, Leave]),
            (&[(int, 1000), (int, 1002), (term, 1099), (int, 1100)], &[End(int), Nothing, Nothing, Kill]),
            (&[(int, 0), (int, 200), (int, 250), (int, 310)], &[End(int), Kill, Nothing, Leave]),
        ];
        for (signals, expected) in cases {
            let mut escalation = Escalation::default();
            let got: Vec<_> = signals.iter().map(|(signal, at)| escalation.respond(*signal, *at)).collect();
            assert_eq!(got, expected);
        }
    }
}
