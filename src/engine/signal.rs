//! Signals to iact itself.
//!
//! First signal: running commands get it and their grace. Second: they are killed. With either goes what was still being read of
//! their outputs. Third: iact leaves (its
//! supervisor clears up). A wrapper often passes on what the terminal has already sent to the whole group, so
//! a second signal right behind the first is the same one. A signal that was ignored when iact started
//! (`nohup`, a background job of a script) stays ignored. Afterwards the signal is raised again with its
//! default effect, so that a shell sees what happened. SIGPIPE is ignored by the Rust runtime; a closed
//! standard output shows up as a broken pipe when printing. SIGXFSZ does nothing, so that a file which may not
//! grow is an error of who writes it.
//!
//! Invariant: the thread that listens never waits for anybody: it counts for itself, rings [`bell`] at the first signal and
//! leaves at the third, whatever the rest of the program is waiting for.
#![allow(clippy::disallowed_methods, reason = "shell: a thread waits for signals; the clock")]

use rustix::process::Signal;
use signal_hook::iterator::Signals as Incoming;
use std::collections::VecDeque;
use std::ffi::c_int;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The signals that end a run: no others get a handler that does something, or commands would be started with it (see `spawn/exec.rs`).
pub(super) const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
/// Signals nearer than this are one.
const SAME_MS: u64 = 100;
/// How soon whoever had no room for a signal is told again.
const AGAIN: Duration = Duration::from_millis(5);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// End what runs, with this signal.
    End(Signal),
    /// Kill what runs; this signal was the second.
    Kill(Signal),
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
            2 => Response::Kill(signal),
            _ => Response::Leave,
        }
    }
}

/// Who is told what signals ask for: [`Response::End`] or [`Response::Kill`]; `false` if there was no room for it.
type Teller = Box<dyn FnMut(Response) -> bool + Send>;

static TELLER: Mutex<Option<Teller>> = Mutex::new(None);
static BELL: OnceLock<(PipeReader, PipeWriter)> = OnceLock::new();

/// Rings, and goes on ringing, from the first signal on; there is none before somebody listens.
pub fn bell() -> Option<&'static PipeReader> {
    BELL.get().map(|(bell, _)| bell)
}

/// Tells of the signals that end a run, until it is dropped. They stay caught, and count on, to the end of the process: what
/// is still to be shown then may wait for a reader who never comes.
#[derive(Debug)]
pub struct Signals(());

impl Signals {
    /// Calls `tell` on a thread of its own. It must not wait: what it had no room for it is told again.
    ///
    /// # Errors
    /// No thread or descriptor left.
    pub fn install(tell: impl FnMut(Response) -> bool + Send + 'static) -> io::Result<Self> {
        let mut teller = TELLER.lock().unwrap_or_else(PoisonError::into_inner);
        if BELL.get().is_none() {
            let bell = io::pipe()?;
            let incoming =
                Incoming::new(ENDING.iter().filter(|signal| !is_ignored(**signal)).map(|s| s.as_raw()))?;
            BELL.get_or_init(|| bell);
            survive_large_files();
            std::thread::Builder::new().name("signals".into()).spawn(move || listen(incoming))?;
        }
        *teller = Some(Box::new(tell));
        Ok(Self(()))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        *TELLER.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn listen(mut incoming: Incoming) {
    let begin = Instant::now();
    let mut escalation = Escalation::default();
    let mut untold = VecDeque::new();
    loop {
        let came = if untold.is_empty() {
            incoming.wait()
        } else {
            std::thread::sleep(AGAIN);
            incoming.pending()
        };
        untold.extend(came.filter_map(|raw| respond(&mut escalation, (raw, begin.elapsed()))));
        let mut teller = TELLER.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(response) = untold.front()
            && teller.as_mut().is_none_or(|tell| tell(*response))
        {
            untold.pop_front();
        }
    }
}

/// What somebody has to be told of a signal that came then.
fn respond(escalation: &mut Escalation, (raw, after): (c_int, Duration)) -> Option<Response> {
    let signal = Signal::from_named_raw(raw)?;
    let response = escalation.respond(signal, u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    match response {
        Response::Nothing => return None,
        // The supervisor ends what is left.
        Response::Leave => {
            super::terminal::restore_first();
            std::process::exit(128 + raw)
        }
        Response::Kill(_) => iact_cache::give_up(),
        Response::End(_) => {
            // What commands made is still read for as long as they would have had.
            let patience = || {
                std::thread::sleep(Duration::from_millis(super::shared::GRACE_MS));
                iact_cache::give_up();
            };
            if std::thread::Builder::new().name("patience".into()).spawn(patience).is_err() {
                iact_cache::give_up();
            }
            if let Some((_, bell)) = BELL.get() {
                // One byte into an empty pipe that lives as long as we do cannot fail or block.
                let _ = (&*bell).write(&[1]);
            }
        }
    }
    Some(response)
}

/// To write more than one may is an error, and not the end. No command inherits a handler.
fn survive_large_files() {
    let before = on(libc::SIGXFSZ, &handler(nothing as *const () as usize));
    if before.sa_sigaction == libc::SIG_IGN {
        on(libc::SIGXFSZ, &before);
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

/// A signal that this thread does not get as long as this lives.
pub(super) struct Blocked(libc::sigset_t);

impl Blocked {
    /// The one that stops who changes a terminal from the background.
    #[allow(unsafe_code, reason = "no safe wrapper blocks a signal")]
    pub(super) fn to_write_to_the_terminal() -> Self {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both are valid for the calls and begin as empty sets; the mask is this thread's own.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTTOU);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Blocked {
    #[allow(unsafe_code, reason = "no safe wrapper puts a mask back")]
    fn drop(&mut self) {
        // SAFETY: it is the mask this thread had before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
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

/// Ends this process as the signal would have without us. Returns only if the signal cannot end it: for the first process
/// of a container signals have no default effect.
pub fn raise_default(signal: Signal) {
    if rustix::process::getpid().is_init() {
        return;
    }
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
            (&[(term, 7), (term, 300), (int, 900)], &[End(term), Kill(term), Leave]),
            (
                &[(int, 1000), (int, 1002), (term, 1099), (int, 1100)],
                &[End(int), Nothing, Nothing, Kill(int)],
            ),
            (&[(int, 0), (int, 200), (int, 250), (int, 310)], &[End(int), Kill(int), Nothing, Leave]),
        ];
        for (signals, expected) in cases {
            let mut escalation = Escalation::default();
            let got: Vec<_> = signals.iter().map(|(signal, at)| escalation.respond(*signal, *at)).collect();
            assert_eq!(got, expected);
        }
    }
}
